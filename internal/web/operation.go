package web

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	gopath "path"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"

	"mbus/internal/auth"
	"mbus/internal/broker"
	"mbus/internal/tcpserver"
)

// An operation is a kind of request. The OpenAPI document is made of what it says.
type operation struct {
	id           string // operationId
	method, path string // GET is HEAD, too; {name} in a path stands for one of its segments
	tag          string // heading in the document
	summary      string
	params       []param  // of the query
	headers      []param  // of the request that have a meaning beside HTTP's own
	bodies       []string // media types of the request; nil for no body
	body         any      // a value of the type of a JSON body; nil for other bodies
	answers      []answer // beside problems
	changes      bool     // something: no page of another site may have it done
	isPage       bool     // for browsers: it is not in the OpenAPI document
	audience     audience // whom it serves
	serve        func(*call) error

	served *atomic.Int64 // requests with status 200; the server sets it
}

// A param is a parameter of an operation.
type param struct {
	name    string
	about   string
	kind    string // OpenAPI's type: string, integer or boolean; "" is string
	example string
	must    bool
	many    bool // it may be there several times
}

// An answer is what an operation responds without an error.
type answer struct {
	status int
	types  []string // media types
	about  string
	body   any // a value of the type of a JSON body; nil for other bodies
}

// operations are all that there are.
func operations() []operation {
	return slices.Concat(metaOperations(), openAPIOperations(), publishOperations(), consumeOperations(), leaseOperations(), adminOperations(), userOperations(), observeOperations(), pageOperations())
}

// A router finds the operation of a request.
type router struct {
	mux        *http.ServeMux
	operations map[string]*operation // by pattern
	methods    map[string][]string   // by path
}

func newRouter(list []operation) *router {
	r := &router{http.NewServeMux(), make(map[string]*operation), make(map[string][]string)}
	for i := range list {
		op := &list[i]
		pattern := op.method + " " + op.path
		r.mux.Handle(pattern, http.NotFoundHandler()) // only to match
		r.operations[pattern] = op
		r.methods[op.path] = append(r.methods[op.path], op.method)
	}
	return r
}

// find is the operation of a request. Its path values are set by serving through the mux, so
// they are read from the pattern here.
func (t *router) find(r *http.Request) (*operation, error) {
	if op := t.match(r.Method, r); op != nil {
		return op, setPathValues(r, op.path)
	}
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		if t.match(method, r) != nil {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		return nil, &problem{Status: http.StatusNotFound, Code: codeNotFound, Detail: fmt.Sprintf("there is nothing at %q; GET /openapi.json lists what there is", r.URL.Path)}
	}
	return nil, &problem{
		Status: http.StatusMethodNotAllowed, Code: codeBadRequest, allow: strings.Join(allowed, ", "),
		Detail: fmt.Sprintf("%q takes %s, not %s", r.URL.Path, strings.Join(allowed, ", "), r.Method),
	}
}

// match is the operation with a method at the path of a request; nil if there is none. The mux
// would redirect from a path that is not clean, such as //topics/a, to another: here is nothing at it.
func (t *router) match(method string, r *http.Request) *operation {
	_, pattern := t.mux.Handler(&http.Request{Method: method, URL: r.URL, Host: r.Host})
	op := t.operations[pattern]
	if op == nil || !fits(op.path, r.URL.EscapedPath()) {
		return nil
	}
	return op
}

// fits says whether a path that the mux has matched is as the pattern has it.
func fits(pattern, path string) bool {
	if clean := gopath.Clean(path); path != clean && path != clean+"/" {
		return false
	}
	return strings.HasSuffix(path, "/") || !strings.HasSuffix(pattern, "/")
}

