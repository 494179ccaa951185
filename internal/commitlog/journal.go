package commitlog

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mbus/internal/store"
)

// A journal makes the small writes of many logs durable with one write and one sync. The logs that
// commit at the same time form a round: their bytes, which are in their segments already, are written
// to the journal's file, a frame for each log. The segments are synced later, in the background
// (journalFiles).
//
// A log that commits again and again while no other does, or that has much to sync, syncs its segment
// instead, so that nothing is written twice without need. So does every log while the journal has no
// space or can't be written. A round of one log pays because its segment and its recovery point are
// synced later, once for many commits.
//
// One round runs at a time. So a round that is found in the journal proves that the rounds before it
// were synced.
type journal struct {
	files journalFiles
	stats *store.Stats

	busy atomic.Int64              // logs that commit
	last atomic.Pointer[committer] // the one that began to commit last

	mu      sync.Mutex // guards what follows
	joined  []joiner   // for the next round
	written []byte     // their data
	running bool       // a goroutine runs rounds

	roundMemory // of the one that runs
}

// roundMemory is used again by the next round.
type roundMemory struct {
	only   *committer // the log of the last round, if it was alone
	spare  []joiner
	parts  []part
	frames []byte
	data   []byte // that the logs have joined with
	read   []byte // that was read from segments
}

// A joiner is a log that has something to sync: appends that wait, if begin is nil, or writes that may
// have been acknowledged. Then begin is called once, when it is clear which writes are synced, and the
// function that it returns gets the result.
type joiner struct {
	c     *committer
	begin func() (done func(error))

	at   int64  // where data lies in the segment
	data []byte // what was appended last; nil if it has to be read from the segment
}

// roundBytes is about the size that ends a round, in bytes: the logs that are left join the next one.
const roundBytes = 1 << 20

// idleBytes is the most memory that an idle journal keeps, in bytes.
const idleBytes = 64 << 10

// begins counts a log that begins to commit appends, and says whether others commit, or have since it
// did. leave ends that.
func (j *journal) begins(c *committer) (others bool) {
	busy := j.busy.Add(1) > 1
	last := j.last.Load()
	if last != c {
		j.last.Store(c)
	}
	return j.files.size > 0 && (busy || last != c && last != nil)
}

// enter counts a log that has something to sync. leave ends that.
func (j *journal) enter() { j.busy.Add(1) }

func (j *journal) leave() { j.busy.Add(-1) }

// isWanted says whether several logs commit, so that a round saves syncs.
func (j *journal) isWanted() bool { return j.files.size > 0 && j.busy.Load() > 1 }

// join adds a log to the next round, and copies its data. If no round runs and no other log commits, the
// caller becomes the leader.
func (j *journal) join(w joiner) store.Lead {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := len(j.written)
	if n+len(w.data) <= roundBytes {
		j.written = append(j.written, w.data...)
		w.data = j.written[n:len(j.written):len(j.written)]
	} else {
		w.data = nil
	}
	j.joined = append(j.joined, w)
	switch {
	case j.running:
		return store.Lead{}
	case w.begin == nil && j.busy.Load() == 1:
		j.running = true
		return store.LeadOf(j)
	}
	j.running = true
	go j.run()
	return store.Lead{}
}

// Commit implements store.Committer: it runs a round, and leaves those after it to another goroutine.
func (j *journal) Commit() {
	defer fatal()
	j.yieldToLogs()
	j.commit(j.take())
	if j.goesOn() {
		go j.run()
	}
}

// run runs rounds until no log joins.
func (j *journal) run() {
	defer fatal()
	for j.goesOn() {
		j.yieldToLogs()
		j.commit(j.take())
		runtime.Gosched() // appenders go first
	}
}

// yieldToLogs yields to all goroutines that can run until no other log joins.
func (j *journal) yieldToLogs() {
	last := -1
	for range yieldRounds {
		runtime.Gosched()
		j.mu.Lock()
		n := len(j.joined)
		j.mu.Unlock()
		if n == last {
			return
		}
		last = n
	}
}

// goesOn says whether logs have joined. If not, the rounds end.
func (j *journal) goesOn() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.running = len(j.joined) > 0
	if !j.running && cap(j.frames)+cap(j.data)+cap(j.written)+cap(j.read) > idleBytes {
		j.joined, j.written, j.roundMemory = nil, nil, roundMemory{only: j.only}
	}
	return j.running
}

