package delivery

import (
	"sync"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
)

// A loader reads batches of the log into memory for one session, expands them, and gives
// the memory back when the session waits.
type loader struct {
	hub  *Hub
	sink Sink

	chunk   broker.Chunk
	loaded  []byte // whole batches that have been read, not all sent yet
	loads   int    // how often that was done
	buf     *[]byte
	taken   int // bytes of the budget, for what is larger than readChunk
	it      batch.Iterator
	since   time.Time // since when it has a slot; zero for none
	packed  bool      // the batch that is being sent has to be decompressed
	stalled bool      // the reader took nothing for a while, since the session last looked for free messages
}

// readChunk is how much is read from the log at once, in bytes. A batch that is
// larger is read whole.
const readChunk = 128 << 10

// buffers are to load into.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// load reads the batches from offset on, about most bytes and at most readChunk.
func (l *loader) load(log *broker.Partition, offset int64, most int) error {
	if err := log.Fetch(offset, min(most, readChunk), &l.chunk); err != nil {
		return err
	}
	if n := l.chunk.Len(); n > readChunk && n > l.taken {
		if !l.hub.broker.Budget.Take(n - l.taken) {
			return forClient(ErrMemory)
		}
		l.taken = n
	}
	if l.buf == nil {
		l.hub.loads <- struct{}{}
		l.buf = buffers.Get().(*[]byte)
	}
	p, err := l.chunk.Load(*l.buf)
	if err != nil {
		return err
	}
	*l.buf, l.loaded = p, p
	l.loads++
	return nil
}

// unload gives the memory back; the batches have to be read again.
func (l *loader) unload() {
	if l.buf != nil {
		if cap(*l.buf) <= 2*readChunk {
			buffers.Put(l.buf)
		}
		<-l.hub.loads
	}
	l.buf, l.loaded = nil, nil
	l.endSlot()
	l.it = batch.Iterator{}
}

// close gives back all that the loader holds of the broker, until it loads again.
func (l *loader) close() {
	l.unload()
	l.chunk.Release()
	l.giveBudget()
}

// giveBudget gives back the bytes of the budget, after unload.
func (l *loader) giveBudget() {
	if l.taken > 0 {
		l.hub.broker.Budget.Give(l.taken)
		l.taken = 0
	}
}

// perMessage is how many bytes are read for each message that is wanted: few where few are.
const perMessage = 512

// loadFew is load for a session that takes most messages at most, and those below to. The rest
// of a batch that is large or compressed is kept for the next call.
func (l *loader) loadFew(log *broker.Partition, offset, to, most int64) error {
	to = min(to, offset+most)
	if b := l.hub.leftovers.find(log, offset, to); b != nil {
		l.use(b)
		return nil
	}
	if err := l.load(log, offset, max(broker.FirstBuffer, int(min(most, readChunk))*perMessage)); err != nil {
		return err
	}
	b, _, err := batch.Next(l.loaded)
	if err != nil || to >= b.NextOffset() || len(b) <= leftoverSize && !b.Compressed() {
		return nil
	}
	return l.takeFew(log, b, offset)
}

// loadAgain loads messages below to that were unloaded. A reader that has stalled gets a
// compressed batch in leftovers, so that it needs no slot while it reads them.
func (l *loader) loadAgain(log *broker.Partition, offset, to int64) error {
	if b := l.hub.leftovers.find(log, offset, to); b != nil {
		l.use(b)
		return nil
	}
	if err := l.load(log, offset, readChunk); err != nil {
		return err
	}
	b, _, err := batch.Next(l.loaded)
	if err != nil || !l.stalled || !b.Compressed() || b.BaseOffset() >= offset && l.sink.TakesBatches() {
		return nil
	}
	return l.takeFew(log, b, max(offset, b.BaseOffset()))
}

// use makes a leftover the batch that is loaded.
func (l *loader) use(b batch.Batch) {
	l.unload()
	l.loaded = b
	l.loads++
}

// takeFew keeps the messages from an offset on of the batch that is loaded as leftovers, and
// loads the first of them. A batch that can't be decoded stays loaded as it is.
func (l *loader) takeFew(log *broker.Partition, b batch.Batch, offset int64) error {
	if err := l.beginSlot(b); err != nil {
		return err
	}
	defer l.endSlot()
	if l.expand(b) != nil {
		return nil
	}
	if first := l.hub.leftovers.split(log, &l.it, b, offset); first != nil {
		l.use(first)
	}
	return nil
}
