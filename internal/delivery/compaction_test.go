package delivery

import (
	"fmt"
	"sync/atomic"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/store"
)

// A compacted store has another batch in place of what a topic has at its offsets, once there is
// one.
type compacted struct {
	store.Store
	topic string
	batch atomic.Pointer[batch.Batch]
}

func (s *compacted) Partition(topic string, number int) (store.Partition, error) {
	p, err := s.Store.Partition(topic, number)
	if err != nil || topic != s.topic {
		return p, err
	}
	return &compactedLog{p, s}, nil
}

type compactedLog struct {
	store.Partition
	store *compacted
}

func (l *compactedLog) Read(offset int64, maxBytes int, c *store.Chunk) error {
	b := l.store.batch.Load()
	if b == nil || offset < b.BaseOffset() || offset >= b.NextOffset() {
		return l.Partition.Read(offset, maxBytes, c)
	}
	c.Release()
	*c = store.Chunk{First: b.BaseOffset(), Next: b.NextOffset(), Source: rewritten(*b), N: len(*b)}
	return nil
}

type rewritten []byte

func (r rewritten) Load(buf []byte, _ int64, _ int, _ int64) ([]byte, error) {
	return append(buf[:0], r...), nil
}

func (rewritten) Release() {}

// Records may go from a log while their reader stalls: the others keep the numbers that fit
// what was sent.
func TestWhatIsCompactedWhileAReaderStallsHasNoNumber(t *testing.T) {
	for _, ordered := range []bool{false, true} {
		b := start(t, 1)
		s := &compacted{topic: "orders"}
		b.wrap = func(inner store.Store) store.Store { s.Store = inner; return s }
		b.restart()
		var keyed []string
		var left []batchtest.Record
		var want []string
		for i := range 20 {
			m := fmt.Sprint(i)
			keyed = append(keyed, m+"="+m)
			if i != 8 && i != 10 {
				left = append(left, batchtest.Record{Delta: i, Key: []byte(m), Value: []byte(m)})
				want = append(want, m)
			}
		}
		b.publish("orders", keyed...)
		r := b.reader("orders", Options{Ack: true, Follow: true, Ordered: ordered})
		r.sink.onFlush = func(onStall func()) {
			compact := batchtest.Sparse(20, left...)
			s.batch.CompareAndSwap(nil, &compact)
			onStall()
		}
		r.started().mustGet(want...)
		r.must(r.Ack(9)) // the last of these is "9"
		r.must(r.Close(Left))
		b.restart()
		b.mustDrain("orders", want[9:]...)
	}
}
