package tcpserver

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
)

// Conns are the connections of a server, which has one listener or several, from the
// first call of Serve until Stop. Its methods may be called by any goroutine.
type Conns[C comparable] struct {
	log *slog.Logger
	max int

	stopped chan struct{}  // closed by Stop, with mu held
	running sync.WaitGroup // connections

	mu        sync.Mutex // guards what follows
	listeners []net.Listener
	conns     map[C]struct{}
	full      bool // said already that there are too many
}

// NewConns are none yet, and max at most.
func NewConns[C comparable](log *slog.Logger, max int) *Conns[C] {
	return &Conns[C]{log: log, max: max, stopped: make(chan struct{}), conns: make(map[C]struct{})}
}

// Why Start does not run a connection.
var (
	ErrFull    = errors.New("too many connections")
	ErrStopped = errors.New("the server is stopping")
)

// Serve calls start with each connection of l, one after the other, until Stop.
func (s *Conns[C]) Serve(l net.Listener, start func(net.Conn)) {
	s.mu.Lock()
	s.listeners = append(s.listeners, l)
	if s.IsStopping() { // before it has begun
		l.Close()
	}
	s.mu.Unlock()
	Each(l, s.log, start)
}

// Start calls run in a goroutine of its own, and counts c until it returns. The error
// is ErrFull or ErrStopped; then c is the caller's to close.
func (s *Conns[C]) Start(c C, run func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.IsStopping() {
		return ErrStopped
	}
	wasFull := s.full
	if s.full = len(s.conns) >= s.max; s.full {
		if !wasFull {
			s.log.Warn("too many connections", "limit", s.max)
		}
		return ErrFull
	}
	s.conns[c] = struct{}{}
	s.running.Go(func() {
		defer s.remove(c)
		run()
	})
	return nil
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
