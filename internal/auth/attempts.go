package auth

import (
	"net/netip"
	"sync"
	"time"

	"mbus/internal/turns"
)

// Attempts counts failed log-ins by address, so that the answer to a failure comes later the more of them there
// were. A right password is never late: nobody can lock out others behind the same address. Any goroutine
// may call its methods.
type Attempts struct {
	mu   sync.Mutex
	from map[netip.Prefix]failures
}

// failures are those of an address: their number falls by one each forgiveAfter.
type failures struct {
	number int
	since  time.Time // from when on the number has not fallen
}

// How long the answer to a failed log-in takes, and how many addresses are remembered.
const (
	firstDelay   = 100 * time.Millisecond
	lastDelay    = 3 * time.Second
	forgiveAfter = 5 * time.Second
	maxAddresses = 10000
)

// Failed counts a failed log-in from an address, and returns by how much the answer is delayed.
func (a *Attempts) Failed(addr netip.Addr, now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.from == nil {
		a.from = make(map[netip.Prefix]failures)
	}
	network := turns.Network(addr)
	f := a.from[network].after(now)
	if f.number == 0 && len(a.from) >= maxAddresses {
		a.forget(now)
	}
	if f.number == 0 {
		f.since = now
	}
	f.number = min(f.number+1, int(lastDelay/firstDelay))
	a.from[network] = f
	return time.Duration(f.number) * firstDelay
}

// after are the failures that time has not forgiven.
func (f failures) after(now time.Time) failures {
	forgiven := max(0, int(now.Sub(f.since)/forgiveAfter))
	return failures{max(0, f.number-forgiven), f.since.Add(time.Duration(forgiven) * forgiveAfter)}
}

// forget makes room: it forgets addresses that are forgiven, or a tenth of all, so that few failures pay for the search.
func (a *Attempts) forget(now time.Time) {
	for network, f := range a.from {
		if f.after(now).number == 0 {
			delete(a.from, network)
		}
	}
	for network := range a.from {
		if len(a.from) <= maxAddresses*9/10 {
			return
		}
		delete(a.from, network)
	}
}
