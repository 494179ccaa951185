package group

import "sync"

// Write makes states durable, all or none, and returns when they are, or with
// the reason why they may not be. It is called by one goroutine at a time, and
// may call Groups.All.
type Write func([]Entry) error

// A journal writes what has changed: all positions that have changed while one
// write was under way go into the next, so that a thousand groups share a sync.
// Its goroutine exists only while there is something to write.
type journal struct {
	write Write

	mu      sync.Mutex // guards what follows
	idle    sync.Cond  // running has become false
	changed []*Position
	waiting []func(error) // called when what has changed is durable
	running bool
}

// mark says that the position has changed. The caller holds p.mu.
func (p *Position) mark() {
	if p.gone || p.groups == nil {
		return
	}
	j := &p.groups.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	if !p.changed {
		p.changed = true
		j.changed = append(j.changed, p)
	}
	j.start() // also if the last write of it has failed
}

// start starts the writing goroutine. The caller holds mu.
func (j *journal) start() {
	if !j.running {
		j.running = true
		go j.run()
	}
}

// Sync calls done once, when all that has changed before is durable, or with
// the reason why it may not be. done must not block.
func (g *Groups) Sync(done func(error)) {
	j := &g.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	j.waiting = append(j.waiting, done)
	j.start()
}

// Flush waits until nothing is being written. It is for the end, when no more
// changes.
func (g *Groups) Flush() {
	j := &g.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.running {
		j.idle.Wait()
	}
}

// run writes until there is nothing left to write. After a failure it waits for
// the next change: the store refuses, and goes on doing so.
func (j *journal) run() {
	var entries []Entry
	for {
		j.mu.Lock()
		if len(j.changed)+len(j.waiting) == 0 {
			j.running = false
			j.idle.Broadcast()
			j.mu.Unlock()
			return
		}
		changed, waiting := j.changed, j.waiting
		j.changed, j.waiting = nil, nil
		j.mu.Unlock()
		entries = gather(entries[:0], changed)
		var err error
		if len(entries) > 0 {
			err = j.write(entries)
		}
		for _, done := range waiting {
			done(err)
		}
		if err != nil {
			j.failed(changed)
			return
		}
	}
}

func gather(entries []Entry, changed []*Position) []Entry {
	for _, p := range changed {
		p.mu.Lock()
		p.changed = false
		entries = append(entries, Entry{Key: p.key, State: p.state(), Gone: p.gone})
		p.mu.Unlock()
	}
	return entries
}

// failed keeps what could not be written for the next attempt, before what has
// changed since: of two positions with one name the later one counts.
func (j *journal) failed(positions []*Position) {
	again := positions[:0]
	for _, p := range positions {
		p.mu.Lock()
		if !p.changed {
			p.changed = true
			again = append(again, p)
		}
		p.mu.Unlock()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.changed = append(again, j.changed...)
	for _, done := range j.waiting { // they have come meanwhile, and nobody else would answer them
		go done(errNotKept)
	}
	j.waiting, j.running = nil, false
	j.idle.Broadcast()
}
