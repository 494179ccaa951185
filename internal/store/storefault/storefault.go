// Package storefault makes a store fail, or act otherwise, when a test wants it to.
package storefault

import "mbus/internal/store"

// A Store calls a test's functions in place of methods of another store, which they get as
// their first argument. A method whose function is nil is that of the other store.
type Store struct {
	store.Store

	Create func(inner store.Store, name string, partitions int, config string) (store.Topic, error)
	Append func(inner store.Partition, topic string, batches []byte, done func(int64, error)) error
	Space  func(inner store.Store, n int) error
	State  func(inner store.Store) store.Health
	Read   func(inner store.Partition, topic string, offset int64, maxBytes int, c *store.Chunk) error
}

// CreateTopic implements store.Store.
func (w *Store) CreateTopic(name string, partitions int, config string) (store.Topic, error) {
	if w.Create == nil {
		return w.Store.CreateTopic(name, partitions, config)
	}
	return w.Create(w.Store, name, partitions, config)
}

// CheckSpace implements store.Store.
func (w *Store) CheckSpace(n int) error {
	if w.Space == nil {
		return w.Store.CheckSpace(n)
	}
	return w.Space(w.Store, n)
}

// Health implements store.Store.
func (w *Store) Health() store.Health {
	if w.State == nil {
		return w.Store.Health()
	}
	return w.State(w.Store)
}

// Partition implements store.Store.
func (w *Store) Partition(topic string, number int) (store.Partition, error) {
	p, err := w.Store.Partition(topic, number)
	if err != nil {
		return p, err
	}
	return &partition{p, topic, w}, nil
}

type partition struct {
	store.Partition
	topic string
	fault *Store
}

func (p *partition) Write(batches []byte, done func(int64, error)) (store.Lead, error) {
	if p.fault.Append == nil {
		return p.Partition.Write(batches, done)
	}
	return store.Lead{}, p.fault.Append(p.Partition, p.topic, batches, done)
}

func (p *partition) Read(offset int64, maxBytes int, c *store.Chunk) error {
	if p.fault.Read == nil {
		return p.Partition.Read(offset, maxBytes, c)
	}
	return p.fault.Read(p.Partition, p.topic, offset, maxBytes, c)
}
