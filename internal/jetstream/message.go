package jetstream

import (
	"fmt"
	"math"

	"mbus/internal/batch"
)

// noTime is before the time of any record.
const noTime = math.MinInt64

// A message is one of a partition, as it was read.
type message struct {
	seq uint64
	prefix
	data []byte // the batches
	next int64  // offset behind the last record; of a message without batches, its base
	last int64  // latest time of a record in it, noTime without
}

// end is the position behind the message.
func (m *message) end() int64 { return m.pos + int64(len(m.data)) }

// A stored message is what the engine keeps of one.
type stored struct {
	seq  uint64
	data []byte
}

// parse reads a stored message of the partition with that leader epoch. It checks the batches: each
// is whole, follows the one before, and has the CRC that its header says. With an error the message
// has the valid batches before the damage.
func parse(s stored, epoch int32) (*message, error) {
	f, data, err := parsePrefix(s.data)
	if err != nil {
		return nil, fmt.Errorf("sequence %d: %w", s.seq, err)
	}
	m := &message{seq: s.seq, prefix: f, next: f.base, last: noTime}
	for rest := data; len(rest) > 0; {
		b, behind, err := batch.Next(rest)
		if err == nil {
			err = m.checkBatch(b, epoch)
		}
		if err != nil {
			return m, fmt.Errorf("sequence %d, byte %d: %w", s.seq, prefixSize+len(m.data), err)
		}
		rest = behind
		m.data, m.next, m.last = data[:len(data)-len(rest)], b.NextOffset(), max(m.last, b.MaxTimestamp())
	}
	return m, nil
}

func (m *message) checkBatch(b batch.Batch, epoch int32) error {
	if b.BaseOffset() != m.next || b.LastOffsetDelta() < 0 || b.LeaderEpoch() != epoch {
		return fmt.Errorf("%w: offset %d of leader epoch %d is not offset %d of %d", batch.ErrCorrupt, b.BaseOffset(), b.LeaderEpoch(), m.next, epoch)
	}
	return b.CheckCRC()
}
