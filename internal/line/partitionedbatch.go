package line

import (
	"mbus/internal/batch"
	"mbus/internal/broker"
)

// A partitionedBatch is messages that are appended together: batches for each partition.
type partitionedBatch struct {
	partitions []*broker.Partition // of the topic, as they were at the beginning
	builders   []*batch.Builder    // by partition; nil for those without messages
	own        int                 // the partition for messages without a key
	maxBatch   int                 // bytes
	messages   int
	size       int // in bytes, about
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

func newPartitionedBatch(t *broker.Topic, stream *broker.Stream) *partitionedBatch {
	p := &partitionedBatch{partitions: t.Partitions(), stream: stream}
	p.own = t.Next(len(p.partitions))
	p.maxBatch = t.MaxBatch()
	p.builders = p.one[:]
	if n := len(p.partitions); n > 1 {
		p.builders = make([]*batch.Builder, n)
	}
	if stream != nil {
		p.latest = make([]spot, len(p.partitions))
	}
	return p
}

// forKey is the partition for messages with a key.
func (p *partitionedBatch) forKey(key []byte) int { return broker.ForKey(key, len(p.partitions)) }

// add puts a message into the batch of its partition and closes the batch when
// it is large enough.
func (p *partitionedBatch) add(at spot, time int64, key, value []byte, headers ...batch.Header) {
	b := p.builders[at.partition]
	if b == nil {
		b = builders.Get().(*batch.Builder)
		b.Reset()
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

// follows reports whether the message of a spot may be added to the open batch of its partition.
func (p *partitionedBatch) follows(at spot) bool {
	if p.stream == nil {
		return true
	}
	latest := p.latest[at.partition]
	return at.exact == latest.exact && (!at.exact || at.number == latest.number+1)
}

// close finishes the open batch of a partition.
func (p *partitionedBatch) close(partition int) {
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

// skip counts a message that is stored already.
func (p *partitionedBatch) skip() { p.messages++ }

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

// fits reports whether the message fits in a batch of the size that the topic takes.
func (p *partitionedBatch) fits(key, value []byte, headers []batch.Header) bool {
	return batch.HeaderSize+sizeBound(key, value, headers) <= p.maxBatch
}

// count is the number of partitions that get messages, and the last of them.
func (p *partitionedBatch) count() (n, last int) {
	for i, b := range p.builders {
		if b != nil {
			n++
			last = i
		}
	}
	return n, last
}

// free gives the builders back.
func (p *partitionedBatch) free() {
	for _, b := range p.builders {
		if b != nil && b.Cap() <= maxPooled {
			builders.Put(b)
		}
	}
	p.builders = nil
}
