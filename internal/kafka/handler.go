package kafka

import (
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// An api is one key of the protocol. Each has a file of its own, named for the key, and is
// registered there:
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
// handle runs in the connection's goroutine, in the order of the requests. It must not wait
// for other clients or for a sync: then it returns and something else completes the call
// later. It may keep strings of the request. Byte slices are valid until handle returns,
// because they are parts of the frame, whose buffer is used again.
type api struct {
	key      int16
	min, max int16  // versions that are served
	doc      string // for KAFKA.md: its behaviour and the parts that are missing
	handle   func(*call, kmsg.Request)

	// stream is in place of handle for Produce: it reads the fields of the request itself.
	// flexible is the first flexible version then.
	stream   func(*call, *stream)
	flexible int16

	layouts []func() []field // by version, from min on
}

// apis are the registered APIs, by key.
var apis = make(map[int16]*api)

// register adds an API; from an init function only. It panics if the key has one.
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

// typed makes a handler for any request from a handler for requests of one type.
func typed[R kmsg.Request](handle func(*call, R)) func(*call, kmsg.Request) {
	return func(c *call, req kmsg.Request) { handle(c, req.(R)) }
}

// A call is one request on its way to its response. Exactly one of reply, noReply
// and fail is called, once, by any goroutine; none of them blocks.
type call struct {
	conn   *conn
	server *Server
	header header

	// The response, guarded by the connection's mu.
	completed bool
	response  encoder // nil for none
	err       error   // closes the connection in place of a response
	cancel    func()
	whenFirst func() // called when all earlier calls are complete; nil for none
	waited    bool   // had to wait for earlier calls: the connection reads no request until it is complete
}

// An encoder is the body of a response: a kmsg.Response, or one made by hand.
type encoder interface {
	AppendTo([]byte) []byte
}

// A releaser is an encoder that holds memory or files. It is released when it has been
// written, or when it never will be.
type releaser interface{ release() }

// reply completes the call with a response. The response must not change any more, because
// the goroutine that writes it encodes it later.
func (c *call) reply(response encoder) { c.conn.complete(c, response, nil) }

// noReply completes a call that has no response: Produce with acks=0.
func (c *call) noReply() { c.conn.complete(c, nil, nil) }

// fail closes the connection, because no response could say the error. Earlier requests get
// their responses before.
func (c *call) fail(err error) { c.conn.complete(c, nil, err) }

// onClose has f called if the connection ends, or the server stops, before the call is
// complete. f must not block. It should complete the call, because a stop of the server waits
// for that.
func (c *call) onClose(f func()) { c.conn.onClose(c, f) }

// afterEarlier calls f when all earlier calls of the connection are complete, at once if they
// are: for a response that depends on what was produced before. The connection reads no
// request meanwhile. f must not use byte slices of the request.
func (c *call) afterEarlier(f func()) {
	if c.conn.isFirst(c, f) {
		f()
	}
}

// async runs f, which completes the call, in a goroutine of its own.
func (c *call) async(f func()) {
	go func() {
		defer c.conn.recovered(func() {})
		f()
	}()
}

// client is the client's address for log lines.
func (c *call) client() string { return c.conn.net.RemoteAddr().String() }
