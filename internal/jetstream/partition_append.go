package jetstream

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// An appender publishes the batches of a partition, one message at a time: what is written while a
// message is on its way becomes the next one.
type appender struct {
	log       *partition
	rollBytes atomic.Int64 // largest size of a section; 0 for sizes.section
	rollAge   atomic.Int64 // seconds from the first append to a section to the end of it; 0 for no end

	mu      sync.Mutex  // guards what follows
	freed   sync.Cond   // the queue has become shorter, or the log has ended
	queue   []*outgoing // not stored yet; the first may be on its way
	held    int         // bytes of the batches in the queue, and of those that wait for the node's budget
	next    int64       // offset of the next record
	running bool        // run publishes the queue
	opening bool        // the log can't be used yet
	ended   error       // why nothing is taken any more
	failed  bool        // and what was in the queue is answered
	tail    tail        // behind the last stored message
}

// A tail is the state behind the last message of a partition: what the next message says of it.
type tail struct {
	seq      uint64 // of the last message
	next     int64  // offset of the next record
	start    int64  // log start offset
	removed  int64  // position of the message that holds it
	pos      int64  // of the next message
	latest   int64  // time of a record in the section
	section  uint64 // sequence of the section's head
	sectPos  int64  // position at which it begins
	appended uint32 // when the last batch was
	first    uint32 // when the first batch of the section was; 0 for none
}

// prefix is that of the next message.
func (t *tail) prefix(epoch uint32, k kind) prefix {
	return prefix{
		epoch: epoch, kind: k, base: t.next, start: t.start, removed: t.removed, pos: t.pos, latest: t.latest,
		section: t.section, sectPos: t.sectPos, appended: t.appended, first: t.first,
	}
}

// follow moves the tail behind a message that is not a fence.
func (t *tail) follow(m *message) {
	t.seq, t.next, t.start, t.removed, t.pos = m.seq, m.next, m.start, m.removed, m.end()
	t.latest, t.section, t.sectPos, t.appended, t.first = max(m.latest, m.last), m.section, m.sectPos, m.appended, m.first
	switch {
	case m.kind == head:
		t.latest, t.section, t.sectPos, t.first = noTime, m.seq, m.pos, 0
	case m.kind == batches && t.first == 0:
		t.first = m.appended
	}
}

// An outgoing is a message that is not stored yet.
type outgoing struct {
	prefix
	data     []byte // room for the prefix, then batches
	next     int64  // offset behind the last record
	last     int64  // latest time of a record
	moves    bool   // start and removed are those of the prefix, and not the tail's
	corrects bool   // and appended
	sent     bool   // nothing is added any more
	waiters  []waiter
}

// A waiter is called when a message is stored.
type waiter struct {
	base int64
	done func(int64, error)
}

// maxBatch is the largest batch that fits into a message with its prefix and what the engine adds.
const maxBatch = MaxPayload - 64<<10

// write implements store.Partition.Write.
func (a *appender) write(batches []byte, done func(int64, error)) error {
	if err := checkSizes(batches); err != nil {
		return err
	}
	n := len(batches)
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.usable() == nil && a.held >= a.log.sizes.partition {
		a.freed.Wait()
	}
	if err := a.usable(); err != nil {
		return err
	}
	a.held += n
	if !a.log.room.try(n) {
		a.mu.Unlock() // what frees the budget may need it
		a.log.room.take(n)
		a.mu.Lock()
	}
	if err := a.usable(); err != nil {
		a.held -= n
		a.log.room.give(n)
		return err
	}
	base := a.next
	m := a.add(batches)
	m.waiters = append(m.waiters, waiter{base, done})
	a.start()
	return nil
}

// usable says why nothing can be appended. The caller holds mu.
func (a *appender) usable() error {
	if a.ended == nil && a.opening {
		return store.ErrUnavailable
	}
	return a.ended
}

// open goes on behind a tail.
func (a *appender) open(t *tail) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.opening, a.tail, a.next = false, *t, t.next
}

// end is the state behind the last stored message. It fails if the log can't be used.
func (a *appender) end() (tail, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tail, a.usable()
}

// checkSizes checks that there are whole batches, which fit into messages.
func checkSizes(batches []byte) error {
	if len(batches) == 0 {
		return fmt.Errorf("%w: there is none", batch.ErrCorrupt)
	}
	for len(batches) > 0 {
		b, rest, err := batch.Next(batches)
		if err != nil {
			return err
		}
		if len(b) > maxBatch {
			return fmt.Errorf("a batch of %d bytes is too large for a cluster: the limit is %d bytes", len(b), maxBatch)
		}
		batches = rest
	}
	return nil
}

// add stamps batches and adds them to messages. It returns the last one. The caller holds mu.
func (a *appender) add(data []byte) (m *outgoing) {
	now := seconds(a.log.time())
	for len(data) > 0 {
		b, rest, _ := batch.Next(data)
		b.Stamp(a.next, a.log.leader)
		if m = a.last(len(b)); m == nil {
			m = a.begin(max(len(b), min(len(data), a.limit())))
		}
		m.data = append(m.data, b...)
		a.next = b.NextOffset()
		m.next, m.last, m.appended = a.next, max(m.last, b.MaxTimestamp()), max(m.appended, now)
		data = rest
	}
	return m
}

// last gives the last message of the queue if n bytes can be added to it. The caller holds mu.
func (a *appender) last(n int) *outgoing {
	if len(a.queue) == 0 {
		return nil
	}
	m := a.queue[len(a.queue)-1]
	if m.sent || m.kind != batches || len(m.data)-prefixSize+n > a.limit() {
		return nil
	}
	return m
}

