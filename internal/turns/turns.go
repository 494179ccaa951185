// Package turns bounds the processor time of what clients may ask for before it is known who they are, such as
// handshakes: a flood of that leaves the rest to clients that work. The addresses that ask take turns.
package turns

import (
	"net/netip"
	"runtime"
	"sync"
	"time"
)

// A Limit is that of one kind of work. Any goroutine may call its methods.
type Limit struct {
	share float64       // processors' time that turns may take in the long run, of each unit of time
	burst time.Duration // that they may take at once after they have taken none
	slots int           // turns at a time

	mu      sync.Mutex // guards what follows
	crowd   crowd
	credit  time.Duration
	at      time.Time // of credit
	running int
	resumed []*Turn                  // that wait to go on, before others that wait
	waiting map[netip.Prefix][]*Turn // that wait to begin, by address
	order   []netip.Prefix           // in which the addresses of waiting have their turns
	isLate  bool                     // a timer waits for credit
}

// burst is the processor time for turns at once, on each processor, after none for a while: a thousand clients
// that come back together do a handshake in it.
const burst = 500 * time.Millisecond

// debt bounds what each turn may take beyond the credit. A turn that takes longer than a few milliseconds was not running all that
// time: other programs, or other work of this one, had its processor. Without the bound a second of that kept all clients
// waiting for ten, which is as long as a handshake may take.
const debt = 50 * time.Millisecond

// New makes a limit to a share of the processors' time, 0 to 1.
func New(share float64) *Limit {
	n := runtime.GOMAXPROCS(0)
	l := NewFor(share, n)
	l.crowd = newCrowd(n)
	return l
}

// NewFor is New for a number of processors. Half as many turns go on at a time, and one at least.
func NewFor(share float64, processors int) *Limit {
	all := burst * time.Duration(processors)
	return &Limit{
		share: share * float64(processors), burst: all, credit: all, slots: max(1, processors/2),
		waiting: make(map[netip.Prefix][]*Turn),
	}
}

// A Turn is a time in which a client's work is done. It is paused while the client has to do something.
type Turn struct {
	limit *Limit
	began time.Time
	ready chan struct{} // closed when it may go on; nil where it does not have to wait
	asked time.Time     // from when on it has waited; zero where it does not have to wait
	begin func(*Turn)   // of Ask, until it is called
}

// Begin waits for a turn. Addresses that ask for more than there is have as many turns each, so that a client of another
// address waits for one turn of each.
func (l *Limit) Begin(from netip.Prefix) *Turn {
	t := &Turn{limit: l}
	if !l.join(t, from) {
		<-t.ready
	}
	t.began = time.Now()
	return t
}

// Ask is Begin for a caller that does not wait: begin is called with the turn in a goroutine of its own, when it has come. So
// a client that waits costs no goroutine.
func (l *Limit) Ask(from netip.Prefix, begin func(*Turn)) {
	t := &Turn{limit: l, begin: begin}
	if l.join(t, from) {
		t.goOn()
	}
}

// join has a turn wait behind others of its address. It reports true for one that may go on at once.
func (l *Limit) join(t *Turn, from netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.start(t) {
		return true
	}
	if len(l.waiting[from]) == 0 {
		l.order = append(l.order, from)
	}
	l.waiting[from] = append(l.waiting[from], t)
	l.rouse()
	return false
}

// goOn has a turn go on that has waited.
func (t *Turn) goOn() {
	begin := t.begin
	if begin == nil {
		close(t.ready)
		return
	}
	t.begin = nil
	go func() {
		t.began = time.Now()
		begin(t)
	}()
}

// Running is the number of turns that go on.
func (l *Limit) Running() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.running
}

// Waited is how long it had to wait, the last time.
func (t *Turn) Waited() time.Duration {
	if t.asked.IsZero() {
		return 0
	}
	return t.began.Sub(t.asked)
}

// Resume waits for the rest of a turn that is paused. It comes before turns that have not begun.
func (t *Turn) Resume() {
	l := t.limit
	l.mu.Lock()
	t.asked = time.Time{}
	isOn := l.start(t)
	if !isOn {
		l.resumed = append(l.resumed, t)
		l.rouse()
	}
	l.mu.Unlock()
	if !isOn {
		<-t.ready
	}
	t.began = time.Now()
}

// Pause ends a turn, for good or until Resume.
func (t *Turn) Pause() {
	l, now := t.limit, time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.credit -= min(now.Sub(t.began), max(l.credit, 0)+debt)
	l.running--
	l.rouse()
}

// start starts a turn if others do not come first. Otherwise the turn is to wait. The caller holds mu.
func (l *Limit) start(t *Turn) bool {
	if len(l.resumed)+len(l.order) == 0 && l.running < l.slots && l.rest(time.Now()) <= 0 {
		l.running++
		return true
	}
	if t.asked = time.Now(); t.begin == nil {
		t.ready = make(chan struct{})
	}
	return false
}

// rouse starts turns that wait, as many as may go on now. The caller holds mu.
func (l *Limit) rouse() {
	for l.running < l.slots && len(l.resumed)+len(l.order) > 0 {
		if rest := l.rest(time.Now()); rest > 0 {
			l.later(rest)
			return
		}
		l.running++
		l.next().goOn()
	}
}

// later calls rouse again. The caller holds mu.
func (l *Limit) later(after time.Duration) {
	if l.isLate {
		return
	}
	l.isLate = true
	time.AfterFunc(after, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.isLate = false
		l.rouse()
	})
}

// next takes the turn that is first of those that wait. The caller holds mu.
func (l *Limit) next() (t *Turn) {
	if len(l.resumed) > 0 {
		t, l.resumed = l.resumed[0], l.resumed[1:]
		return t
	}
	from := l.order[0]
	l.order = l.order[1:]
	of := l.waiting[from]
	if len(of) == 1 {
		delete(l.waiting, from)
	} else {
		l.waiting[from] = of[1:]
		l.order = append(l.order, from)
	}
	return of[0]
}

// rest is how long there is no credit. The caller holds mu.
func (l *Limit) rest(now time.Time) time.Duration {
	share := l.share / l.crowd.slows(now)
	if !l.at.IsZero() {
		l.credit = min(l.burst, l.credit+time.Duration(float64(now.Sub(l.at))*share))
	}
	l.at = now
	return time.Duration(float64(-l.credit) / share)
}

// Network is whose turns a client has: its address, for IPv6 the network of 64 bits, in which a host has as many
// addresses as it wants.
func Network(client netip.Addr) netip.Prefix {
	client = client.Unmap().WithZone("")
	network, _ := client.Prefix(min(client.BitLen(), 64)) // the zero Prefix for the zero Addr
	return network
}
