package tcpserver

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"mbus/internal/turns"
)

// Conns are the connections of a server, which has one listener or several. Any goroutine may
// call its methods.
type Conns[C comparable] struct {
	log    *slog.Logger
	limits Limits

	refusing chan struct{}  // holds an element for each client that Refuse writes to
	stopped  chan struct{}  // closed by Stop, with mu held
	running  sync.WaitGroup // connections

	mu        sync.Mutex // guards what follows
	listeners []net.Listener
	conns     map[C]started
	arriving  map[*arrival]struct{} // whose handshake goes on
	places    places
}

// NewConns makes an empty set.
func NewConns[C comparable](log *slog.Logger, limits Limits) *Conns[C] {
	return &Conns[C]{
		log: log, limits: limits, refusing: make(chan struct{}, refusals), stopped: make(chan struct{}),
		conns: make(map[C]started), arriving: make(map[*arrival]struct{}), places: newPlaces(log, limits),
	}
}

// Why Start does not run a connection, beside a limit.
var (
	ErrStopped = errors.New("the server is stopping")
	// ErrPlain refuses a client that does not begin with TLS, off loopback.
	ErrPlain = errors.New("this port speaks TLS: connect with TLS")
)

// Serve calls start with each connection of l until Stop. Those of a listener of WithTLS come after their
// handshake, several at a time; others as they are accepted, one after the other.
func (s *Conns[C]) Serve(l net.Listener, start func(Conn)) {
	s.mu.Lock()
	s.listeners = append(s.listeners, l)
	if s.IsStopping() { // before it has begun
		l.Close()
	}
	s.mu.Unlock()
	t, ok := l.(*tlsListener)
	if !ok {
		each(l.Accept, l.Addr(), s.log, func(nc net.Conn) {
			if conn := newConn(nc.(*net.TCPConn)); conn != nil {
				start(conn)
			}
		})
		return
	}
	var pace pace
	each(t.arrive, l.Addr(), s.log, func(a *arrival) {
		s.meet(a, start)
		time.Sleep(pace.rest(time.Now()))
	})
}

// newConn is nil, and nc closed, where the system does not give access to nc.
func newConn(nc *net.TCPConn) *tcpConn {
	raw, err := nc.SyscallConn()
	if err != nil {
		nc.Close()
		return nil
	}
	return newTCP(nc, raw)
}

// meet calls start, in a goroutine of its own, with the connection that an arrival turns out to be.
func (s *Conns[C]) meet(a *arrival, start func(Conn)) {
	first, err := a.first()
	switch {
	case err != nil && !isAgain(err): // the client has left
		a.Close()
	case !s.expect(a):
		if a.open() == nil {
			start(a) // Start says why
		}
	case err == nil && first == handshakeRecord:
		until := time.Now().Add(min(s.limits.Handshake, handshakeTime))
		handshakes.Ask(a.seat.network(), func(turn *turns.Turn) {
			conn, err := a.shake(turn, until)
			s.arrived(a, conn, err, start)
		})
	default:
		go func() {
			conn, err := a.decide(s.limits.Handshake)
			s.arrived(a, conn, err, start)
		}()
	}
}

// expect counts an arrival until arrived. It reports false where a limit is reached.
func (s *Conns[C]) expect(a *arrival) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.IsStopping() || s.places.take(a.seat) != nil {
		return false
	}
	s.arriving[a] = struct{}{}
	s.running.Add(1)
	return true
}

// arrived ends an arrival, and starts the connection that it has become. It does not warn of an error, because the peer
// may be any program.
func (s *Conns[C]) arrived(a *arrival, conn Conn, err error, start func(Conn)) {
	defer s.running.Done()
	s.mu.Lock()
	delete(s.arriving, a)
	if err != nil {
		s.places.leave(a.seat)
	}
	s.mu.Unlock()
	if err != nil {
		s.log.Debug("the TLS handshake failed", "client", a.seat.client, "reason", err)
		a.Close()
		return
	}
	start(conn)
}

// Start calls run in a goroutine of its own, and counts c until it returns. After an error, which is ErrStopped,
// ErrPlain or a limit, conn is the caller's to close, or to Refuse.
func (s *Conns[C]) Start(c C, conn Conn, run func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	guest, err := conn.guest(), ErrStopped
	if !s.IsStopping() {
		err = s.places.take(guest)
	}
	if err != nil {
		s.places.leave(guest)
		return err
	}
	s.conns[c] = started{latest.Add(1), time.Now().UnixNano(), guest}
	s.running.Go(func() {
		defer s.remove(c)
		run()
	})
	return nil
}

// Admitted says that a client has logged in, or has begun to do what needs no log-in. Before that it counts for a
// lower limit. It may be called again and again.
func (s *Conns[C]) Admitted(conn Conn) {
	g := conn.guest()
	if g.admitted.Load() {
		return
	}
	s.mu.Lock()
	s.places.admit(g)
	s.mu.Unlock()
	g.admit()
}

// Release gives up a connection that has come from Serve and was not started: another server may start it, for which it
// counts from then on.
func (s *Conns[C]) Release(conn Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.places.leave(conn.guest())
}

// refusals is how many clients at a time get their refusal for sure.
const refusals = 64

// seat takes a place for a connection until that is closed, whatever server runs it. The error is as that of Start.
func (s *Conns[C]) seat(conn Conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := conn.guest(), ErrStopped
	if !s.IsStopping() {
		err = s.places.take(g)
	}
	if err != nil {
		s.places.leave(g)
		return err
	}
	var d outside = &door{&s.mu, &s.places, guest{client: g.client, place: g.place}}
	g.place = place{address: g.place.address}
	g.outside.Store(&d)
	return nil
}

// Refuse writes text to a client that Start has not run, and closes, without waiting for the
// client. Of more than refusals clients at a time some may get no text, over TLS none.
func (s *Conns[C]) Refuse(conn Conn, text string) {
	a, arrives := conn.(*arrival)
	select {
	case s.refusing <- struct{}{}:
		go func() {
			defer func() { <-s.refusing }()
			if arrives {
				decided, err := a.decide(LingerTime)
				if err != nil {
					a.Close()
					return
				}
				conn = decided
			}
			WriteLast(conn, text, LingerTime)
			conn.Close()
		}()
	default:
		if !arrives {
			_, _ = conn.Write([]byte(text), LingerTime) // which fits into any socket's buffer
		}
		conn.Close()
	}
}

func (s *Conns[C]) remove(c C) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.places.leave(s.conns[c].guest)
	delete(s.conns, c)
}

// Each calls f with each connection. f does not block, nor call a method of s.
func (s *Conns[C]) Each(f func(C)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		f(c)
	}
}

// Stop has no more connections taken, calls interrupt with each there is, and waits
// until all have ended. When the context ends it calls cutOff with each that is left,
// which has it end at once.
func (s *Conns[C]) Stop(ctx context.Context, interrupt, cutOff func(C)) {
	s.mu.Lock()
	if !s.IsStopping() {
		close(s.stopped)
	}
	for _, l := range s.listeners {
		l.Close()
	}
	for a := range s.arriving {
		a.Close()
	}
	s.mu.Unlock()
	s.Each(interrupt)
	ended := make(chan struct{})
	go func() {
		s.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		s.Each(cutOff)
		<-ended
	}
}

// Stopped is closed when Stop is called, before interrupt is.
func (s *Conns[C]) Stopped() <-chan struct{} { return s.stopped }

// IsStopping says whether Stop has been called.
func (s *Conns[C]) IsStopping() bool {
	select {
	case <-s.stopped:
		return true
	default:
		return false
	}
}
