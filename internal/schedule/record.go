package schedule

import (
	"encoding/binary"
	"slices"
	"time"

	"mbus/internal/batch"
)

// The log has two kinds of records. A message that waits: the key says when it is due and
// where it goes, the value is a batch with the message. A note of messages that have been
// delivered, or dropped: no key, and their offsets in the log as the value, 8 bytes each.

// keySize is the size of a key without the name.
const keySize = 8 + 16 + 4

// appendKey appends the key of a message that is due at a time, in milliseconds since 1970:
// time, topic id, partition, name of the topic.
func appendKey(k []byte, at int64, t Target, name string) []byte {
	k = binary.BigEndian.AppendUint64(k, uint64(at))
	k = append(k, t.Topic[:]...)
	k = binary.BigEndian.AppendUint32(k, t.Partition)
	return append(k, name...)
}

// parseKey reads the key of a waiting message.
func parseKey(k []byte) (at int64, t Target, name []byte, ok bool) {
	if len(k) < keySize {
		return 0, t, nil, false
	}
	t = Target{Topic: [16]byte(k[8:24]), Partition: binary.BigEndian.Uint32(k[24:])}
	return int64(binary.BigEndian.Uint64(k)), t, k[keySize:], true
}

// buildNote makes batches of notes. The arrival is that of the messages, if they have been
// delivered.
func buildNote(offsets []int64, to arrival, now time.Time, batchBytes int) []byte {
	var builder batch.Builder
	value := make([]byte, 0, 8*min(noteOffsets, len(offsets)))
	for some := range slices.Chunk(offsets, noteOffsets) {
		value = value[:0]
		for _, o := range some {
			value = binary.BigEndian.AppendUint64(value, uint64(o))
		}
		builder.Add(now.UnixMilli(), nil, value, to.headers()...)
		closeFull(&builder, batchBytes)
	}
	builder.Close(0)
	return builder.Bytes()
}

// closeFull closes a batch that is large enough.
func closeFull(b *batch.Builder, size int) {
	if b.OpenSize() >= size {
		b.Close(0)
	}
}

// A Builder makes the records of messages that wait for one partition.
type Builder struct {
	w          Waiting
	now        int64 // time of the records
	batchBytes int
	batch      batch.Builder
	message    batch.Builder
	key        []byte
}

// NewBuilder is one for a partition of the topic of a name. now is the time of the records, in
// milliseconds since 1970; batches are closed at batchBytes.
func NewBuilder(t Target, topic string, now int64, batchBytes int) *Builder {
	return &Builder{w: Waiting{Target: t, Topic: topic}, now: now, batchBytes: batchBytes}
}

// Add adds a message that is due at a time, in milliseconds since 1970, which becomes the
// time of the message.
func (b *Builder) Add(r *batch.Record, at int64) {
	b.begin(r, at)
	b.message.Close(0)
	b.end(at)
}

// AddNumbered is Add for a message that its producer has numbered.
func (b *Builder) AddNumbered(r *batch.Record, at int64, p batch.Producer) {
	b.begin(r, at)
	b.message.CloseFor(0, p)
	b.end(at)
}

func (b *Builder) begin(r *batch.Record, at int64) {
	r.Timestamp = at
	b.message.Reset()
	b.message.AddRecord(r)
}

func (b *Builder) end(at int64) {
	b.key = appendKey(b.key[:0], at, b.w.Target, b.w.Topic)
	b.batch.Add(b.now, b.key, b.message.Bytes())
	closeFull(&b.batch, b.batchBytes)
	b.w.Dues = append(b.w.Dues, at)
}

// Waiting is the messages that were added.
func (b *Builder) Waiting() Waiting {
	b.batch.Close(0)
	b.w.Batches = b.batch.Bytes()
	return b.w
}
