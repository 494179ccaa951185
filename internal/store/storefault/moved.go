package storefault

import (
	"sync"

	"mbus/internal/store"
)

// A Movable is a store on several nodes, as far as its errors go: another node owns its topics from Move on.
type Movable struct {
	store.Store

	mu      sync.Mutex // guards what follows
	moved   bool
	behind  bool                             // the next write is stored, and nobody gets to know it
	held    chan struct{}                    // closed when the next write may be acknowledged; nil for at once
	waiting map[*func(store.Reason)]struct{} // of Wake
}

// NewMovable makes one of another store.
func NewMovable(s store.Store) *Movable {
	return &Movable{Store: s, waiting: make(map[*func(store.Reason)]struct{})}
}

// Move has all that is under way, and all that is asked for, fail with ErrMoved.
func (m *Movable) Move() {
	m.mu.Lock()
	m.moved = true
	waiting := m.waiting
	m.waiting = nil
	m.mu.Unlock()
	for f := range waiting {
		go (*f)(store.Closed)
	}
}

// HasMoved reports whether another node owns the topics.
func (m *Movable) HasMoved() bool { return m.err() != nil }

// MoveBehindNext is Move when the next batches have been stored, which are not acknowledged.
func (m *Movable) MoveBehindNext() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.behind = true
}

// HoldNext has the next batches, which are stored, acknowledged by release only.
func (m *Movable) HoldNext() (release func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	held := make(chan struct{})
	m.held = held
	return func() { close(held) }
}

// IsHeld reports whether the batches of HoldNext have come.
func (m *Movable) IsHeld() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.held == nil
}

// takeHeld gives what the acknowledgement of a write waits for; nil for nothing.
func (m *Movable) takeHeld() chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	held := m.held
	m.held = nil
	return held
}

// isLast reports whether a write is that of MoveBehindNext.
func (m *Movable) isLast() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	was := m.behind
	m.behind = false
	return was
}

// err is ErrMoved after Move.
func (m *Movable) err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.moved {
		return store.ErrMoved
	}
	return nil
}

// CreateTopic implements store.Store.
func (m *Movable) CreateTopic(name string, partitions int, config string) (store.Topic, error) {
	if err := m.err(); err != nil {
		return store.Topic{}, err
	}
	return m.Store.CreateTopic(name, partitions, config)
}

// DeleteTopic implements store.Store.
func (m *Movable) DeleteTopic(name string) error {
	if err := m.err(); err != nil {
		return err
	}
	return m.Store.DeleteTopic(name)
}

// Partition implements store.Store.
func (m *Movable) Partition(topic string, number int) (store.Partition, error) {
	p, err := m.Store.Partition(topic, number)
	return &movable{p, m}, err
}

type movable struct {
	store.Partition
	of *Movable
}

func (p *movable) Write(batches []byte, done func(int64, error)) (store.Lead, error) {
	if err := p.of.err(); err != nil {
		return store.Lead{}, err
	}
	isLast := p.of.isLast()
	if held := p.of.takeHeld(); held != nil {
		inner := done
		done = func(base int64, err error) {
			go func() {
				<-held
				inner(base, err)
			}()
		}
	}
	return p.Partition.Write(batches, func(base int64, err error) {
		if isLast {
			p.of.Move()
		}
		if moved := p.of.err(); moved != nil { // it may be stored
			base, err = 0, moved
		}
		done(base, err)
	})
}

func (p *movable) Read(offset int64, maxBytes int, c *store.Chunk) error {
	if err := p.of.err(); err != nil {
		return err
	}
	return p.Partition.Read(offset, maxBytes, c)
}

func (p *movable) Trim(before int64) error {
	if err := p.of.err(); err != nil {
		return err
	}
	return p.Partition.Trim(before)
}

func (p *movable) Wake(offset int64, f func(store.Reason)) (cancel func()) {
	m := p.of
	var once sync.Once
	call := func(why store.Reason) { once.Do(func() { f(why) }) }
	m.mu.Lock()
	if m.moved {
		m.mu.Unlock()
		go f(store.Closed)
		return func() {}
	}
	m.waiting[&call] = struct{}{}
	m.mu.Unlock()
	stop := p.Partition.Wake(offset, call)
	return func() {
		stop()
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.waiting, &call)
	}
}
