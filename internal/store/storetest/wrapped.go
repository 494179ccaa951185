package storetest

import "mbus/internal/store"

// Wrapped is a Store of which a test can stand in for calls; those whose function
// is nil go to the store itself. The functions are given what they stand in for.
type Wrapped struct {
	store.Store
	Create func(inner store.Store, name string, partitions int, config string) (store.Topic, error)
	Append func(inner store.Partition, topic string, batches []byte, done func(int64, error)) error
	Read   func(inner store.Partition, topic string, offset int64, maxBytes int, c *store.Chunk) error
}

// CreateTopic implements store.Store.
func (w *Wrapped) CreateTopic(name string, partitions int, config string) (store.Topic, error) {
	if w.Create == nil {
		return w.Store.CreateTopic(name, partitions, config)
	}
	return w.Create(w.Store, name, partitions, config)
}

// Partition implements store.Store.
func (w *Wrapped) Partition(topic string, number int) (store.Partition, error) {
	p, err := w.Store.Partition(topic, number)
	if err != nil {
		return p, err
	}
	return &wrappedPartition{p, topic, w}, nil
}

type wrappedPartition struct {
	store.Partition
	topic string
	store *Wrapped
}

func (p *wrappedPartition) Write(batches []byte, done func(int64, error)) (store.Lead, error) {
	if p.store.Append == nil {
		return p.Partition.Write(batches, done)
	}
	return store.Lead{}, p.store.Append(p.Partition, p.topic, batches, done)
}

func (p *wrappedPartition) Read(offset int64, maxBytes int, c *store.Chunk) error {
	if p.store.Read == nil {
		return p.Partition.Read(offset, maxBytes, c)
	}
	return p.store.Read(p.Partition, p.topic, offset, maxBytes, c)
}
