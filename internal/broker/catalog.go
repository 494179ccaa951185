package broker

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"

	"mbus/internal/store"
)

// A catalog is the topics that exist, and room for those that are being created. Its methods
// may be called by any goroutine.
type catalog struct {
	store store.Store
	names store.Names // a name is held while its topic is created, altered or deleted

	mu         sync.RWMutex // guards what follows
	byName     map[string]*Topic
	byID       map[[16]byte]*Topic // the same
	creating   int                 // topics that are being created
	partitions int                 // of all topics, and those that are being created
	awaits     map[*await]struct{}
}

func newCatalog(s store.Store) *catalog {
	return &catalog{store: s, byName: make(map[string]*Topic), byID: make(map[[16]byte]*Topic), awaits: make(map[*await]struct{})}
}

// Topic finds a topic. It returns store.ErrUnknownTopic if there is none, and
// store.ErrUnusable if it is damaged or missing.
func (c *catalog) Topic(name string) (*Topic, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if t := c.byName[name]; t != nil {
		return t, nil
	}
	if _, err := c.store.Partition(name, 0); errors.Is(err, store.ErrUnusable) {
		return nil, err
	}
	return nil, store.ErrUnknownTopic
}

// TopicByID finds a topic by its id. It returns store.ErrUnknownTopic if there is
// none: each incarnation of a name has an id of its own.
func (c *catalog) TopicByID(id [16]byte) (*Topic, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if t := c.byID[id]; t != nil {
		return t, nil
	}
	return nil, store.ErrUnknownTopic
}

// Topics lists all topics, the broker's own among them, by name.
func (c *catalog) Topics() []*Topic {
	topics := c.list(func(string) bool { return true })
	slices.SortFunc(topics, func(x, y *Topic) int { return cmp.Compare(x.Name, y.Name) })
	return topics
}

// userTopics are all but the broker's own, in any order.
func (c *catalog) userTopics() []*Topic {
	return c.list(func(name string) bool { return !Internal(name) })
}

func (c *catalog) list(match func(name string) bool) []*Topic {
	c.mu.RLock()
	defer c.mu.RUnlock()
	topics := make([]*Topic, 0, len(c.byName))
	for name, t := range c.byName {
		if match(name) {
			topics = append(topics, t)
		}
	}
	return topics
}

// reserve makes room for so many topics and partitions more, until release is called, by
// when they have been added. The error is ErrTooManyTopics.
func (c *catalog) reserve(topics, partitions int) (release func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case len(c.byName)+c.creating+topics > MaxTopics:
		return nil, fmt.Errorf("%w: there are %d", ErrTooManyTopics, MaxTopics)
	case c.partitions+partitions > MaxAllPartitions:
		return nil, fmt.Errorf("%w: all together have %d partitions, the limit is %d", ErrTooManyTopics, c.partitions, MaxAllPartitions)
	}
	c.creating += topics
	c.partitions += partitions
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.creating -= topics
		c.partitions -= partitions
	}, nil
}

// add adds a topic, in place of the one of its name that could not be deleted. before is
// called before anybody finds it, with mu held.
func (c *catalog) add(t *Topic, before func(*Topic)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.byName[t.Name]; old != nil {
		c.partitions -= len(old.Partitions())
	}
	before(t)
	c.byName[t.Name], c.byID[t.ID] = t, t
	c.partitions += len(t.Partitions())
	for a := range c.awaits {
		if a.topic == t.Name {
			delete(c.awaits, a)
			a.f()
		}
	}
}

// grow counts partitions that a topic has got.
func (c *catalog) grow(partitions int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.partitions += partitions
}

// remove removes a topic.
func (c *catalog) remove(t *Topic) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.byName, t.Name)
	delete(c.byID, t.ID)
	c.partitions -= len(t.Partitions())
}

// An await is a call that waits for a topic to be created.
type await struct {
	topic string
	f     func()
}

// Await calls f once, soon, when the topic exists: at once if it does. f must
// not block. cancel takes f back; it may come too late.
func (c *catalog) Await(topic string, f func()) (cancel func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byName[topic] != nil {
		f()
		return func() {}
	}
	a := &await{topic, f}
	c.awaits[a] = struct{}{}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.awaits, a)
	}
}
