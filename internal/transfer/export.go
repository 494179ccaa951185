package transfer

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"time"

	"mbus/internal/batch"
	"mbus/internal/message"
	"mbus/internal/store"
)

// rereads is how often a topic is read again because its log start has moved meanwhile.
const rereads = 10

// An exporter writes all that a store has.
type exporter struct {
	ctx  context.Context
	out  frameWriter
	from store.Store
	sums Totals
	buf  []byte
}

// Export writes all that a store has, for Receive. It may be in use meanwhile: no position is behind the end of its
// log, and each topic is as it was at one time. It fails at a batch that is damaged.
func Export(ctx context.Context, w io.Writer, s store.Store) error {
	e := &exporter{ctx: ctx, out: frameWriter{to: w}, from: s}
	if _, err := io.WriteString(w, magic); err != nil {
		return err
	}
	topics := s.Topics()
	slices.SortStableFunc(topics, func(a, b store.Topic) int { return order(a.Name) - order(b.Name) })
	for _, t := range topics {
		if err := e.topic(t); err != nil {
			return fmt.Errorf("topic %q: %w", t.Name, err)
		}
	}
	if note := s.Note(); len(note) > 0 {
		_ = e.out.write(frameNote, note) // whose error stays
	}
	return e.out.json(frameEnd, e.sums)
}

// order puts the broker's own topics first.
func order(name string) int {
	if message.IsInternal(name) {
		return 0
	}
	return 1
}

// topic writes a topic.
func (e *exporter) topic(of store.Topic) error {
	for try := 1; ; try++ {
		t, err := e.survey(of)
		if err == nil {
			err = e.logs(&t)
		}
		switch {
		case errors.Is(err, store.ErrDeleted) || errors.Is(err, store.ErrUnknownTopic):
			return e.out.json(frameDeleted, Topic{of, make([]Log, of.Partitions)})
		case errors.Is(err, store.ErrOutOfRange) && try < rereads:
		default:
			return err
		}
	}
}

// survey finds the offsets of a topic as it is now, which may have more partitions than it had.
func (e *exporter) survey(of store.Topic) (t Topic, err error) {
	known := find(e.from, of.Name)
	if known == nil || known.ID != of.ID {
		return t, store.ErrDeleted
	}
	t.Topic = *known
	for i := range t.Partitions {
		p, err := e.from.Partition(t.Name, i)
		if err != nil {
			return t, err
		}
		l := Log{}
		l.Start, l.End = p.Offsets()
		if l.First = l.Start; l.Start < l.End {
			var c store.Chunk
			err := p.Read(l.Start, 1, &c)
			l.First = c.First
			c.Release()
			if err != nil {
				return t, err
			}
		}
		t.Logs = append(t.Logs, l)
	}
	return t, nil
}

// logs writes the logs of a topic.
func (e *exporter) logs(t *Topic) error {
	if err := e.out.json(frameTopic, t); err != nil {
		return err
	}
	sums := e.sums
	for i := range t.Logs {
		l := &t.Logs[i]
		p, err := e.from.Partition(t.Name, i)
		if err == nil {
			err = e.log(p, i, l)
		}
		if err != nil {
			return err
		}
		sums.Partitions++
		sums.Records, sums.Bytes = sums.Records+l.End-l.Start, sums.Bytes+l.Bytes
	}
	sums.Topics++
	e.sums = sums
	return e.out.json(frameDone, t)
}

// log writes the batches of a log.
func (e *exporter) log(p store.Partition, number int, l *Log) error {
	var c store.Chunk
	defer c.Release()
	head := binary.BigEndian.AppendUint32(nil, uint32(number))
	for at := l.Start; at < l.End; {
		if err := e.ctx.Err(); err != nil {
			return err
		}
		err := p.Read(at, pieceBytes, &c)
		if err == nil {
			e.buf, err = c.Load(e.buf)
		}
		if err != nil {
			return err
		}
		n := 0
		for rest := e.buf; len(rest) > 0; n = len(e.buf) - len(rest) {
			b, more, err := batch.Next(rest)
			if err != nil {
				return err
			}
			if b.BaseOffset() >= l.End { // later than the beginning
				break
			}
			at, rest = b.NextOffset(), more
		}
		if n == 0 {
			return fmt.Errorf("partition %d: there is nothing at offset %d", number, at)
		}
		l.Bytes, l.Sum = l.Bytes+int64(n), crc32.Update(l.Sum, castagnoli, e.buf[:n])
		if err := e.out.write(frameBatches, head, e.buf[:n]); err != nil {
			return err
		}
	}
	return nil
}

// Receive makes of an export what a store has that is new. The error is ErrCut if the export is not whole. say is
// called once in a while.
func Receive(r io.Reader, to store.Restorer, say func(Totals)) (Totals, error) {
	in, err := newFrameReader(r)
	if err != nil {
		return Totals{}, err
	}
	w := newWriter(to)
	for {
		kind, p, err := in.next()
		if err != nil {
			return w.sums, err
		}
		if kind == frameEnd {
			return w.sums, w.compare(p)
		}
		if err := w.take(kind, p); err != nil {
			return w.sums, err
		}
		if kind == frameDone {
			say(w.sums)
		}
	}
}

// take takes a frame.
func (w *writer) take(kind byte, p []byte) error {
	switch kind {
	case frameTopic:
		t, err := parseTopic(p)
		if err != nil {
			return err
		}
		if err := w.discard(t); err != nil {
			return err
		}
		return w.begin(t)
	case frameBatches:
		return eachBatch(p, func(partition int, b batch.Batch) error { return w.add(partition, b, time.Now()) })
	case frameDone:
		t, err := parseTopic(p)
		if err != nil {
			return err
		}
		if !t.Equal(&w.topic.Topic) {
			return fmt.Errorf("the export has topic %q in place of %q", t.Name, w.topic.Name)
		}
		w.topic = t
		return w.end()
	case frameDeleted:
		t, err := parseTopic(p)
		if err != nil {
			return err
		}
		if err := w.discard(t); err != nil {
			return err
		}
		// So that the store knows its id as that of a deleted topic, on which positions may depend.
		if err := w.to.Restore(t.Topic, t.firsts()); err != nil {
			return err
		}
		return w.to.DeleteTopic(t.Name)
	case frameNote:
		if len(p) > store.MaxNote {
			return fmt.Errorf("the export has a note of %d bytes", len(p))
		}
		return w.to.KeepNote(p)
	}
	return fmt.Errorf("the export has a frame of kind %q: it is of a later version", kind)
}

// discard deletes a topic that has come before.
func (w *writer) discard(t Topic) error {
	w.drop()
	if find(w.to, t.Name) == nil {
		return nil
	}
	return w.to.DeleteTopic(t.Name)
}

// drop gives up the topic that is being written.
func (w *writer) drop() {
	for _, l := range w.logs {
		l.pending.Wait()
	}
	w.topic, w.logs = Topic{}, nil
}

// compare compares what has come with what the export says it has.
func (w *writer) compare(p []byte) error {
	var want Totals
	if err := json.Unmarshal(p, &want); err != nil {
		return fmt.Errorf("the end of the export can't be read: %w", err)
	}
	if w.topic.Name != "" {
		return fmt.Errorf("the export ends within topic %q", w.topic.Name)
	}
	if want != w.sums {
		return fmt.Errorf("the export has %+v, and says that it has %+v", w.sums, want)
	}
	return nil
}
