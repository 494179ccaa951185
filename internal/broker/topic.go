package broker

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"mbus/internal/store"
)

// A Topic is one incarnation of a topic, with its partitions and settings.
type Topic struct {
	Name string
	ID   [16]byte

	partitions atomic.Pointer[[]*Partition]
	epochs     atomic.Pointer[[]int32] // by partition; set before partitions
	settings   atomic.Pointer[settings]
	turn       atomic.Uint32
	streams    streams
	keys       topicKeys
	traffic    atomic.Pointer[traffic] // nil until messages come or go
	swept      sweep                   // guarded by the mu of retention

	deleted  atomic.Bool
	mu       sync.Mutex // guards what follows
	watchers map[*func()]struct{}
}

// Partitions are the topic's partitions by number. The next call may return more of them,
// never fewer: code that picks partitions by their number calls it once.
func (t *Topic) Partitions() []*Partition { return *t.partitions.Load() }

// LeaderEpoch is the leader epoch of a partition, which never changes.
func (t *Topic) LeaderEpoch(partition int) int32 { return (*t.epochs.Load())[partition] }

// know takes the leader epochs from the topic as the store has it.
func (t *Topic) know(made store.Topic) {
	epochs := make([]int32, made.Partitions)
	for i := range epochs {
		epochs[i] = made.PartitionEpoch(i)
	}
	t.epochs.Store(&epochs)
}

// Next is the partition, of n, for messages without a key: each in turn.
func (t *Topic) Next(n int) int {
	if n == 1 {
		return 0
	}
	return int(t.turn.Add(1)-1) % n
}

// ForKey is the partition, of n, of all messages with this key, the one that
// Kafka's default partitioner chooses: murmur2 of the key, without its sign.
func ForKey(key []byte, n int) int {
	if n == 1 {
		return 0
	}
	return int(murmur2(key)&0x7fffffff) % n
}

// For is the partition for a message with this key, or, if key is nil, for one
// without.
func (t *Topic) For(key []byte) *Partition {
	all := t.Partitions()
	if key == nil {
		return all[t.Next(len(all))]
	}
	return all[ForKey(key, len(all))]
}

// Deleted reports whether the topic was deleted: another topic may have its name.
func (t *Topic) Deleted() bool { return t.deleted.Load() }

// Watch calls f whenever partitions have been added to the topic, and when it has been
// deleted, until cancel. f must not block; it may be called once more after cancel.
func (t *Topic) Watch(f func()) (cancel func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.watchers == nil {
		t.watchers = make(map[*func()]struct{})
	}
	t.watchers[&f] = struct{}{}
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.watchers, &f)
	}
}

// grow adds partitions to the topic.
func (t *Topic) grow(more []*Partition) {
	all := append(append([]*Partition(nil), t.Partitions()...), more...)
	t.partitions.Store(&all)
	t.changed()
}

// end notes that the topic has been deleted.
func (t *Topic) end() {
	t.deleted.Store(true)
	t.changed()
}

// changed calls the watchers.
func (t *Topic) changed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for f := range t.watchers {
		(*f)()
	}
}

// murmur2 is Austin Appleby's MurmurHash2 with the seed of Apache Kafka's
// Utils.murmur2.
func murmur2(p []byte) uint32 {
	const m, r = 0x5bd1e995, 24
	h := uint32(0x9747b28c) ^ uint32(len(p))
	for ; len(p) >= 4; p = p[4:] {
		k := binary.LittleEndian.Uint32(p) * m
		k ^= k >> r
		h = h*m ^ k*m
	}
	switch len(p) {
	case 3:
		h ^= uint32(p[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(p[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(p[0])) * m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}
