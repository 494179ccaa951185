package commitlog

import "sync"

// A groupSync runs one sync for several callers: those that call while one runs wait for the next, which
// serves all of them.
type groupSync struct {
	mu      sync.Mutex // guards what follows
	running bool
	next    *round
}

// A round is one run of the sync.
type round struct {
	done chan struct{}
	err  error // set before done is closed
}

// do returns when a sync that began after the call has ended, with its error. All callers pass the
// same sync.
func (g *groupSync) do(sync func() error) error {
	g.mu.Lock()
	if g.running {
		if g.next == nil {
			g.next = &round{done: make(chan struct{})}
		}
		r := g.next
		g.mu.Unlock()
		<-r.done
		return r.err
	}
	g.running = true
	g.mu.Unlock()
	err := sync()
	g.pass(sync)
	return err
}

// pass runs the sync in the background until no caller waits.
func (g *groupSync) pass(sync func() error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.next
	g.next = nil
	if r == nil {
		g.running = false
		return
	}
	go func() {
		r.err = sync()
		close(r.done)
		g.pass(sync)
	}()
}
