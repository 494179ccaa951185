package broker

import (
	"bytes"
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"strconv"
	"sync"
	"time"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// HeaderDeliverAt is the header that has a message wait: the time, in
// milliseconds since 1970, at which it is put into its topic. The last one
// counts, and one that is no number does not.
const HeaderDeliverAt = "mbus-deliver-at"

// DelayedTopic is the internal topic that keeps the messages that are not due
// yet. Its records are a waiting message (the key says when it is due and where
// it goes, the value is a batch with the message), or a list of those that have
// been put into their topics: no key, and the offsets as the value, 8 bytes each.
const DelayedTopic = "__delayed"

// deliverAtOnce bounds how many messages that are due are put into their topics
// before it is noted that they have been: after a crash in between these come
// once more.
const deliverAtOnce = 1000

// deliverAgain is the time after which a message is tried again that could not be
// put into its topic.
const deliverAgain = time.Second

// Delays are the messages that are not due yet. In memory each is 16 bytes.
type delays struct {
	wake chan struct{} // something has changed

	mu      sync.Mutex // guards what follows
	log     store.Partition
	waiting dues // the next one first

	// Of the log, since it was trimmed: what has been appended, about, how many
	// waiting messages that were, and how much was left when it was last compacted.
	bytes    int64
	messages int
	floor    int64

	// For the delivering goroutine.
	unread   bool            // the log holds what is not in waiting
	reported map[string]bool // what can't be read of it
}

// A due message waits in the log at offset until at, in milliseconds since 1970.
type due struct{ at, offset int64 }

type dues []due

func (d dues) Len() int { return len(d) }
func (d dues) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(d[i].at, d[j].at), cmp.Compare(d[i].offset, d[j].offset)) < 0
}
func (d dues) Swap(i, j int) { d[i], d[j] = d[j], d[i] }
func (d *dues) Push(x any)   { *d = append(*d, x.(due)) }
func (d *dues) Pop() any {
	last := len(*d) - 1
	x := (*d)[last]
	*d = (*d)[:last]
	return x
}