// take returns the logs that have joined.
func (j *journal) take() []joiner {
	j.mu.Lock()
	defer j.mu.Unlock()
	joined := j.joined
	j.joined, j.spare = j.spare[:0], joined
	j.written, j.data = j.data[:0], j.written
	return joined
}

// putBack adds logs in front of those that have joined since.
func (j *journal) putBack(joined []joiner) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := range joined {
		joined[i].data = nil // its memory is used again
	}
	j.joined = slices.Concat(joined, j.joined)
}

// commit is a round: the writes of all logs become durable, and are acknowledged.
func (j *journal) commit(joined []joiner) {
	before := j.only
	j.only = nil
	if len(joined) == 1 {
		j.only = joined[0].c
	}
	if len(joined) == 1 && before == joined[0].c {
		joined[0].sync()
		return
	}
	file, done := j.files.forRound()
	if file == nil {
		syncEach(joined)
		return
	}
	defer done()
	parts := j.collect(joined, file.left())
	if len(parts) == 0 {
		return
	}
	j.frames = file.appendRound(j.frames[:0], parts)
	began := time.Now()
	if err := file.write(j.frames); err != nil {
		j.files.failed(err)
		for _, p := range parts {
			go p.sync()
		}
		return
	}
	j.stats.Syncs.Observe(int64(time.Since(began)))
	j.stats.Bytes.Observe(int64(len(j.frames)))
	j.stats.Appends.Observe(appendsOf(parts))
	for i := range parts {
		parts[i].finish()
		parts[i] = part{}
	}
}

// A part is what a log has in a round.
type part struct {
	piece
	joiner
	waiting []waiter    // appends
	done    func(error) // nil if appends wait
}

// appendsOf counts the appends of a round.
func appendsOf(parts []part) (n int64) {
	for i := range parts {
		n += int64(len(parts[i].waiting))
	}
	return n
}

// collect takes what the logs have to make durable, as much as fits into room bytes.
func (j *journal) collect(joined []joiner, room int64) []part {
	parts := j.parts[:0]
	j.read = j.read[:0]
	room = min(room, roundBytes)
	for i, w := range joined {
		if room < roundMost {
			j.putBack(joined[i:])
			break
		}
		parts = append(parts, part{joiner: w})
		p := &parts[len(parts)-1]
		if w.begin != nil {
			p.done = w.begin()
		}
		if !p.c.takeForRound(p) || j.load(p) != nil {
			alone := *p
			go alone.sync()
			parts = parts[:len(parts)-1]
			continue
		}
		room -= frameHeader + p.size() + frameAlign
	}
	j.parts = parts
	return parts
}

// load sets the data of a part, which it reads from the segment unless they are those that the log has
// joined with.
func (j *journal) load(p *part) (err error) {
	if p.at == p.from.pos && int64(len(p.data)) == p.size() {
		return nil
	}
	n := len(j.read)
	j.read, err = p.read(j.read)
	p.data = j.read[n:]
	return err
}

// finish acknowledges the part of a log, whose round is durable.
func (p *part) finish() {
	c := p.c
	c.mu.Lock()
	c.isInJournal(p.piece)
	c.mu.Unlock()
	if p.done != nil {
		p.done(nil)
		return
	}
	c.acknowledge(p.waiting, c.log.visible.raise(p.end), nil)
	c.goOn()
}

// sync syncs the segment instead of a round.
func (p *part) sync() {
	defer fatal()
	if p.done != nil {
		p.done(p.c.syncInUse(func() {}))
		return
	}
	p.c.mu.Lock()
	p.c.waiting = append(p.waiting, p.c.waiting...)
	p.c.mu.Unlock()
	p.c.commit()
	p.c.goOn()
}

// sync syncs the segment of one log, and acknowledges its writes.
func (w joiner) sync() {
	defer fatal()
	if w.begin != nil {
		var done func(error)
		err := w.c.syncInUse(func() { done = w.begin() })
		done(err)
		return
	}
	w.c.commit()
	w.c.goOn()
}

// syncEach syncs the segments of many logs, at the same time.
func syncEach(joined []joiner) {
	for _, w := range joined {
		go w.sync()
	}
}
