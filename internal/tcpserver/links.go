package tcpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"mbus/internal/turns"
)

// maxGreeting is the most links that have not said hello. Beyond that a new one ends at once.
const maxGreeting = 1000

// linkHandshakes bound the processor time of handshakes between nodes, apart from those of clients.
var linkHandshakes = turns.New(0.5)

// Links accept the links by which other nodes carry their clients to this one. Any goroutine may call its methods.
type Links struct {
	log    *slog.Logger
	config *tls.Config
	times  linkTimes

	mu       sync.Mutex      // guards what follows
	links    map[Conn]func() // with what ends each, from its accept on
	greeting int             // of those
}

// NewLinks makes one that has no links. With a configuration, links are TLS 1.3, and each side must show a
// certificate that the configuration takes.
func NewLinks(log *slog.Logger, config *tls.Config) *Links {
	return &Links{log: log, config: mutual(config), times: usualTimes, links: make(map[Conn]func())}
}

// mutual is a configuration for both sides of links; nil without one.
func mutual(config *tls.Config) *tls.Config {
	if config == nil {
		return nil
	}
	config = config.Clone()
	config.MinVersion = tls.VersionTLS13
	config.ClientAuth = tls.RequireAndVerifyClientCert
	config.DynamicRecordSizingDisabled = true // small records cost a system call each
	return config
}

// Serve calls start with each link of l, until that is closed: a client's Conn, and what is known of it. start
// returns soon, and has the Conn served elsewhere; or it returns false, and leaves it: then the other node looks for
// the owner again. A link that says nothing holds up no other.
func (l *Links) Serve(from net.Listener, start func(Hello, Conn) bool) {
	each(from.Accept, from.Addr(), l.log, func(nc net.Conn) {
		conn := newConn(nc.(*net.TCPConn))
		if conn == nil {
			return
		}
		if !l.begin(conn) {
			conn.Abort()
			return
		}
		go l.serve(conn, start)
	})
}

// begin registers a link, before it has said anything: EndAll misses none.
func (l *Links) begin(conn Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.greeting == maxGreeting {
		return false
	}
	l.greeting++
	l.links[conn] = conn.Abort
	return true
}

// greeted says that a link has said hello, or will not.
func (l *Links) greeted(conn Conn, abort func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.greeting--
	l.links[conn] = abort
}

func (l *Links) end(conn Conn) {
	conn.Abort()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.links, conn)
}

// serve serves a link to its end.
func (l *Links) serve(conn *tcpConn, start func(Hello, Conn) bool) {
	defer l.end(conn)
	var c *linkConn
	w, err := l.greet(conn)
	if err == nil {
		late := time.AfterFunc(l.times.greet, conn.Abort)
		err = w.run(func(k kind, p []byte) (err error) {
			if c != nil {
				return c.handle(k, p)
			}
			late.Stop()
			c, err = l.start(conn, w, p, start)
			return err
		})
		late.Stop()
	}
	if c == nil {
		l.greeted(conn, conn.Abort)
		l.log.Debug("a link has not begun", "node", conn.RemoteAddr(), "reason", err)
		return
	}
	c.breakOff(&lost{"the link has ended: " + err.Error()})
}

// greet does the handshake.
func (l *Links) greet(conn *tcpConn) (*wire, error) {
	var over Conn = conn
	if l.config != nil {
		c := newTLS(&conn.socket, l.config)
		if err := c.handshake(linkHandshakes.Begin(conn.seat.network()), time.Now().Add(l.times.greet)); err != nil {
			return nil, err
		}
		over = c
	}
	w := newWire(over, l.times)
	w.expects = frameHello
	return w, nil
}

// start starts the client of a hello.
func (l *Links) start(conn Conn, w *wire, body []byte, start func(Hello, Conn) bool) (*linkConn, error) {
	hello, err := parseHello(body)
	if err != nil {
		return nil, err
	}
	c := newLinkConn(w, hello)
	l.greeted(conn, c.Abort)
	if !start(hello, c) {
		err := w.send(frameElsewhere)
		w.conn.Close() // in good order, so that the frame arrives
		return c, errors.Join(ErrNotTaken, err)
	}
	return c, w.send(frameWelcome)
}

// EndAll breaks all links, also those that have only been accepted: their clients' connections are reset.
func (l *Links) EndAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, abort := range l.links {
		abort()
	}
}

// DialLink connects to the node that has Links at an address, for Carry. Only what the configuration takes is
// believed to be one; without one the link is not encrypted.
func DialLink(ctx context.Context, address string, config *tls.Config) (Conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	conn := newConn(nc.(*net.TCPConn))
	if conn == nil {
		return nil, net.ErrClosed
	}
	if config == nil {
		return conn, nil
	}
	stop := context.AfterFunc(ctx, conn.Abort)
	c := newTLSAs(tls.Client, &conn.socket, mutual(config))
	err = c.handshake(linkHandshakes.Begin(conn.seat.network()), time.Now().Add(usualTimes.greet))
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.Abort()
		return nil, err
	}
	return c, nil
}
