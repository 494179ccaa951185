package tcpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Conns are the connections of a server, which has one listener or several. Any goroutine may
// call its methods.
type Conns[C comparable] struct {
	log       *slog.Logger
	max       int
	handshake time.Duration // limit of a TLS handshake

	refusing chan struct{}  // holds an element for each client that Refuse writes to
	stopped  chan struct{}  // closed by Stop, with mu held
	running  sync.WaitGroup // connections

	mu        sync.Mutex // guards what follows
	listeners []net.Listener
	conns     map[C]started
	full      bool // max was reached, and logged
}

// NewConns makes an empty set for max connections. handshake is the limit of a TLS handshake.
func NewConns[C comparable](log *slog.Logger, max int, handshake time.Duration) *Conns[C] {
	return &Conns[C]{
		log: log, max: max, handshake: handshake,
		refusing: make(chan struct{}, refusals), stopped: make(chan struct{}), conns: make(map[C]started),
	}
}

// A tlsListener accepts connections for TLS.
type tlsListener struct {
	net.Listener
	config *tls.Config
}

// WithTLS makes a listener whose connections Conns serves over TLS. l accepts TCP.
func WithTLS(l net.Listener, config *tls.Config) net.Listener {
	config = config.Clone()
	config.DynamicRecordSizingDisabled = true // small records cost a system call each
	return &tlsListener{l, config}
}

// Why Start does not run a connection.
var (
	ErrFull    = errors.New("too many connections")
	ErrStopped = errors.New("the server is stopping")
)

// Serve calls start with each connection of l, one after the other, until Stop.
func (s *Conns[C]) Serve(l net.Listener, start func(Conn)) {
	var config *tls.Config
	if t, ok := l.(*tlsListener); ok {
		config = t.config
	}
	s.mu.Lock()
	s.listeners = append(s.listeners, l)
	if s.IsStopping() { // before it has begun
		l.Close()
	}
	s.mu.Unlock()
	Each(l, s.log, func(nc net.Conn) {
		if conn := newConn(nc.(*net.TCPConn), config); conn != nil {
			start(conn)
		}
	})
}

// newConn is nil, and nc closed, where the system does not give access to nc.
func newConn(nc *net.TCPConn, config *tls.Config) Conn {
	raw, err := nc.SyscallConn()
	if err != nil {
		nc.Close()
		return nil
	}
	if config != nil {
		return newTLS(nc, raw, config)
	}
	return newTCP(nc, raw)
}

// Start calls run in a goroutine of its own, after conn's handshake, and counts c until it
// returns. The error is ErrFull or ErrStopped; then conn is the caller's to close.
func (s *Conns[C]) Start(c C, conn Conn, run func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.IsStopping() {
		return ErrStopped
	}
	wasFull := s.full
	if s.full = len(s.conns) >= s.max; s.full {
		if !wasFull {
			s.log.Warn("too many connections, one more is refused: raise -max-connections, or find the client that opens so many",
				"limit", s.max, "client", conn.RemoteAddr())
		}
		return ErrFull
	}
	s.conns[c] = started{latest.Add(1), time.Now().UnixNano()}
	s.running.Go(func() {
		defer s.remove(c)
		if s.shakeHands(conn, s.handshake) {
			run()
		}
	})
	return nil
}

// shakeHands reports whether the handshake succeeded. If not it closes the connection. It does
// not warn, because the peer may be any program.
func (s *Conns[C]) shakeHands(conn Conn, limit time.Duration) bool {
	err := conn.handshake(limit)
	if err != nil {
		s.log.Debug("the TLS handshake failed", "client", conn.RemoteAddr(), "reason", err)
		conn.Close()
	}
	return err == nil
}

// refusals is how many clients at a time get their refusal for sure.
const refusals = 64

// Refuse writes text to a client that Start has not run, and closes, without waiting for the
// client. Of more than refusals clients at a time some may get no text, over TLS none.
func (s *Conns[C]) Refuse(conn Conn, text string) {
	select {
	case s.refusing <- struct{}{}:
		go func() {
			defer func() { <-s.refusing }()
			if s.shakeHands(conn, LingerTime) {
				WriteLast(conn, text, LingerTime)
				conn.Close()
			}
		}()
	default:
		if !conn.needsHandshake() {
			_, _ = conn.Write([]byte(text), LingerTime) // which fits into any socket's buffer
		}
		conn.Close()
	}
}

func (s *Conns[C]) remove(c C) {
	s.mu.Lock()
	defer s.mu.Unlock()
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
