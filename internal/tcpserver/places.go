package tcpserver

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"mbus/internal/turns"
)

// Limits are those of a server.
type Limits struct {
	Connections int           // of all listeners together
	PerAddress  int           // connections of one address, which loopback is none of; 0 for no limit
	Handshake   time.Duration // for the first byte and the handshake of a client of a listener of WithTLS
}

// maxWaiting is the most connections of one address that are not Admitted: as many as the hosts behind one address
// need at once, because a log-in takes milliseconds. Loopback has no such limit: a proxy on this machine has all
// its clients come from there, and programs of this machine have other ways to use it up.
const maxWaiting = 100

// Limits that are reached. Their text is for clients.
var (
	ErrFull        = errors.New("too many connections")
	ErrFullAddress = errors.New("too many connections from this address")
	ErrWaiting     = errors.New("too many connections from this address that have not logged in")
)

// A guest is what the limits of a server know of a connection. After the start of the connection the mutex of
// Conns guards its place.
type guest struct {
	client   netip.AddrPort
	place    place
	admitted atomic.Bool // the client has logged in; places sets it
	outside  atomic.Pointer[outside]
}

// A place is that of a connection among those of its server.
type place struct {
	address netip.Prefix // whose limits it counts for; invalid on loopback
	taken   bool
	refused error // for good
}

func newGuest(client netip.AddrPort) *guest {
	return &guest{client: client, place: place{address: networkOf(client.Addr())}}
}

// network is whose turns the client has.
func (g *guest) network() netip.Prefix { return turns.Network(g.client.Addr()) }

// An outside has let a connection in before its server took it: a Dispatcher, or another node by way of a link.
type outside interface {
	admit() // the client has logged in
	leave() // the connection is closed
}

// leave tells the outside, the first time that it is called.
func (g *guest) leave() {
	if o := g.outside.Swap(nil); o != nil {
		(*o).leave()
	}
}

// admit tells the outside.
func (g *guest) admit() {
	if o := g.outside.Load(); o != nil {
		(*o).admit()
	}
}

// A door is where a connection has come in, and holds a place.
type door struct {
	mu     *sync.Mutex // guards what follows
	places *places
	guest  guest
}

func (d *door) admit() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.places.admit(&d.guest)
}

func (d *door) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.places.leave(&d.guest)
}

// networkOf is the address whose limits a client counts for, invalid on loopback.
func networkOf(client netip.Addr) netip.Prefix {
	if client = client.Unmap().WithZone(""); !client.IsValid() || isLoopback(client) {
		return netip.Prefix{}
	}
	return turns.Network(client)
}

// addressOf is an IP address; an IPv4 address in IPv6 is IPv4.
func addressOf(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}

// isLoopback is a variable for tests, which have no other addresses than loopback's.
var isLoopback = netip.Addr.IsLoopback

// uses are the places that connections of one address have taken.
type uses struct{ open, waiting int }

// places are those of a server's connections.
type places struct {
	log       *slog.Logger
	limits    Limits
	open      int
	addresses map[netip.Prefix]uses
	refused   map[error]refused
}

// refused is what is logged of a limit.
type refused struct {
	logged time.Time
	since  int // connections, since that
}

func newPlaces(log *slog.Logger, l Limits) places {
	return places{log: log, limits: l, addresses: make(map[netip.Prefix]uses), refused: make(map[error]refused)}
}

// take takes a place for a connection that has none yet. The error is a limit, or that for which the connection was
// refused before.
func (p *places) take(g *guest) error {
	at := &g.place
	if at.refused != nil || at.taken {
		return at.refused
	}
	of := p.addresses[at.address]
	switch {
	case p.open >= p.limits.Connections:
		return p.refuse(g, ErrFull, p.limits.Connections,
			"too many connections, one more is refused: raise -max-connections, or find the client that opens so many")
	case !at.address.IsValid():
	case p.limits.PerAddress > 0 && of.open >= p.limits.PerAddress:
		return p.refuse(g, ErrFullAddress, p.limits.PerAddress,
			"too many connections from one address, one more is refused: raise -max-connections-per-address, or find the client that opens so many")
	case of.waiting >= maxWaiting:
		return p.refuse(g, ErrWaiting, maxWaiting,
			"too many connections from one address that have not logged in, one more is refused: find the client that opens so many")
	}
	at.taken = true
	p.open++
	if at.address.IsValid() {
		p.addresses[at.address] = uses{of.open + 1, of.waiting + 1}
	}
	return nil
}

// admit has a connection no longer count as one of a client that has not logged in.
func (p *places) admit(g *guest) {
	if g.admitted.Swap(true) || !g.place.taken {
		return
	}
	if of, ok := p.addresses[g.place.address]; ok {
		of.waiting--
		p.addresses[g.place.address] = of
	}
}

// leave gives back the place of a connection, if it has one.
func (p *places) leave(g *guest) {
	if !g.place.taken {
		return
	}
	p.admit(g)
	g.place.taken = false
	g.admitted.Store(false) // another server may start it
	p.open--
	of, ok := p.addresses[g.place.address]
	switch {
	case !ok:
	case of.open == 1:
		delete(p.addresses, g.place.address)
	default:
		of.open--
		p.addresses[g.place.address] = of
	}
}

// refuse refuses a connection for good, and logs that, each minute at most for each limit.
func (p *places) refuse(g *guest, err error, limit int, message string) error {
	g.place.refused = err
	r := p.refused[err]
	r.since++
	if now := time.Now(); now.Sub(r.logged) >= repeatAfter {
		p.log.Warn(message, "limit", limit, "client", g.client, "refused", r.since)
		r = refused{logged: now}
	}
	p.refused[err] = r
	return err
}
