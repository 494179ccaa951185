package commitlog

import (
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// A place is the leader epoch of a partition: a number that no other partition of
// the store has or had. It is in the header of every batch, where Kafka has it, in
// the header of every index, and goes into the checksum of the log start offset. So
// a file, or a piece of one, that has come from elsewhere is not taken for the
// log's, though its checksums and offsets fit.
type place int32

func placeOf(t store.Topic, partition int) place { return place(t.PartitionEpoch(partition)) }

// firstEpoch is the beginning of the seconds that nextEpoch counts, in seconds
// since 1970: the year 2026. They are used up in 2094.
const firstEpoch = 1_767_225_600

// nextEpoch is the epoch for a new topic, at the time now, after one that ends
// where last says. Kafka clients expect a topic that is made anew to have a higher
// one than before: that is known of the topics there are, and of those that have
// been deleted as long as the process lives; after that the clock has to go on.
func nextEpoch(last int32, now time.Time) int32 {
	return max(last, int32(max(0, now.Unix()-firstEpoch)))
}

// holds says whether the batch of this header was written here.
func (l place) holds(h batch.Batch) bool { return h.LeaderEpoch() == int32(l) }

// startText is what is in the file of the log start offset, without the LF.
func (l place) startText(offset int64) []byte {
	p := strconv.AppendInt(nil, offset, 10)
	return fmt.Appendf(p, " %08x", crc32.Update(uint32(l), castagnoli, p))
}

// parseStart reads the content of the file of the log start offset.
func (l place) parseStart(content []byte) (offset int64, ok bool) {
	digits, _, _ := strings.Cut(string(content), " ")
	offset, err := strconv.ParseInt(digits, 10, 64)
	return offset, err == nil && offset >= 0 && string(content) == string(l.startText(offset))+"\n"
}
