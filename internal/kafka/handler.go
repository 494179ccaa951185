package kafka

import (
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// An api is how one kind of request is answered. Each stands in a file of its
// own, named for its key, and is registered there:
//
//	func init() {
//		register(api{key: 12, min: 0, max: 4, doc: "…", handle: typed(heartbeat)})
//	}
//
//	func heartbeat(c *call, req *kmsg.HeartbeatRequest) {
//		resp := req.ResponseKind().(*kmsg.HeartbeatResponse)
//		…
//		c.reply(resp)
//	}
//
// handle runs in the connection's goroutine, in the order of the requests. It
// must not wait for other clients, nor for the sync of what was produced: such a
// call is replied to later. Strings of the request may be kept, byte slices only until handle
// returns: they are parts of the frame, which is used again.
type api struct {
	key      int16
	min, max int16  // versions that are answered
	doc      string // for KAFKA.md: what it does, and what is left out
	handle   func(*call, kmsg.Request)

	layouts []func() []field // by version, from min on
}

// apis are all that are registered, by key.
var apis = make(map[int16]*api)

// register adds an API; from an init function only. A second one for a key is a
// mistake in the program.
func register(a api) {
	if apis[a.key] != nil {
		panic(fmt.Sprintf("kafka: API key %d is registered twice", a.key))
	}
	for version := a.min; version <= a.max; version++ {
		a.layouts = append(a.layouts, sync.OnceValue(func() []field { return layoutOf(a.key, version) }))
	}
	apis[a.key] = &a
}

// layout is how requests of a version look on the wire.
func (a *api) layout(version int16) []field { return a.layouts[version-a.min]() }

// typed makes a handler of requests of one type one of any.
func typed[R kmsg.Request](handle func(*call, R)) func(*call, kmsg.Request) {
	return func(c *call, req kmsg.Request) { handle(c, req.(R)) }
}

// A call is one request on its way to its answer. Exactly one of reply, noReply
// and fail is called, once, by any goroutine; none of them blocks.
type call struct {
	conn   *conn
	server *Server
	header header

	// The answer, guarded by the connection's mu.
	completed bool
	response  encoder // nil for none
	err       error   // closes the connection instead of an answer
	cancel    func()
	whenFirst func() // called when all that was asked before is settled; nil for none
	waited    bool   // had to wait for its turn: what was asked behind it is not read before it is settled
}

// An encoder is the body of a response: a kmsg.Response, or one made by hand.
type encoder interface {
	AppendTo([]byte) []byte
}

// A releaser is an encoder that holds something, which is released when it has
// been written or never will be.
type releaser interface{ release() }

// reply answers the request. The response is encoded later, by the goroutine
// that writes it, so that it must not change any more.
func (c *call) reply(response encoder) { c.conn.complete(c, response, nil) }

// noReply ends a request that is not answered: one to produce with acks=0.
func (c *call) noReply() { c.conn.complete(c, nil, nil) }

// fail closes the connection: there is no answer that would say what is wrong.
// What was asked before is still answered.
func (c *call) fail(err error) { c.conn.complete(c, nil, err) }

// onClose has f called if the connection ends, or the server stops, before the
// call is settled, so that what waits can be taken back. f must not block. It
// should settle the call, or a stop of the server has to wait for it.
func (c *call) onClose(f func()) { c.conn.onClose(c, f) }

// afterEarlier calls f when all that was asked before on the connection is settled, at once if it
// is: for an answer that depends on what was produced before. What was asked behind it is
// not read meanwhile. f may use no byte slices of the request.
func (c *call) afterEarlier(f func()) {
	if c.conn.isFirst(c, f) {
		f()
	}
}

// async runs f, which settles the call, in a goroutine of its own.
func (c *call) async(f func()) {
	go func() {
		defer c.conn.recovered(func() {})
		f()
	}()
}

// did logs what the client has had changed.
func (c *call) did(msg string, args ...any) {
	c.server.log.Info(msg, append(args, "client", c.client())...)
}

// client is how log lines name who asked.
func (c *call) client() string { return c.conn.net.RemoteAddr().String() }
