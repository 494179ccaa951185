package web

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"time"

	"mbus/internal/broker"
	"mbus/internal/message"
	"mbus/internal/tcpserver"
)

// A plainServer answers plain requests, as net/http would by way of the operation publish, for a fraction
// of the processor's time. All else it leaves to net/http: a connection begins here and goes there with the first
// request that is not plain, or that is refused before anything is appended.
type plainServer struct {
	server *Server
	op     *operation
	head   [2][]byte // of the answer 200, before and behind the length of its body
}

func newPlainServer(s *Server) *plainServer {
	h := make(http.Header)
	setPolicies(h)
	h.Set("Content-Type", typeJSON)
	h.Set("Content-Length", "%")
	before, behind, _ := bytes.Cut(appendHead(nil, http.StatusOK, h), []byte("%"))
	return &plainServer{s, s.router.operations[http.MethodPost+" /topics/{topic}"], [2][]byte{before, behind}}
}

// A plainConn is a connection that has had plain requests only.
type plainConn struct {
	*plainServer
	conn  *conn
	view  *broker.View
	login *login         // that the view is of; nil for none yet
	said  []byte         // the header Authorization, which the login is by
	use   *tcpserver.Use // by the latest request; nil for none yet
	host  []byte         // of the latest request; it is this broker
	blank int            // bytes of line ends that may still stand before the next request
	waits waits          // what the read deadline is for
}

// A waits is what a connection waits for.
type waits int

const (
	waitsForFirst waits = iota + 1
	waitsForNext
	waitsForRest
)

// plainRest is how long the rest of a request is waited for: the client's next packet. Then net/http
// goes on, with the limits of slow clients.
const plainRest = time.Second

// maxBlank is how many bytes of line ends may follow a body, as net/http has it.
const maxBlank = 4

// errNotPlain says that net/http is to go on with what has come.
var errNotPlain = errors.New("the request is not plain")

// serve answers requests until the connection is closed, or reports true: net/http is to go on. A panic ends
// the connection only.
func (s *plainServer) serve(c *conn) (goesOn bool) {
	defer func() {
		if p := recover(); p != nil {
			s.server.log.Error("panic in a connection", "client", c.RemoteAddr(), "reason", p, "stack", string(debug.Stack()))
		}
		if !goesOn {
			c.Close()
		}
	}()
	p := &plainConn{plainServer: s, conn: c}
	return p.run() == errNotPlain
}

// run answers requests until there is an error.
func (p *plainConn) run() error {
	for {
		p.skipBlank()
		r, found := findPlain(p.conn.in.Bytes())
		err := errNotPlain
		switch found {
		case foundPart:
			err = p.fill()
		case foundPlain:
			err = p.publish(&r)
		}
		if err != nil {
			return err
		}
	}
}

// skipBlank skips line ends that some clients send behind a body.
func (p *plainConn) skipBlank() {
	for in := p.conn.in.Bytes(); p.blank > 0 && len(in) > 0 && (in[0] == '\r' || in[0] == '\n'); in = in[1:] {
		p.conn.in.Skip(1)
		p.blank--
	}
}

// fill waits for more bytes. While it waits for a request it holds no buffer.
func (p *plainConn) fill() error {
	in := &p.conn.in
	limits := &p.server.broker.Limits
	wants, limit := waitsForRest, min(plainRest, limits.HTTPBodyTime)
	switch isEmpty := len(in.Bytes()) == 0; {
	case isEmpty && p.use == nil:
		wants, limit = waitsForFirst, limits.HTTPHeaderTime
	case isEmpty:
		wants, limit = waitsForNext, limits.HTTPIdleTime
	}
	if wants != p.waits { // or the time runs already
		p.waits = wants
		p.conn.net.SetReadDeadline(time.Now().Add(limit))
	}
	err := in.Fill(p.conn.net, broker.PlainRequest)
	if err != nil && len(in.Bytes()) > 0 {
		return errNotPlain
	}
	return err
}

