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

// A Dispatcher has the connections of a port for as long as the process lives, and gives each to the server of
// that time, in this process or on another node. Any goroutine may call its methods.
type Dispatcher struct {
	log     *slog.Logger
	options DispatcherOptions
	times   linkTimes
	conns   *Conns[Conn]
	running sync.WaitGroup // connections that wait or are carried

	mu      sync.Mutex // guards what follows
	target  Target
	changed chan struct{}     // closed when target changes, or at the stop
	links   map[Conn]struct{} // of connections that are carried to target
	stopped bool
}

// DispatcherOptions are those of a port.
type DispatcherOptions struct {
	Port     string // its name in Hello
	Limits   Limits
	Links    *tls.Config   // of links, as with NewLinks
	Patience time.Duration // how long a connection waits for an owner; 0 for DefaultPatience

	// Refusal is the text for a client that is not served, because of a limit, ErrPlain, ErrStopped or ErrNoOwner; ""
	// for none.
	Refusal func(error) string
}

// DefaultPatience is longer than the election of an owner takes.
const DefaultPatience = 15 * time.Second

// ErrNoOwner refuses a client that has waited for an owner.
var ErrNoOwner = errors.New("no node has the topics now: try again")

// A Target is where connections go: to Take, a server in this process, which returns soon, and reports false if it has
// stopped; or else to the Links of the node at Owner, an address; or nowhere, while nobody knows the owner.
type Target struct {
	Take  func(Conn) bool
	Owner string
}

// dialTime is how long a node has to accept a link, and redialPause the time between two attempts to have a client served.
const (
	dialTime    = 2 * time.Second
	redialPause = 50 * time.Millisecond

	// pipePause is the time between two looks at a Pipe that waits for an owner.
	pipePause = time.Second
)

// NewDispatcher makes one without a target.
func NewDispatcher(log *slog.Logger, o DispatcherOptions) *Dispatcher {
	if o.Patience == 0 {
		o.Patience = DefaultPatience
	}
	return &Dispatcher{
		log: log, options: o, times: usualTimes, conns: NewConns[Conn](log, o.Limits),
		changed: make(chan struct{}), links: make(map[Conn]struct{}),
	}
}

// Serve takes the connections of l, which may be one of WithTLS, until Stop.
func (d *Dispatcher) Serve(l net.Listener) { d.conns.Serve(l, d.take) }

// Set has connections go to another target. Those that are carried to one that is not the owner any more are reset:
// a node that is frozen keeps its connections open.
func (d *Dispatcher) Set(t Target) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return
	}
	if t.Owner != d.target.Owner || t.Take != nil {
		d.cut()
	}
	d.target = t
	close(d.changed)
	d.changed = make(chan struct{})
}

// cut breaks all links. The caller holds mu.
func (d *Dispatcher) cut() {
	for l := range d.links {
		l.Abort()
	}
}

// Stop ends the Dispatcher: no more connections are taken, those that wait are refused, and those that are carried
// are reset. It waits for them. Those that a server of this process has are that server's.
func (d *Dispatcher) Stop() {
	d.mu.Lock()
	if !d.stopped {
		d.stopped, d.target = true, Target{}
		close(d.changed)
		d.cut()
	}
	d.mu.Unlock()
	d.conns.Stop(context.Background(), Conn.Interrupt, Conn.Abort)
	d.running.Wait()
}

// take takes a connection.
func (d *Dispatcher) take(conn Conn) {
	if err := d.conns.seat(conn); err != nil {
		d.refuse(conn, err)
		return
	}
	d.mu.Lock()
	to := d.target.Take
	d.mu.Unlock()
	if to != nil && to(conn) {
		return
	}
	d.mu.Lock()
	stopped := d.stopped
	if !stopped {
		d.running.Go(func() { d.lead(conn) })
	}
	d.mu.Unlock()
	if stopped {
		d.refuse(conn, ErrStopped)
	}
}

func (d *Dispatcher) refuse(conn Conn, err error) {
	d.log.Debug("a connection is refused", "port", d.options.Port, "client", conn.RemoteAddr(), "reason", err)
	text := ""
	if d.options.Refusal != nil {
		text = d.options.Refusal(err)
	}
	if text == "" {
		conn.Close()
		return
	}
	d.conns.Refuse(conn, text)
}

// lead leads a connection to the owner, when there is one.
func (d *Dispatcher) lead(conn Conn) {
	if isStale(conn) {
		conn.Abort()
		return
	}
	if err := d.Lead(conn); err != nil {
		d.refuse(conn, err)
	}
}

// Lead has a connection served by the target: by a server of this process, which goes on when Lead returns, or until it has
// ended by another node. It waits for a target as for connections of Serve. The error is ErrNoOwner, ErrStopped, or
// ErrNotTaken for a Pipe that has failed: then nobody has had the connection.
func (d *Dispatcher) Lead(conn Conn) error {
	late := time.Now().Add(d.options.Patience)
	for {
		d.mu.Lock()
		t, changed, stopped := d.target, d.changed, d.stopped
		d.mu.Unlock()
		pipe, isPipe := conn.(*Pipe)
		switch {
		case stopped:
			return ErrStopped
		case isPipe && pipe.HasLeft():
			return ErrNotTaken
		case !time.Now().Before(late): // also after a freeze of this process
			return ErrNoOwner
		case t.Take != nil:
			if t.Take(conn) {
				return nil
			}
		case t.Owner != "":
			if err := d.carry(conn, t.Owner, changed); !errors.Is(err, ErrNotTaken) {
				d.log.Debug("a carried connection has ended", "port", d.options.Port, "client", conn.RemoteAddr(), "reason", err)
				return nil
			}
		}
		wait := late
		if isPipe { // whose client may be gone
			wait = time.Now().Add(pipePause)
		}
		if t.Owner != "" || t.Take != nil {
			wait = time.Now().Add(redialPause)
		}
		awaitUntil(changed, wait)
	}
}

// carry carries a connection until it has ended, or ErrNotTaken.
func (d *Dispatcher) carry(conn Conn, owner string, changed <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(context.Background(), dialTime)
	defer cancel()
	go func() {
		select {
		case <-changed:
			cancel()
		case <-ctx.Done():
		}
	}()
	link, err := DialLink(ctx, owner, d.options.Links)
	cancel()
	if err != nil {
		return errors.Join(ErrNotTaken, err)
	}
	d.mu.Lock()
	isOwner := d.target.Owner == owner && d.target.Take == nil
	if isOwner {
		d.links[link] = struct{}{}
	}
	d.mu.Unlock()
	if !isOwner {
		link.Abort()
		return ErrNotTaken
	}
	err = carry(conn, link, HelloOf(d.options.Port, conn), d.times)
	d.mu.Lock()
	delete(d.links, link)
	d.mu.Unlock()
	return err
}
