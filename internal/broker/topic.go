package broker

import (
	"encoding/binary"
	"sync/atomic"

	"mbus/internal/store"
)

// A Topic is a store's topic with its partitions at hand.
type Topic struct {
	store.Topic
	Partitions []store.Partition

	turn       atomic.Uint32
	idempotent idempotence
}

// Next is the partition for messages without a key: each in turn.
func (t *Topic) Next() int {
	if len(t.Partitions) == 1 {
		return 0
	}
	return int(t.turn.Add(1)-1) % len(t.Partitions)
}

// ForKey is the partition of all messages with this key, the one that Kafka's
// default partitioner chooses: murmur2 of the key, without its sign.
func (t *Topic) ForKey(key []byte) int {
	if len(t.Partitions) == 1 {
		return 0
	}
	return int(murmur2(key)&0x7fffffff) % len(t.Partitions)
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
