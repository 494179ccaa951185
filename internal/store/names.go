package store

import "sync"

// Names are locks, one for each topic name: a goroutine that makes, alters or deletes
// a topic holds its name. The zero value is ready.
type Names struct {
	mu   sync.Mutex // guards held, and users of all in it
	held map[string]*heldName
}

type heldName struct {
	sync.Mutex
	users int // those that hold it or wait for it
}

// Lock waits until nobody else holds the name, and holds it until unlock.
func (n *Names) Lock(name string) (unlock func()) {
	n.mu.Lock()
	if n.held == nil {
		n.held = make(map[string]*heldName)
	}
	h := n.held[name]
	if h == nil {
		h = new(heldName)
		n.held[name] = h
	}
	h.users++
	n.mu.Unlock()
	h.Lock()
	return func() {
		h.Unlock()
		n.mu.Lock()
		defer n.mu.Unlock()
		if h.users--; h.users == 0 {
			delete(n.held, name)
		}
	}
}
