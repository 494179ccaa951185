package line

import (
	"strconv"
	"sync"

	"mbus/internal/broker"
)

// Answers tells a producer what is safe. Pieces, each some messages in a row of
// the connection, are on their way to one partition or more; the count that is
// told grows as far as the pieces are safe without a gap.
//
// A goroutine writes the counts. It exists only while there is something to
// write, and tells the latest, so that a slow reader misses some.
type answers struct {
	c *conn

	mu      sync.Mutex // guards what follows
	changed sync.Cond
	pieces  []piece // not safe yet, or behind one that is not; in order
	first   uint64  // the number of pieces[0]
	safe    uint64  // messages
	told    uint64
	err     error // of the first piece that failed
	ended   bool  // a piece failed, and safe stays what it is
	writing bool
}

type piece struct {
	messages int
	parts    int // that are not safe yet
	failed   bool
}

// newAnswers tells counts that are above safe.
func newAnswers(c *conn, safe uint64) *answers {
	a := &answers{c: c, safe: safe, told: safe}
	a.changed.L = &a.mu
	return a
}

// expect announces a piece in so many parts and returns its number. It waits
// while too many are on their way.
func (a *answers) expect(messages, parts int) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.pieces) >= broker.InFlight {
		a.changed.Wait()
	}
	a.pieces = append(a.pieces, piece{messages: messages, parts: parts})
	return a.first + uint64(len(a.pieces)) - 1
}

// settle says that a part of a piece is safe, or that it failed. It does not
// block, so that the log may call it.
func (a *answers) settle(number uint64, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := &a.pieces[number-a.first]
	p.parts--
	if err != nil {
		p.failed = true
		if a.err == nil {
			a.err = err
			a.c.net.Interrupt()
		}
	}
	n := 0
	for ; n < len(a.pieces) && a.pieces[n].parts == 0; n++ {
		if a.ended = a.ended || a.pieces[n].failed; !a.ended {
			a.safe += uint64(a.pieces[n].messages)
		}
	}
	if n > 0 {
		a.first += uint64(n)
		a.pieces = append(a.pieces[:0], a.pieces[n:]...)
		a.changed.Broadcast()
	}
	if a.safe > a.told && !a.writing {
		a.writing = true
		go a.tell()
	}
}

// failure is the error of the first piece that failed.
func (a *answers) failure() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// tell writes counts until the latest has been told.
func (a *answers) tell() {
	var line [24]byte
	for {
		a.mu.Lock()
		n := a.safe
		if n == a.told {
			a.writing = false
			a.changed.Broadcast()
			a.mu.Unlock()
			return
		}
		a.told = n
		a.mu.Unlock()
		p := append(strconv.AppendUint(append(line[:0], '+'), n, 10), '\n')
		if _, err := a.c.net.Write(p, a.c.broker.Limits.WriteTime); err != nil {
			a.c.net.Interrupt() // the reader learns it
		}
	}
}

// finish waits until all pieces are settled and told, and returns the count
// that was told.
func (a *answers) finish() (uint64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.pieces) > 0 || a.writing {
		a.changed.Wait()
	}
	return a.told, a.err
}
