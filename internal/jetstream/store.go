package jetstream

import (
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mbus/internal/store"
)

// A Store is all topics as their owner has them: a store.Store over the engine's streams. It is one
// ownership's: TakeOver makes it, and it ends with Close, after Lost at the latest.
type Store struct {
	*owner
	engine *Engine
	shard  shard
	wires  *engineWire
	guard  Value // the claim: no change of the catalog is taken after another node's

	names    store.Names  // each is locked while its topic is created, altered or deleted
	altering sync.RWMutex // read-locked meanwhile; Close waits for it
	writing  sync.Mutex   // held over a change of the catalog
	tasks    tasks        // end with the owner's context
	disk     atomic.Pointer[func() store.Disk]
	unwatch  func()

	mu     sync.RWMutex // guards what follows
	topics map[string]*topic
	buried map[string]topicEntry // of deleted topics, by name
	made   map[[16]byte]bool     // ids of topics that this owner made or began to make
	epochs int32                 // all leader epochs so far are below
	note   []byte
	ended  error // store.ErrClosed or store.ErrMoved
}

// A topic is one with its partitions.
type topic struct {
	store.Topic
	dead       []string // ids of deleted topics of its name, whose streams may be left
	partitions []*partition
	firsts     []int64 // offsets at which the logs of the first partitions begin; the others at 0
}

// first is the offset at which a partition's log begins.
func (t *topic) first(partition int) int64 {
	if partition >= len(t.firsts) {
		return 0
	}
	return t.firsts[partition]
}

// Epoch is the number of this ownership, higher than those of all before.
func (s *Store) Epoch() uint64 { return uint64(s.term) }

// Lost is closed when another node has taken the topics over, and when it has not been certain for
// a long time whether a message is stored.
func (s *Store) Lost() <-chan struct{} { return s.lost }

// Topics implements store.Store.
func (s *Store) Topics() []store.Topic {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []store.Topic
	for _, t := range slices.SortedFunc(maps.Values(s.topics), func(a, b *topic) int { return strings.Compare(a.Name, b.Name) }) {
		list = append(list, t.Topic)
	}
	return list
}

// Partition implements store.Store.
func (s *Store) Partition(topic string, number int) (store.Partition, error) {
	t, err := s.find(topic)
	if err != nil {
		return nil, err
	}
	if number < 0 || number >= t.Partitions {
		return nil, store.ErrUnknownTopic
	}
	return t.partitions[number], nil
}

func (s *Store) find(name string) (*topic, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.ended != nil {
		return nil, s.ended
	}
	if t := s.topics[name]; t != nil {
		return t, nil
	}
	return nil, store.ErrUnknownTopic
}

// Stats implements store.Store.
func (s *Store) Stats() *store.Stats { return s.stats }

// UseClock implements store.Store.
func (s *Store) UseClock(now func() time.Time) { s.useClock(now) }

// Deleted implements store.Store: the catalog is whole, so that a topic that it lacks is deleted.
func (s *Store) Deleted(id [16]byte) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, t := range s.topics {
		if t.ID == id {
			return false
		}
	}
	return true
}

// UseDisk sets what tells the space: the least that is free on any node counts, because a full disk
// stops the engine on its node.
func (s *Store) UseDisk(f func() store.Disk) { s.disk.Store(&f) }

// Health implements store.Store.
func (s *Store) Health() store.Health {
	var h store.Health
	if f := s.disk.Load(); f != nil {
		h.Disk = (*f)()
	}
	for _, t := range s.all() {
		for _, p := range t.partitions {
			if err := p.Available(); err != nil {
				h.Failed, h.Failure = h.Failed+1, err
			}
		}
	}
	return h
}

func (s *Store) all() []*topic {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Collect(maps.Values(s.topics))
}

// CheckSpace implements store.Store.
func (s *Store) CheckSpace(n int) error {
	f := s.disk.Load()
	if f == nil {
		return nil
	}
	if d := (*f)(); d.Full || d.Size > 0 && d.Free < d.Reserve+int64(n) {
		return store.ErrFull
	}
	return nil
}

// Note implements store.Store.
func (s *Store) Note() []byte {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.note
}

// KeepNote implements store.Store.
func (s *Store) KeepNote(p []byte) error {
	unlock, err := s.lock("")
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.set(s.shard.noteKey(), p); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note = slices.Clone(p)
	return nil
}

// lock locks the name of a topic that is to be created, altered or deleted.
func (s *Store) lock(name string) (unlock func(), err error) {
	s.altering.RLock()
	unlockName := s.names.Lock(name)
	unlock = func() {
		unlockName()
		s.altering.RUnlock()
	}
	s.mu.RLock()
	err = s.ended
	s.mu.RUnlock()
	if err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// closers is how many partitions are opened or closed at a time.
const closers = 32

// Close implements store.Store.
func (s *Store) Close() error {
	s.altering.Lock()
	defer s.altering.Unlock()
	s.mu.Lock()
	first := s.unwatch != nil
	if s.ended == nil {
		s.ended = store.ErrClosed
	}
	unwatch := s.unwatch
	s.unwatch = nil
	s.mu.Unlock()
	if !first {
		return nil
	}
	spread(s.partitions(), func(p *partition) { p.close(store.ErrClosed) })
	unwatch()
	s.cancel()
	s.tasks.wait()
	s.wires.stop()
	return nil
}

// partitions gives those of all topics.
func (s *Store) partitions() (list []*partition) {
	for _, t := range s.all() {
		list = append(list, t.partitions...)
	}
	return list
}

// spread calls f with each of a list, some at a time.
func spread[T any](list []T, f func(T)) {
	next := make(chan T)
	var group sync.WaitGroup
	for range min(closers, len(list)) {
		group.Go(func() {
			for v := range next {
				f(v)
			}
		})
	}
	for _, v := range list {
		next <- v
	}
	close(next)
	group.Wait()
}

// awaitLoss ends all partitions when the ownership is lost.
func (s *Store) awaitLoss() {
	select {
	case <-s.lost:
	case <-s.ctx.Done():
		select {
		case <-s.lost:
		default:
			return
		}
	}
	s.mu.Lock()
	if s.ended == nil {
		s.ended = s.moved()
	}
	s.mu.Unlock()
	spread(s.partitions(), func(p *partition) { p.abandon(s.moved()) })
}

func formatID(id [16]byte) string { return hex.EncodeToString(id[:]) }
