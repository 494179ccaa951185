package schedule

import (
	"errors"
	"slices"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// A waitingMessage is one that is due, as it was read from the log.
type waitingMessage struct {
	due
	batch []byte // of this message alone
}

// readWindow reads messages of a queue, in the order of the window, each batch of the log
// once. Messages beyond so many bytes are put back, but for one, and all are after an error,
// when they can't be read now. Damage is reported.
func (s *Schedule) readWindow(q *queue, window []due, bytes int) (messages []waitingMessage, err error) {
	n := len(window)
	if q.fits > 0 {
		n = min(n, q.fits)
	}
	for {
		r := windowReader{log: s.log, window: window[:n], most: bytes}
		err = r.run()
		if errors.Is(err, errWindow) {
			n = max(1, min(n/2, r.found))
			q.fits = n
			continue
		}
		if n == q.fits {
			q.fits = 2 * n
		}
		s.putBack(q, window[n:])
		if err != nil {
			s.putBack(q, window[:n])
			return nil, err
		}
		for _, l := range r.lost {
			s.drop(l.offset, l.reason)
		}
		return slices.DeleteFunc(r.messages, func(m waitingMessage) bool { return m.batch == nil }), nil
	}
}

// errNoRecord says that a batch does not have the offset that its header claims.
var errNoRecord = errors.New("no such record")

// errWindow says that a window takes too much memory.
var errWindow = errors.New("too much to read at once")

// A windowReader reads the messages of a window in the order of the log.
type windowReader struct {
	log      store.Partition
	window   []due
	most     int              // bytes
	messages []waitingMessage // in the order of the window; those that are not there have no batch
	lost     []lostMessage
	order    []int32 // places in the window, by offset; those not found yet
	found    int
	bytes    int
	it       batch.Iterator
}

// A lostMessage can't be read, now or later.
type lostMessage struct {
	offset int64
	reason error
}

func (r *windowReader) run() error {
	r.messages = make([]waitingMessage, len(r.window))
	r.order = make([]int32, len(r.window))
	for i := range r.order {
		r.order[i] = int32(i)
	}
	slices.SortFunc(r.order, func(x, y int32) int { return int(min(1, max(-1, r.window[x].offset-r.window[y].offset))) })
	var c store.Chunk
	defer c.Release()
	var buf []byte
	size := 1
	for len(r.order) > 0 {
		offset := r.next()
		if offset-c.Next > farOffsets { // the batches between are not read
			size = 1
		}
		err := r.log.Read(offset, size, &c)
		if err == nil && c.Len() > 0 {
			buf, err = c.Load(buf)
		}
		if err == nil && c.Len() == 0 || errors.Is(err, store.ErrOutOfRange) {
			err = errNoRecord
		}
		switch _, next, missing := store.Missing(err); {
		case missing:
			r.giveUp(next, err)
		case errors.Is(err, errNoRecord):
			r.giveUp(offset+1, err)
		case err != nil:
			return err
		default:
			if err := r.read(buf); err != nil {
				return err
			}
			size = min(max(firstRead, 2*size), lastRead)
		}
	}
	return nil
}

// next is the lowest offset that has not been found.
func (r *windowReader) next() int64 { return r.window[r.order[0]].offset }

// giveUp gives up the messages below an offset.
func (r *windowReader) giveUp(next int64, err error) {
	for len(r.order) > 0 && r.next() < next {
		r.lost = append(r.lost, lostMessage{r.next(), err})
		r.order = r.order[1:]
	}
}

// read reads the messages in batches.
func (r *windowReader) read(p []byte) error {
	for len(p) > 0 && len(r.order) > 0 {
		b, rest, err := batch.Next(p)
		if err != nil {
			r.giveUp(r.next()+1, err)
			return nil
		}
		p = rest
		if r.next() >= b.NextOffset() {
			continue
		}
		err = r.readBatch(b)
		if errors.Is(err, errWindow) {
			return err
		}
		if err == nil {
			err = errNoRecord
		}
		r.giveUp(b.NextOffset(), err) // those that the batch should have
	}
	return nil
}

// readBatch reads the messages in a batch.
func (r *windowReader) readBatch(b batch.Batch) error {
	if err := r.it.Reset(b); err != nil {
		return err
	}
	var values []byte // of this batch, grown beforehand so that it does not move
	for len(r.order) > 0 && r.next() < b.NextOffset() && r.it.Next() {
		rec := r.it.Record()
		if rec.Offset > r.next() {
			r.giveUp(rec.Offset, errNoRecord)
		}
		if len(r.order) == 0 || rec.Offset < r.next() {
			continue
		}
		if r.bytes += len(rec.Value); r.bytes > r.most && len(r.window) > 1 {
			return errWindow
		}
		if cap(values)-len(values) < len(rec.Value) {
			values = make([]byte, 0, max(len(rec.Value), min(len(b), valuesSize)))
		}
		at := len(values)
		values = append(values, rec.Value...)
		r.messages[r.order[0]] = waitingMessage{r.window[r.order[0]], values[at:len(values):len(values)]}
		r.order = r.order[1:]
		r.found++
	}
	return r.it.Err()
}