func (d *delays) add(at, offset int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	heap.Push(&d.waiting, due{at, offset})
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// kept adds messages that have become durable, of so many bytes, from offset base on.
func (d *delays) kept(ats []int64, base, size int64) {
	d.mu.Lock()
	d.bytes += size
	d.messages += len(ats)
	d.mu.Unlock()
	for i, at := range ats {
		d.add(at, base+int64(i))
	}
}

// next takes those that are due, in due order; if none is, it returns the time
// until one is.
func (d *delays) next(now time.Time) (all []due, wait time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ms := now.UnixMilli()
	for len(d.waiting) > 0 && d.waiting[0].at <= ms && len(all) < deliverAtOnce {
		all = append(all, heap.Pop(&d.waiting).(due))
	}
	wait = time.Hour
	if len(d.waiting) > 0 {
		wait = max(0, min(lookEvery, time.UnixMilli(d.waiting[0].at).Sub(now)))
	}
	return all, wait
}

// A delaying partition is a topic's as its producers see it: there must be room,
// and messages that are not due yet go elsewhere first.
type delaying struct {
	store.Partition
	b      *Broker
	topic  [16]byte
	name   string
	number int
}

// Write implements store.Partition. The answers of two calls may come in
// another order if one of them has messages that wait.
func (p *delaying) Write(batches []byte, done func(base int64, err error)) (lead store.Lead, err error) {
	if err := p.b.store.Room(len(batches)); err != nil {
		return lead, err
	}
	if !mayWait(batches) {
		return p.Partition.Write(batches, done)
	}
	ms := p.b.now().UnixMilli()
	waits := false
	err = Scan(func(it *batch.Iterator) (err error) {
		if waits, err = anyWaits(it, batches, ms); waits {
			lead, err = p.writeParts(it, batches, ms, done)
		}
		return err
	})
	if err != nil || waits {
		return lead, err
	}
	return p.Partition.Write(batches, done)
}

// A prompt partition is a topic's for batches of which it is known that no message
// waits.
type prompt struct{ *delaying }

// Write implements store.Partition.
func (p prompt) Write(batches []byte, done func(base int64, err error)) (store.Lead, error) {
	if err := p.b.store.Room(len(batches)); err != nil {
		return store.Lead{}, err
	}
	return p.Partition.Write(batches, done)
}

// writeParts writes what waits, and then what is for now: most often there is only
// the former, and if that is refused nothing has been stored.
func (p *delaying) writeParts(it *batch.Iterator, batches []byte, ms int64, done func(base int64, err error)) (lead store.Lead, err error) {
	now, wait, dues, err := p.split(it, batches, ms)
	if err != nil {
		return lead, err
	}
	log, err := p.b.delayedLog()
	if err != nil {
		return lead, err
	}
	answers := &both{left: 2, done: done}
	size := int64(len(wait))
	if err := store.Append(log, wait, func(base int64, err error) {
		if err == nil {
			p.b.delays.kept(dues, base, size)
		}
		answers.settle(0, err)
	}); err != nil {
		return lead, err
	}
	if len(now) > 0 {
		lead, err = p.Partition.Write(now, answers.settle)
	}
	if len(now) == 0 || err != nil {
		answers.settle(0, err)
	}
	return lead, nil
}

// mayWait says whether one of the batches has to be looked into.
func mayWait(batches []byte) bool {
	for len(batches) > 0 {
		b, rest, err := batch.Next(batches)
		if err != nil || b.Codec() != batch.None || bytes.Contains(b, []byte(HeaderDeliverAt)) {
			return true
		}
		batches = rest
	}
	return false
}

// anyWaits says whether a message in the batches is not due at the time ms.
func anyWaits(it *batch.Iterator, batches []byte, ms int64) (bool, error) {
	for len(batches) > 0 {
		b, rest, err := batch.Next(batches)
		if err != nil {
			return false, err
		}
		batches = rest
		if err := it.Reset(b); err != nil {
			return false, err
		}
		for it.Next() {
			if deliverAt(it.Record()) > ms {
				return true, nil
			}
		}
		if err := it.Err(); err != nil {
			return false, err
		}
	}
	return false, nil
}

// split makes two of the batches: what is for now, and what waits, with the
// times when it is due.
func (p *delaying) split(it *batch.Iterator, batches []byte, ms int64) (now, wait []byte, dues []int64, err error) {
	var nowBatch, waitBatch, one batch.Builder
	for len(batches) > 0 {
		b, rest, err := batch.Next(batches)
		if err != nil {
			return nil, nil, nil, err
		}
		if err := it.Reset(b); err != nil {
			return nil, nil, nil, err
		}
		for it.Next() {
			r := it.Record()
			at := deliverAt(r)
			if at <= ms {
				nowBatch.AddRecord(r)
				continue
			}
			dues = append(dues, at)
			one.Reset()
			r.Timestamp = at
			one.AddRecord(r)
			one.Close(0)
			waitBatch.Add(ms, p.key(at), one.Bytes())
		}
		if err := it.Err(); err != nil {
			return nil, nil, nil, err
		}
		nowBatch.Close(0)
		batches = rest
	}
	waitBatch.Close(0)
	return nowBatch.Bytes(), waitBatch.Bytes(), dues, nil
}

// deliverAt is when a message is due; 0 for at once.
func deliverAt(r *batch.Record) (at int64) {
	for k, v := range r.Headers() {
		if string(k) == HeaderDeliverAt {
			if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
				at = n
			}
		}
	}
	return at
}

// key says when a message is due and where it goes: time, topic id, partition,
// name.
func (p *delaying) key(at int64) []byte {
	k := binary.BigEndian.AppendUint64(nil, uint64(at))
	k = append(k, p.topic[:]...)
	k = binary.BigEndian.AppendUint32(k, uint32(p.number))
	return append(k, p.name...)
}

// keySize is the size of a key without the name.
const keySize = 8 + 16 + 4

// both calls done once when both halves of an append are durable.
type both struct {
	mu   sync.Mutex
	left int
	base int64
	err  error
	done func(int64, error)
}

func (b *both) settle(base int64, err error) {
	b.mu.Lock()
	b.left--
	b.base = max(b.base, base)
	if b.err == nil {
		b.err = err
	}
	last := b.left == 0
	b.mu.Unlock()
	if last {
		b.done(b.base, b.err)
	}
}

