package commitlog

import (
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"mbus/internal/store"
)

// A registry is the list of a store's topics: those that can be used and those that can't, the
// locks of their names, and the leader epochs given to their partitions.
type registry struct {
	names    store.Names  // each is locked while its topic is created, altered or deleted
	altering sync.RWMutex // read-locked meanwhile; close waits for it

	mu       sync.RWMutex // guards what follows
	topics   map[string]*topic
	unusable map[string]*unusable
	failed   map[string][16]byte // topics that are in their place although their creation failed at the end
	epochs   int32               // all epochs given so far are below
	closed   bool
}

// A topic is one that can be used.
type topic struct {
	store.Topic
	partitions []*partition
	unsure     bool    // it is not known which topic.json a crash would leave; guarded by the name
	firsts     []int64 // while it is created: the offsets at which its logs begin; nil for 0
}

// first is the offset at which the log of a partition begins that is created with the topic.
func (t *topic) first(partition int) int64 {
	if t.firsts == nil {
		return 0
	}
	return t.firsts[partition]
}

// An unusable topic lacks something that the store can't do without, or has it damaged. Its
// name stays taken, and what depends on it is kept, until it is repaired or deleted.
type unusable struct {
	id  [16]byte // zero if it is not known
	err error    // wraps store.ErrUnusable and says what to do
}

func newRegistry() registry {
	return registry{topics: make(map[string]*topic), unusable: make(map[string]*unusable), failed: make(map[string][16]byte)}
}

// lock locks the name of a topic that is to be created, altered or deleted. It fails with
// ErrClosed.
func (r *registry) lock(name string) (unlock func(), err error) {
	r.altering.RLock()
	unlockName := r.names.Lock(name)
	unlock = func() {
		unlockName()
		r.altering.RUnlock()
	}
	if r.isClosed() {
		unlock()
		return nil, store.ErrClosed
	}
	return unlock, nil
}

func (r *registry) isClosed() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.closed
}

// find finds a topic. It fails with ErrClosed, ErrUnusable or ErrUnknownTopic.
func (r *registry) find(name string) (*topic, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.closed {
		return nil, store.ErrClosed
	}
	if t := r.topics[name]; t != nil {
		return t, nil
	}
	if u := r.unusable[name]; u != nil {
		return nil, u.err
	}
	return nil, store.ErrUnknownTopic
}

// isKnown says whether there is a topic of a name, usable or not.
func (r *registry) isKnown(name string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.topics[name] != nil || r.unusable[name] != nil
}

// all returns the topics that can be used, sorted by name.
func (r *registry) all() []*topic {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.SortedFunc(maps.Values(r.topics), func(a, b *topic) int { return strings.Compare(a.Name, b.Name) })
}

// foldedTo returns a topic whose name differs from this one by case only.
func (r *registry) foldedTo(name string) (other string, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for other := range r.topics {
		if strings.EqualFold(other, name) {
			return other, true
		}
	}
	return "", false
}

// register makes t the topic of its name.
func (r *registry) register(t *topic) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.topics[t.Name] = t
	r.epochs = max(r.epochs, epochsEnd(t.Topic))
}

// remove forgets the topic of a name.
func (r *registry) remove(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.topics, name)
	delete(r.unusable, name)
}

// setUnusable makes a topic unusable.
func (r *registry) setUnusable(name string, u *unusable) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unusable[name] = u
}

// hasUnusable says whether there is a topic that can't be used.
func (r *registry) hasUnusable() bool { return r.countUnusable() > 0 }

// countUnusable counts the topics that can't be used.
func (r *registry) countUnusable() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.unusable)
}

// unusableID is the id of a topic that can't be used, or zero.
func (r *registry) unusableID(name string) [16]byte {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.unusable[name].id
}

// setFailed notes how the creation of a topic ended that is in its place.
func (r *registry) setFailed(t store.Topic, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.failed, t.Name)
	if err != nil {
		r.failed[t.Name] = t.ID
	}
}

// failedID is the id of the topic whose creation failed when it was in its place.
func (r *registry) failedID(name string) (id [16]byte, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	id, ok = r.failed[name]
	return id, ok
}

// close refuses all that comes later, and returns the topics to close. ok is false if it was
// closed before.
func (r *registry) close() (topics map[string]*topic, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ok = !r.closed
	r.closed = true
	return r.topics, ok
}

// takeEpochs takes n epochs that no partition has or had, and returns the first.
func (r *registry) takeEpochs(n int, now time.Time) (int32, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := nextEpoch(r.epochs, now)
	if first > math.MaxInt32-int32(n) {
		return 0, errors.New("there are no leader epochs left for more partitions")
	}
	r.epochs = first + int32(n)
	return first, nil
}

// passEpoch sees to it that no other partition gets this epoch or a lower one.
func (r *registry) passEpoch(epoch int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if epoch < math.MaxInt32 {
		r.epochs = max(r.epochs, epoch+1)
	}
}