// publish publishes the message of a request, and answers.
func (p *plainConn) publish(r *plain) error {
	if p.server.isStopping() || !p.isOwnHost(r.host) {
		return errNotPlain
	}
	if !p.logIn(r.authorization) {
		return errNotPlain
	}
	p.useTopic(r.topic)
	p.conn.use.Store(p.use)
	defer p.conn.use.Store(nil)
	m := outgoing{key: r.key, hasKey: r.hasKey, value: r.body, partition: -1}
	if !broker.May(p.view, broker.Write, broker.TopicResource, p.use.Topic) { // which net/http says
		return errNotPlain
	}
	_, partition, err := m.prepare(p.view, p.server.broker, p.use.Topic)
	if err != nil {
		return errNotPlain
	}
	a := appendings.Get().(*appending)
	offset, err := a.append(&m, partition, noProducer)
	p.conn.in.Skip(r.size)
	p.blank, p.waits = maxBlank, 0
	if err == nil {
		p.op.served.Add(1)
		err = p.answer(a, published{p.use.Topic, partition.Number(), offset})
	} else {
		err = p.fail(err)
	}
	a.free()
	return err
}

// isOwnHost is the guard's check of a host, which it needs once for the same one.
func (p *plainConn) isOwnHost(host []byte) bool {
	if !bytes.Equal(host, p.host) {
		if !p.server.guard.isOwnHost(string(host), p.conn.LocalAddr()) && !isCertified(string(host), p.conn.net) {
			return false
		}
		p.host = bytes.Clone(host)
	}
	return true
}

// logIn makes the view that of the request's user. It reports false if net/http is to find the user, which also
// answers failures. A connection whose header stays the same logs in once.
func (p *plainConn) logIn(authorization []byte) bool {
	s := p.server
	if p.login != nil && subtle.ConstantTimeCompare(authorization, p.said) == 1 && p.login.isValid(s.broker.Users(), time.Now()) {
		return true
	}
	id, ok := s.identifyPlain(p.conn, string(authorization))
	if !ok {
		return false
	}
	p.login, p.said = &login{identity: id}, bytes.Clone(authorization)
	p.view = s.broker.As(broker.NewPrincipal(id, p.conn.client))
	p.conn.login.Store(p.login)
	s.conns.Admitted(p.conn.net)
	return true
}

func (p *plainConn) useTopic(name []byte) {
	if p.use == nil || p.use.Topic != string(name) {
		p.use = &tcpserver.Use{Topic: string(name), Does: p.op.id}
	}
}

// answer says where the message is, in one write.
func (p *plainConn) answer(a *appending, at published) error {
	var space [2 * message.MaxName]byte
	body := at.appendTo(space[:0])
	isLast := p.server.isStopping()
	a.out = append(a.out[:0], p.head[0]...)
	a.out = strconv.AppendInt(a.out, int64(len(body)), 10)
	a.out = appendEnd(append(a.out, p.head[1]...), isLast)
	a.out = append(a.out, body...)
	return p.write(a.out, isLast)
}

func (p *plainConn) write(answer []byte, isLast bool) error {
	_, err := p.conn.write(answer)
	if err == nil && isLast {
		return errStopping
	}
	return err
}

// fail answers that the log has not stored the message, or may not have.
func (p *plainConn) fail(err error) error {
	a := &answerWriter{header: make(http.Header)}
	setPolicies(a.header)
	c := &call{server: p.server, op: p.op, conn: p.conn, w: &writer{ResponseWriter: a}, r: &http.Request{
		Method: p.op.method, URL: &url.URL{Path: "/topics/" + p.use.Topic}, Body: http.NoBody, RemoteAddr: p.conn.RemoteAddr().String(),
	}}
	c.fail(err)
	c.count()
	return p.write(a.out, a.isLast)
}