// begin adds a message to the queue, with room for n bytes or, if others are on their way, for more that
// will come meanwhile. The caller holds mu.
func (a *appender) begin(n int) *outgoing {
	if len(a.queue) > 0 {
		n = max(n, min(len(a.queue[len(a.queue)-1].data), a.limit()))
	}
	m := &outgoing{prefix: prefix{kind: batches, base: a.next}, data: make([]byte, prefixSize, prefixSize+n), next: a.next, last: noTime}
	a.queue = append(a.queue, m)
	return m
}

// limit is the largest size of a message's batches in bytes, if they are more than one.
func (a *appender) limit() int { return int(min(int64(a.log.sizes.message), a.sectionLimit())) }

func (a *appender) sectionLimit() int64 {
	if n := a.rollBytes.Load(); n > 0 && n < a.log.sizes.section {
		return n
	}
	return a.log.sizes.section
}

// put adds a message without batches to the queue and waits until it is stored.
func (a *appender) put(m *outgoing) error {
	a.mu.Lock()
	if err := a.usable(); err != nil {
		a.mu.Unlock()
		return err
	}
	stored := make(chan error, 1)
	m.base, m.next, m.last, m.data = a.next, a.next, noTime, make([]byte, prefixSize)
	m.waiters = append(m.waiters, waiter{done: func(_ int64, err error) { stored <- err }})
	a.queue = append(a.queue, m)
	a.start()
	a.mu.Unlock()
	return <-stored
}

// start has the queue published. The caller holds mu.
func (a *appender) start() {
	if !a.running {
		a.running = true
		go a.run()
	}
}

// run publishes the queue until it is empty.
func (a *appender) run() {
	for {
		a.yield()
		m := a.take()
		if m == nil {
			return
		}
		sent := time.Now()
		seq, err := a.publish(m)
		if err != nil {
			a.log.lose(err)
			a.fail(a.log.moved())
			continue
		}
		a.log.stats.Syncs.Observe(int64(time.Since(sent)))
		a.stored(m, seq)
	}
}

// yieldRounds bounds the time that the first append of a message waits for others.
const yieldRounds = 16

// yield lets those who want to append go first, so that one message has the appends of many.
func (a *appender) yield() {
	last := -1
	for range yieldRounds {
		runtime.Gosched()
		a.mu.Lock()
		n := a.held
		a.mu.Unlock()
		if n == last || n >= a.limit() {
			return
		}
		last = n
	}
}

// take gives the message to publish next, with its prefix, or nil if the queue is empty.
func (a *appender) take() *outgoing {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.queue) == 0 {
		a.running = false
		a.freed.Broadcast()
		return nil
	}
	m := a.queue[0]
	if m.kind == batches && a.isFull(m) {
		m = &outgoing{prefix: prefix{kind: head}, data: make([]byte, prefixSize), next: m.base, last: noTime}
		a.queue = append([]*outgoing{m}, a.queue...)
	}
	m.sent = true
	f := a.tail.prefix(a.log.term, m.kind)
	if m.moves {
		f.start, f.removed = m.start, m.removed
	}
	switch {
	case m.kind == head:
		f.first = a.tail.appended
		if m.corrects {
			f.appended = m.appended
		}
	case m.kind == batches:
		f.appended = max(f.appended, m.appended)
	}
	m.prefix = f
	f.encode(m.data)
	return m
}

// isFull reports whether the section is too large, or too old, for a message. The caller holds mu.
func (a *appender) isFull(m *outgoing) bool {
	t := &a.tail
	age := a.rollAge.Load()
	return t.pos > t.sectPos && (t.pos-t.sectPos+int64(len(m.data)-prefixSize) > a.sectionLimit() ||
		age > 0 && t.first > 0 && int64(m.appended)-int64(t.first) >= age)
}

// stored moves the tail behind the first message of the queue, which has that sequence, and answers.
func (a *appender) stored(m *outgoing, seq uint64) {
	out := &message{seq: seq, prefix: m.prefix, data: m.data[prefixSize:], next: m.next, last: m.last}
	n := len(out.data)
	a.mu.Lock()
	if a.failed {
		a.mu.Unlock()
		return
	}
	a.queue[0] = nil
	a.queue = a.queue[1:]
	a.held -= n
	a.tail.follow(out)
	t := a.tail
	a.mu.Unlock()
	a.log.room.give(n) // before anybody is called who may have to wait for a writer
	a.freed.Broadcast()
	switch m.kind {
	case batches:
		a.log.messages.points.add(out)
		a.log.written.add(a.log, out)
		a.log.stats.Bytes.Observe(int64(n))
		a.log.stats.Appends.Observe(int64(len(m.waiters)))
	case head:
		a.log.sections.add(out)
	}
	wake := a.log.visible.raise(&t)
	for _, w := range m.waiters {
		w.done(w.base, nil)
	}
	for _, f := range wake {
		f(store.More)
	}
}

// close refuses what is written from now on, and waits until all before is answered.
func (a *appender) close(ended error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended == nil {
		a.ended = ended
	}
	a.freed.Broadcast()
	for a.running {
		a.freed.Wait()
	}
}

// fail answers what is in the queue with an error, and refuses what is written from now on.
func (a *appender) fail(ended error) {
	a.mu.Lock()
	if a.ended == nil {
		a.ended = ended
	}
	queue := a.queue
	a.queue, a.failed = nil, true
	n := 0
	for _, m := range queue {
		n += len(m.data) - prefixSize
	}
	a.held -= n
	a.freed.Broadcast()
	a.mu.Unlock()
	a.log.room.give(n)
	for _, m := range queue {
		for _, w := range m.waiters {
			w.done(w.base, ended)
		}
	}
}
