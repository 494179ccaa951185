package transfer

import (
	"errors"
	"fmt"
	"hash/crc32"
	"sync"
	"sync/atomic"
	"time"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// pieceBytes is how much is appended at once, in bytes, unless one batch is larger.
const pieceBytes = 1 << 20

// A writer makes topics of another store in a store that nobody else uses.
type writer struct {
	to    store.Restorer
	clock atomic.Int64 // of appends: when the batches were appended to the other store, in milliseconds since 1970

	topic Topic
	logs  []*logWriter // of the topic
	last  int          // the partition that got the latest batch
	sums  Totals       // of topics that are done
	bytes int64        // of all batches so far
}

// Totals are what was copied.
type Totals struct {
	Topics     int   `json:"topics"`
	Partitions int   `json:"partitions"`
	Records    int64 `json:"records"` // with offsets of the log start or higher
	Bytes      int64 `json:"bytes"`   // of batches
}

func newWriter(to store.Restorer) *writer {
	w := &writer{to: to}
	to.UseClock(func() time.Time { return time.UnixMilli(w.clock.Load()) })
	return w
}

// begin begins a topic, or continues one of which an earlier attempt has a part.
func (w *writer) begin(t Topic) error {
	w.topic, w.logs, w.last = t, nil, 0
	known := find(w.to, t.Name)
	switch {
	case known == nil:
		if err := w.to.Restore(t.Topic, t.firsts()); err != nil {
			return fmt.Errorf("topic %q: %w", t.Name, err)
		}
	case !known.Equal(&t.Topic):
		return fmt.Errorf("topic %q is there already, and is another one", t.Name)
	}
	for i := range t.Logs {
		log, err := w.open(i)
		if err != nil {
			return err
		}
		w.logs = append(w.logs, log)
	}
	return nil
}

// find is a topic of a store, nil if there is none.
func find(s store.Store, name string) *store.Topic {
	for _, t := range s.Topics() {
		if t.Name == name {
			return &t
		}
	}
	return nil
}

// open opens a partition of the topic.
func (w *writer) open(number int) (*logWriter, error) {
	p, err := w.to.Partition(w.topic.Name, number)
	if err != nil {
		return nil, fmt.Errorf("topic %q, partition %d: %w", w.topic.Name, number, err)
	}
	_, high := p.Offsets()
	of, l := fmt.Sprintf("topic %q, partition %d", w.topic.Name, number), w.topic.Logs[number]
	if high < l.First || high > l.End {
		return nil, fmt.Errorf("%s: it ends at offset %d here, and has the offsets from %d to %d elsewhere", of, high, l.First, l.End-1)
	}
	return &logWriter{of: of, log: p, clock: &w.clock, next: high}, nil
}

// add appends a batch to a partition of the topic.
func (w *writer) add(partition int, b batch.Batch, appended time.Time) error {
	if partition < 0 || partition >= len(w.logs) {
		return fmt.Errorf("topic %q has no partition %d", w.topic.Name, partition)
	}
	if appended.IsZero() {
		appended = time.UnixMilli(min(b.MaxTimestamp(), time.Now().UnixMilli()))
	}
	if partition != w.last { // so that few buffers are in use
		if err := w.logs[w.last].flush(); err != nil {
			return err
		}
		w.logs[w.last].buf = nil
		w.last = partition
	}
	w.bytes += int64(len(b))
	return w.logs[partition].add(b, appended.UnixMilli())
}

// end ends the topic: all of it is durable.
func (w *writer) end() error {
	for i, l := range w.logs {
		want := w.topic.Logs[i]
		if err := l.end(want); err != nil {
			return fmt.Errorf("%s: %w", l.of, err)
		}
		w.sums.Partitions++
		w.sums.Records, w.sums.Bytes = w.sums.Records+want.End-want.Start, w.sums.Bytes+want.Bytes
	}
	if w.topic.Name != "" {
		w.sums.Topics++
	}
	w.topic, w.logs = Topic{}, nil
	return nil
}

// A logWriter appends to a partition. The store stamps offsets and epochs, so that each must be what it is
// already.
type logWriter struct {
	of    string // topic and partition, for people
	log   store.Partition
	clock *atomic.Int64
	next  int64  // offset behind buf
	base  int64  // of the first record in buf
	at    int64  // when its batches were appended, in milliseconds since 1970
	buf   []byte // batches that are to be appended
	sum   uint32 // of all batches, those of an earlier attempt too

	pending sync.WaitGroup
	mu      sync.Mutex // guards what follows
	err     error      // of an append
}

var errChanged = errors.New("the store changes what it is to keep as it is")

// add appends a batch, unless it is there.
func (l *logWriter) add(b batch.Batch, at int64) error {
	l.sum = crc32.Update(l.sum, castagnoli, b)
	switch base := b.BaseOffset(); {
	case b.NextOffset() <= l.next:
		return nil // of an earlier attempt
	case base != l.next:
		return fmt.Errorf("%s: a batch begins at offset %d, and the log goes on at %d", l.of, base, l.next)
	case len(l.buf) > 0 && (len(l.buf)+len(b) > pieceBytes || at != l.at):
		if err := l.flush(); err != nil {
			return err
		}
	}
	if len(l.buf) == 0 {
		l.base, l.at = l.next, at
	}
	l.buf, l.next = append(l.buf, b...), b.NextOffset()
	return nil
}

// flush appends what is in buf. It does not wait until that is durable.
func (l *logWriter) flush() error {
	if len(l.buf) == 0 {
		return l.failed()
	}
	base, sum := l.base, crc32.Checksum(l.buf, castagnoli)
	l.clock.Store(l.at)
	l.pending.Add(1)
	err := store.Append(l.log, l.buf, func(at int64, err error) {
		defer l.pending.Done()
		if err == nil && at != base {
			err = fmt.Errorf("%w: offset %d became %d", errChanged, base, at)
		}
		l.fail(err)
	})
	if err != nil {
		l.pending.Done()
		return fmt.Errorf("%s: %w", l.of, err)
	}
	if crc32.Checksum(l.buf, castagnoli) != sum {
		return fmt.Errorf("%s: %w: the batches at offset %d", l.of, errChanged, base)
	}
	l.buf = l.buf[:0]
	return l.failed()
}

func (l *logWriter) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil && err != nil {
		l.err = fmt.Errorf("%s: %w", l.of, err)
	}
}

func (l *logWriter) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// end waits until all is durable, and sets the log start offset. The log must have what is wanted.
func (l *logWriter) end(want Log) error {
	err := l.flush()
	l.pending.Wait()
	if err = errors.Join(err, l.failed()); err != nil {
		return err
	}
	start, high := l.log.Offsets()
	if size := l.log.Size(); high != want.End || start == want.First && size != want.Bytes {
		return fmt.Errorf("it has %d bytes and ends at offset %d, not %d and %d", size, high, want.Bytes, want.End)
	}
	if l.sum != want.Sum {
		return errors.New("its bytes are others than they were before")
	}
	if want.Start > start {
		return l.log.Trim(want.Start)
	}
	return nil
}