// delayedLog makes the topic when there is something to keep.
func (b *Broker) delayedLog() (store.Partition, error) {
	d := &b.delays
	d.mu.Lock()
	log := d.log
	d.mu.Unlock()
	if log != nil {
		return log, nil
	}
	t, err := b.makeTopic(DelayedTopic, 1)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log = t.Partitions()[0]
	return d.log, nil
}

// deliver puts messages into their topics when they are due, until the broker
// ends. log, nil for none, is what there was when the broker was made, and ended at
// end.
func (b *Broker) deliver(log store.Partition, end int64) {
	d := &b.delays
	if err := b.loadDelays(log, end); err != nil {
		b.Log.Error("delayed messages could not be read, and will not be delivered before a restart", "reason", err)
		d.unread = true
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		b.compactDelays()
		all, wait := d.next(b.now())
		if len(all) > 0 {
			b.deliverAll(all)
			continue
		}
		timer.Reset(wait)
		select {
		case <-d.wake:
		case <-timer.C:
		case <-b.stop:
			return
		}
	}
}

// deliverAll puts messages into their topics, waits until they are durable there,
// and then notes that they have been delivered.
func (b *Broker) deliverAll(all []due) {
	errs := make([]error, len(all))
	var under sync.WaitGroup
	for i, m := range all {
		under.Add(1)
		done := func(_ int64, err error) {
			errs[i] = err
			under.Done()
		}
		if err := WithRecord(b.delays.log, m.offset, func(r *batch.Record) error { return b.putInPlace(r, done) }); err != nil {
			done(0, err)
		}
	}
	under.Wait()
	var delivered []byte
	failed, reason := 0, error(nil)
	for i, m := range all {
		switch err := errs[i]; {
		case err == nil || errors.Is(err, store.ErrUnknownTopic):
			delivered = binary.BigEndian.AppendUint64(delivered, uint64(m.offset))
		case isDamage(err):
			b.leaveDelayed(m.offset, m.offset+1, err)
		default:
			failed, reason = failed+1, err
			b.delays.add(b.now().Add(deliverAgain).UnixMilli(), m.offset)
		}
	}
	if failed > 0 {
		b.Log.Error("delayed messages could not be put into their topics: they are tried again", "messages", failed, "reason", reason)
	}
	if err := b.noteDelivered(delivered); err != nil {
		b.Log.Error("delayed messages have been delivered, and will be once more after a restart", "reason", err)
	}
}

// putInPlace puts a waiting message into its topic. The error is
// store.ErrUnknownTopic if the topic has been deleted meanwhile.
func (b *Broker) putInPlace(r *batch.Record, done func(int64, error)) error {
	if len(r.Key) < keySize {
		return batch.ErrCorrupt
	}
	t, err := b.Topic(string(r.Key[keySize:]))
	if errors.Is(err, store.ErrUnusable) { // it may be there again later
		return err
	}
	partition := int(binary.BigEndian.Uint32(r.Key[24:]))
	if err != nil || [16]byte(r.Key[8:24]) != t.ID || partition >= len(t.Partitions()) {
		return store.ErrUnknownTopic
	}
	p, ok := t.Partitions()[partition].(*delaying)
	if !ok {
		return store.ErrUnknownTopic
	}
	if err := b.store.Room(len(r.Value)); err != nil {
		return err
	}
	return store.Append(p.Partition, bytes.Clone(r.Value), done)
}

// noteDelivered keeps the offsets of what has been delivered, and frees what
// space it can.
func (b *Broker) noteDelivered(offsets []byte) error {
	if len(offsets) == 0 {
		return nil
	}
	d := &b.delays
	var builder batch.Builder
	builder.Add(b.now().UnixMilli(), nil, offsets)
	builder.Close(0)
	base, err := store.AppendAndWait(d.log, builder.Bytes())
	if err != nil {
		return err
	}
	d.mu.Lock()
	empty := len(d.waiting) == 0
	if d.bytes += int64(len(builder.Bytes())); empty {
		d.bytes, d.messages, d.floor = 0, 0, 0
	}
	d.mu.Unlock()
	if empty && !d.unread { // what has come since has a higher offset than the note
		return d.log.Trim(base)
	}
	return nil
}
