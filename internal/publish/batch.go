// Package publish is what fronts share to publish many messages of one client: the buffer of what has come,
// and batches of messages for the partitions of a topic. It owns how a line becomes a message, which
// partition that goes to, and the errors about it. It knows no protocol.
package publish

import (
	"sync"

	"mbus/internal/batch"
	"mbus/internal/broker"
)

// MaxAppend is the size in bytes at which messages that came together are appended although
// there are more: short lines grow when they become records.
const MaxAppend = 2 * broker.ReadBuffer

// maxPooled is the size from which a builder's buffer is not kept.
const maxPooled = 2 * MaxAppend

// builders are reused.
var builders = sync.Pool{New: func() any { return new(batch.Builder) }}

// A Batch is messages that are appended together: batches for each partition.
type Batch struct {
	partitions []*broker.Partition // of the topic, as they were at the beginning
	builders   []*batch.Builder    // by partition; nil for those without messages
	own        int                 // the partition for messages without a key
	maxBatch   int                 // bytes
	haveKeys   bool                // the messages may have keys
	messages   int
	size       int // in bytes, about
	expected   int // bytes of the messages of a partition, about
	one        [1]*batch.Builder

	stream *broker.Stream // of the messages; nil for none
	latest []spot         // of the open batch, by partition; for a stream only
}

// A spot is where a message goes. Number and exact are of a stream only.
type spot struct {
	partition int
	number    int64 // from 1
	exact     bool  // its batch is numbered without a gap
}

// NewBatch has no messages yet. haveKeys says that some may have keys that
// choose their partitions. The messages are to have about so many bytes in all.
func NewBatch(t *broker.Topic, stream *broker.Stream, haveKeys bool, expected int) *Batch {
	p := &Batch{partitions: t.Partitions(), stream: stream, haveKeys: haveKeys}
	p.own = t.Next(len(p.partitions))
	p.maxBatch = t.MaxBatch()
	p.builders, p.expected = p.one[:], expected
	if n := len(p.partitions); n > 1 {
		p.builders = make([]*batch.Builder, n)
		if haveKeys {
			p.expected /= n
		}
	}
	if stream != nil {
		p.latest = make([]spot, len(p.partitions))
		if haveKeys {
			stream.Spread(len(p.partitions))
		}
	}
	return p
}

// Only has all messages go to one partition, whatever their keys. It reports false if there is no such
// partition.
func (p *Batch) Only(partition int) bool {
	p.own = partition
	return partition < len(p.partitions)
}

// Messages is how many there are, those included that are stored already.
func (p *Batch) Messages() int { return p.messages }

// Size is that of the records, in bytes, about.
func (p *Batch) Size() int { return p.size }

// Partitions is how many partitions get messages.
func (p *Batch) Partitions() int {
	n, _ := p.count()
	return n
}

// Put adds a message that fits, unless it is stored. number is that of the message in its stream, from 1.
func (p *Batch) Put(number uint64, time int64, key, value []byte, headers []batch.Header) {
	at, stored := p.spot(int64(number), key, headers)
	if stored {
		p.messages++
		return
	}
	p.add(at, time, key, value, headers...)
}

// spot is where a message goes, and whether it is stored.
func (p *Batch) spot(number int64, key []byte, headers []batch.Header) (at spot, stored bool) {
	at = spot{partition: p.own, number: number, exact: true}
	if key != nil && p.haveKeys {
		at.partition = broker.ForKey(key, len(p.partitions))
	}
	switch {
	case p.stream == nil:
		return at, false
	case len(p.partitions) == 1 || !p.haveKeys || broker.Waits(headers):
		return at, p.stream.Stored(number, nil)
	}
	at.exact = false
	if key == nil {
		at.partition = p.stream.Place(number, len(p.partitions))
	}
	return at, p.stream.KnowsMore(number) && p.stream.Stored(number, func(partitions int) int {
		if key == nil {
			return p.stream.Place(number, partitions)
		}
		return broker.ForKey(key, partitions)
	})
}

// Append appends the messages, which came in by a port. done is called once for each of the Partitions, and once if there are none.
func (p *Batch) Append(port broker.Port, done func(error)) {
	partitions, last := p.count()
	if partitions == 0 { // all messages are stored
		done(nil)
	}
	for i, b := range p.builders {
		if b == nil {
			continue
		}
		p.close(i)
		o := broker.AppendOptions{Checked: true, Port: port, Stream: p.stream, Inline: i == last && p.size <= broker.InlineCommit}
		if err := p.partitions[i].Append(b.Bytes(), o, func(_ int64, err error) { done(err) }); err != nil {
			done(err)
		}
	}
}

// add puts a message into the batch of its partition and closes the batch when
// it is large enough.
func (p *Batch) add(at spot, time int64, key, value []byte, headers ...batch.Header) {
	b := p.builders[at.partition]
	if b == nil {
		b = p.newBuilder()
		p.builders[at.partition] = b
	}
	if b.OpenSize() > 0 && (b.OpenSize()+sizeBound(key, value, headers) > p.maxBatch || !p.follows(at)) {
		p.close(at.partition)
	}
	if p.stream != nil {
		p.latest[at.partition] = at
	}
	before := len(b.Bytes())
	b.Add(time, key, value, headers...)
	p.size += len(b.Bytes()) - before
	p.messages++
	if b.OpenSize() >= broker.TargetBatch-broker.TargetBatch/64 {
		p.close(at.partition)
	}
}

// newBuilder gives an empty builder with space for the messages that are expected. A buffer that grows as it is filled
// does so by a quarter at a time, and takes five times the memory in all.
func (p *Batch) newBuilder() *batch.Builder {
	b := builders.Get().(*batch.Builder)
	b.Reset()
	if size := p.expected + p.expected/8 + batch.HeaderSize + batch.RecordOverhead; b.Cap() < size {
		b.Grow(min(size, MaxAppend))
	}
	return b
}

// follows reports whether the message of a spot may be added to the open batch of its partition.
func (p *Batch) follows(at spot) bool {
	if p.stream == nil {
		return true
	}
	latest := p.latest[at.partition]
	return at.exact == latest.exact && (!at.exact || at.number == latest.number+1)
}

// close finishes the open batch of a partition.
func (p *Batch) close(partition int) {
	b := p.builders[partition]
	if p.stream == nil {
		b.Close(0)
		return
	}
	latest, spread := p.latest[partition], 0
	if !latest.exact {
		spread = len(p.partitions)
	}
	b.CloseFor(0, p.stream.Producer(latest.number, b.Count(), spread))
}

// headerOverhead bounds what a header takes beside its key and value, in bytes: two
// lengths.
const headerOverhead = 10

// sizeBound is what a record takes in a batch at most, in bytes.
func sizeBound(key, value []byte, headers []batch.Header) int {
	n := batch.RecordOverhead + len(key) + len(value)
	for i := range headers {
		n += headerOverhead + len(headers[i].Key) + len(headers[i].Value)
	}
	return n
}

// Fits reports whether the message fits in a batch of the size that the topic takes.
func (p *Batch) Fits(key, value []byte, headers []batch.Header) bool {
	return batch.HeaderSize+sizeBound(key, value, headers) <= p.maxBatch
}

// count is the number of partitions that get messages, and the last of them.
func (p *Batch) count() (n, last int) {
	for i, b := range p.builders {
		if b != nil {
			n++
			last = i
		}
	}
	return n, last
}

// Free gives the builders back.
func (p *Batch) Free() {
	for _, b := range p.builders {
		if b != nil && b.Cap() <= maxPooled {
			builders.Put(b)
		}
	}
	p.builders = nil
}
