package commitlog

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// A place is a number that stands for one partition of one incarnation of a
// topic: the CRC-32C of the topic's id and the partition's number. It is in the
// header of every batch on the disk, where Kafka has the leader epoch (nothing
// else is outside the checksum), in the header of every index, and goes into the
// checksum of the log start offset. So a file, or a piece of one, that has come from
// elsewhere is not taken for the log's, though its checksums and offsets fit.
// Readers are given the leader epoch 0 in its stead.
type place uint32

func placeOf(t store.Topic, partition int) place {
	return place(crc32.Checksum(binary.BigEndian.AppendUint32(t.ID[:], uint32(partition)), castagnoli))
}

// holds says whether the batch of this header was written here.
func (l place) holds(h batch.Batch) bool { return uint32(h.LeaderEpoch()) == uint32(l) }

// startText is what is in the file of the log start offset, without the LF.
func (l place) startText(offset int64) []byte {
	p := strconv.AppendInt(nil, offset, 10)
	return fmt.Appendf(p, " %08x", crc32.Update(uint32(l), castagnoli, p))
}

// parseStart reads what startText has made, behind which an LF is allowed.
func (l place) parseStart(content []byte) (offset int64, ok bool) {
	digits, _, _ := strings.Cut(string(content), " ")
	offset, err := strconv.ParseInt(digits, 10, 64)
	return offset, err == nil && offset >= 0 && string(content) == string(l.startText(offset))+"\n"
}
