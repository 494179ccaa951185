package kafka_test

import (
	"hash/crc32"

	"mbus/internal/store"
)

// A wrapped store is one whose calls tests can stand in for.
type wrapped struct {
	store.Store
	append func(inner store.Partition, p []byte, done func(int64, error)) error
	read   func(inner store.Partition, offset int64, maxBytes int, c *store.Chunk) error
}

func (w *wrapped) Partition(topic string, number int) (store.Partition, error) {
	p, err := w.Store.Partition(topic, number)
	return &wrappedPartition{p, w}, err
}

type wrappedPartition struct {
	store.Partition
	store *wrapped
}

func (p *wrappedPartition) Append(batches []byte, done func(int64, error)) error {
	if p.store.append == nil {
		return p.Partition.Append(batches, done)
	}
	return p.store.append(p.Partition, batches, done)
}

func (p *wrappedPartition) Read(offset int64, maxBytes int, c *store.Chunk) error {
	if p.store.read == nil {
		return p.Partition.Read(offset, maxBytes, c)
	}
	return p.store.read(p.Partition, offset, maxBytes, c)
}

// crcOf is the checksum of a batch.
func crcOf(p []byte) uint32 { return crc32.Checksum(p[21:], crc32.MakeTable(crc32.Castagnoli)) }