// setPathValues sets the values of the names in a pattern's path.
func setPathValues(r *http.Request, pattern string) error {
	got := strings.Split(r.URL.EscapedPath(), "/")
	for i, name := range strings.Split(pattern, "/") {
		name, isName := strings.CutPrefix(name, "{")
		if !isName || i >= len(got) {
			continue
		}
		name = strings.TrimSuffix(name, "}")
		rest, isRest := strings.CutSuffix(name, "...")
		text := got[i]
		if isRest {
			name, text = rest, strings.Join(got[i:], "/")
		}
		value, err := url.PathUnescape(text)
		if err != nil {
			return badRequest("the path: %w", err)
		}
		r.SetPathValue(name, strings.Clone(value)) // a name may stay for long, and the request line is 64 KiB
	}
	return nil
}

// serve answers a request. A panic ends its connection only.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	r.Body = newTimedBody(r, s.broker.Limits.HTTPBodyTime)
	conn := connOf(r.Context())
	c := &call{server: s, r: r, w: &writer{ResponseWriter: w}, conn: conn, view: s.broker.As(broker.NewPrincipal(auth.Identity{}, conn.client))}
	conn.serves = true
	defer c.count()
	setPolicies(w.Header())
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			panic(p)
		default:
			s.log.Error("panic in a connection", "client", r.RemoteAddr, "reason", p, "stack", string(debug.Stack()))
			c.fail(&problem{Status: http.StatusInternalServerError, Code: "INTERNAL", Detail: "an error in the broker, which it has logged"})
		}
	}()
	if err := c.run(); err != nil {
		c.fail(err)
	}
}

// run finds the operation, checks the request, and runs it.
func (c *call) run() (err error) {
	if err = c.server.guard.checkHost(c.r, c.conn.net); err != nil {
		return err
	}
	if c.op, err = c.server.router.find(c.r); err != nil {
		return err
	}
	if c.op.changes {
		if err = c.server.guard.checkOrigin(c.r); err != nil {
			return err
		}
	}
	if err = logIn(c); err != nil {
		return err
	}
	if err = c.readQuery(); err != nil {
		return err
	}
	if err = checkBody(c); err != nil {
		return err
	}
	c.conn.use.Store(&tcpserver.Use{Topic: c.r.PathValue("topic"), Group: cmp.Or(c.r.PathValue("group"), c.query.Get("group")), Does: c.op.id})
	defer c.conn.rests()
	return c.op.serve(c)
}

// readQuery reads the parameters of the query. Each is known, and there once, unless it may be there often.
func (c *call) readQuery() error {
	query, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return badRequest("the query: %w", err)
	}
	c.query = query
	for name, values := range query {
		for i, v := range values {
			values[i] = strings.Clone(v) // as in setPathValues
		}
		i := slices.IndexFunc(c.op.params, func(p param) bool { return p.name == name })
		if i < 0 {
			return badRequest("unknown parameter %q%s", name, c.op.known())
		}
		if len(values) > 1 && !c.op.params[i].many {
			return badRequest("parameter %q is there %d times", name, len(values))
		}
	}
	for _, p := range c.op.params {
		if _, found := query[p.name]; p.must && !found {
			return badRequest("parameter %q is missing: %s", p.name, p.about)
		}
	}
	return nil
}

// known lists the parameters, for an error.
func (op *operation) known() string {
	if len(op.params) == 0 {
		return ": there is none here"
	}
	names := make([]string, len(op.params))
	for i, p := range op.params {
		names[i] = p.name
	}
	return ": it takes " + strings.Join(names, ", ")
}

// fail answers with a problem document. If the answer has begun it is cut off, which clients
// notice: HTTP has no other sign for an answer that is not complete.
func (c *call) fail(err error) {
	if c.w.began {
		panic(http.ErrAbortHandler)
	}
	p := toProblem(err)
	if p.Status == http.StatusUnauthorized {
		if isNavigation(c.r) {
			leadToForm(c)
			return
		}
		challenge(c)
	}
	c.leaveBody()
	if errors.Is(err, errStopping) || c.server.isStopping() {
		c.w.Header().Set("Connection", "close")
	}
	c.server.log.Debug("request refused", "client", c.r.RemoteAddr, "method", c.r.Method, "path", c.r.URL.Path, "status", p.Status, "reason", cmp.Or(p.Detail, p.Title))
	p.write(c.w)
}
