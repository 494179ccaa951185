package jetstream

import (
	"container/list"
	"sync"
)

// A cache keeps messages, up to a number of bytes, and forgets those first that were not used for the
// longest time.
type cache struct {
	mu    sync.Mutex
	max   int
	bytes int
	byKey map[cacheKey]*list.Element
	used  list.List // of *cached, the latest used first
}

type cacheKey struct {
	log  *partition
	base int64
}

type cached struct {
	key cacheKey
	m   *message
}

// messageCost is what a message takes beside its batches, in bytes, about.
const messageCost = 512

func newCache(max int) *cache { return &cache{max: max, byKey: make(map[cacheKey]*list.Element)} }

// get gives the message of a log that begins at an offset, or nil.
func (c *cache) get(log *partition, base int64) *message {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byKey[cacheKey{log, base}]
	if e == nil {
		return nil
	}
	c.used.MoveToFront(e)
	return e.Value.(*cached).m
}

// add adds a message, which nobody changes any more.
func (c *cache) add(log *partition, m *message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := cacheKey{log, m.base}
	if e := c.byKey[key]; e != nil {
		c.remove(e)
	}
	c.byKey[key] = c.used.PushFront(&cached{key, m})
	for c.bytes += m.cost(); c.bytes > c.max && c.used.Len() > 1; {
		c.remove(c.used.Back())
	}
}

// remove removes an element. The caller holds mu.
func (c *cache) remove(e *list.Element) {
	out := c.used.Remove(e).(*cached)
	delete(c.byKey, out.key)
	c.bytes -= out.m.cost()
}

// drop forgets the messages of a log.
func (c *cache) drop(log *partition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := c.used.Front(); e != nil; {
		next := e.Next()
		if e.Value.(*cached).key.log == log {
			c.remove(e)
		}
		e = next
	}
}

func (m *message) cost() int { return cap(m.data) + messageCost }
