package store

import "sync"

// Names are locks of topic names, which goroutines hold while they create, alter or delete a topic.
// The zero value is ready.
type Names struct {
	mu   sync.Mutex // guards held, and the users of its values
	held map[string]*heldName
}

type heldName struct {
	sync.Mutex
	users int // goroutines that hold it or wait for it
}

// Lock locks a name.
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
