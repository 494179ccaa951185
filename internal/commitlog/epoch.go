package commitlog

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// A leaderEpoch is that of a partition: a number that no other partition of
// the store has or had. It is in the header of every batch, where Kafka has it, in
// the header of every index, and goes into the checksum of the log start offset. So
// a file, or a piece of one, that has come from elsewhere is not taken for the
// log's, though its checksums and offsets fit.
type leaderEpoch int32

func epochOf(t store.Topic, partition int) leaderEpoch {
	return leaderEpoch(t.PartitionEpoch(partition))
}

// firstEpoch is the beginning of the seconds that nextEpoch counts, in seconds
// since 1970: the year 2026.
const firstEpoch = 1_767_225_600

// clockEpochs is the highest epoch that is taken from the clock: the year 2060.
// Behind it epochs go on one by one, so that a clock that was wrong once, by however
// much, leaves a billion of them.
const clockEpochs = 1 << 30

// nextEpoch is the epoch for a new topic, at the time now, after one that ends
// where last says. Kafka clients expect a topic that is made again to have a higher
// one than before: the catalog knows the last. The clock goes on where the catalog
// was lost, or an older one was put back.
func nextEpoch(last int32, now time.Time) int32 {
	return max(last, int32(max(0, min(now.Unix()-firstEpoch, clockEpochs))))
}

// epochsEnd is above the epochs of all partitions of t: partitions that were added
// again need not have ascending ones.
func epochsEnd(t store.Topic) int32 {
	end := t.EpochsEnd()
	if len(t.Epochs) > 0 {
		for i := range t.Partitions {
			end = max(end, t.PartitionEpoch(i)+1)
		}
	}
	return end
}

// holds says whether the batch of this header was written here.
func (e leaderEpoch) holds(h batch.Batch) bool { return h.LeaderEpoch() == int32(e) }

// startText is what is in the file of the log start offset, without the LF. The log ended at
// end when it was written, or later.
func (e leaderEpoch) startText(offset, end int64) []byte {
	p := fmt.Appendf(nil, "%d %d", offset, end)
	return fmt.Appendf(p, " %08x", crc32.Update(uint32(e), castagnoli, p))
}

// parseStart reads the content of the file of the log start offset. Earlier versions wrote
// no end: a log ends behind its start.
func (e leaderEpoch) parseStart(content []byte) (offset, end int64, ok bool) {
	text, found := strings.CutSuffix(string(content), "\n")
	fields := strings.Split(text, " ")
	sum := fields[len(fields)-1]
	numbers := strings.TrimSuffix(text, " "+sum)
	if !found || len(fields) < 2 || len(fields) > 3 || sum != fmt.Sprintf("%08x", crc32.Update(uint32(e), castagnoli, []byte(numbers))) {
		return 0, 0, false
	}
	offset, err := strconv.ParseInt(fields[0], 10, 64)
	end = offset
	if len(fields) == 3 && err == nil {
		end, err = strconv.ParseInt(fields[1], 10, 64)
	}
	return offset, end, err == nil && offset >= 0 && end >= offset
}

// indexEpoch takes the leader epoch from the header of an index, if that is valid.
func indexEpoch(header []byte) (int32, bool) {
	if len(header) < indexHeader || string(header[:8]) != indexMagic {
		return 0, false
	}
	sum := binary.BigEndian.Uint32(header[indexHeader-4:])
	return int32(binary.BigEndian.Uint32(header[48:])), sum == crc32.Checksum(header[:indexHeader-4], castagnoli)
}
