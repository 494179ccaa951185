package web

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"

	"mbus/internal/broker"
)

const typeHTML = "text/html; charset=utf-8"

// pageOperations are the page for browsers. All that it shows is there without scripts; a script
// has numbers, and the tail of a topic, go on by themselves.
func pageOperations() []operation {
	return pageRows(append(loginOperations(), []operation{
		{path: "/{$}", params: listParams, serve: showTopics},
		{path: "/ui/topics/{topic}", params: browseParams, serve: showTopic},
		{path: "/ui/groups", params: listParams, serve: showGroups},
		{path: "/ui/groups/{group}", params: []param{doneParam}, serve: showGroup},
		{path: "/ui/dead", params: []param{doneParam}, serve: showDeadTopics},
		{path: "/ui/dead/{topic}", params: deadParams, serve: showDead},
		{path: "/ui/health", serve: showHealth},
		{path: "/ui/users", params: userListParams, serve: showUsers},
		{path: "/ui/users/{user}", serve: showUser},
		{method: http.MethodPost, path: "/ui/create", serve: postCreate},
		{method: http.MethodPost, path: "/ui/topics/{topic}/publish", serve: postPublish},
		{method: http.MethodPost, path: "/ui/topics/{topic}/configure", serve: postConfigure},
		{method: http.MethodPost, path: "/ui/topics/{topic}/grow", serve: postGrow},
		{method: http.MethodPost, path: "/ui/topics/{topic}/delete", serve: postDeleteTopic},
		{method: http.MethodPost, path: "/ui/groups/{group}/reset", serve: postReset},
		{method: http.MethodPost, path: "/ui/groups/{group}/delete", serve: postDeleteGroup},
		{method: http.MethodPost, path: "/ui/dead/{topic}/redrive", serve: postRedrive},
		{method: http.MethodPost, path: "/ui/dead/{topic}/discard", serve: postDiscard},
	}...), []operation{
		{path: "/ui/numbers", params: numbersParams, serve: streamNumbers},
		{path: "/assets/{name}", audience: forAnyone, serve: serveAsset},
		{path: "/favicon.ico", audience: forAnyone, serve: serveFavicon},
	})
}

// pageRows completes the operations of the page: an error of a view is a view, too.
func pageRows(views, others []operation) []operation {
	for i := range views {
		serve := views[i].serve
		views[i].serve = func(c *call) error {
			if err := serve(c); err != nil {
				return errorView(c, err)
			}
			return nil
		}
	}
	all := append(views, others...)
	for i := range all {
		op := &all[i]
		op.isPage, op.method, op.tag = true, cmp.Or(op.method, http.MethodGet), "Page"
		op.changes = op.method != http.MethodGet
	}
	return all
}

// A view is what all views have.
type view struct {
	Title string
	Nav   string // the part of the navigation that it belongs to
	Live  string // the query of /ui/numbers; "-" for no numbers

	Broker  string // host and port in the browser's address
	Version string
	Visitor visitor
	// Exposure is what protects nobody from other machines; "" if nothing is open to them.
	Exposure string
	Assets   map[string]string // addresses by name
	Ports    ports
	Done     string // what was done just now
	Data     any
}

// A visitor is who looks at the page.
type visitor struct {
	Name       string // "" for a client that has not logged in
	HasSession bool   // that can end
	IsIn       bool   // it has logged in, or nobody needs to
	Looks      bool   // at the broker as a whole
	Manages    bool   // users, and the broker as a whole
}

func newVisitor(c *call) visitor {
	p := broker.PrincipalOf(c.view)
	v := visitor{Name: p.Name, IsIn: p.Name != "" || !c.server.broker.Users().Any()}
	l := c.conn.login.Load()
	v.HasSession = l != nil && l.session != nil
	v.Looks, v.Manages = looks(c), manages(c)
	return v
}

// show renders a view.
func show(c *call, status int, name string, v view) error {
	v.Visitor = newVisitor(c)
	if v.Visitor.IsIn {
		v.Exposure = c.server.broker.Exposure()
	}
	v.Broker, v.Version, v.Ports, v.Done = c.r.Host, c.server.opts.Version, newPorts(c), done(c)
	all := ui()
	v.Assets = all.urls
	var out bytes.Buffer
	if err := all.views.ExecuteTemplate(&out, name, v); err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", typeHTML)
	return c.compressed(status, out.Bytes())
}

// compressors are writers for compressed.
var compressors = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is a valid one
	return z
}}

// compressed answers with a body, compressed if that is worth it for the client.
func (c *call) compressed(status int, body []byte) error {
	h := c.w.Header()
	h.Add("Vary", "Accept-Encoding")
	if !acceptsGzip(c.r) || len(body) < minGzip {
		c.w.WriteHeader(status)
		_, err := c.w.Write(body)
		return err
	}
	h.Set("Content-Encoding", "gzip")
	c.w.WriteHeader(status)
	z := compressors.Get().(*gzip.Writer)
	defer compressors.Put(z)
	z.Reset(c.w)
	if _, err := z.Write(body); err != nil {
		return err
	}
	return z.Close()
}

// minGzip is the length from which it is worth it, in bytes.
const minGzip = 4 << 10

// acceptsGzip reports whether the client names gzip among what it accepts. All browsers do so
// without a weight.
func acceptsGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		if strings.TrimSpace(part) == "gzip" {
			return true
		}
	}
	return false
}

// errorView shows an error.
func errorView(c *call, err error) error {
	if c.w.began {
		return err
	}
	p := toProblem(err)
	return show(c, p.Status, "error", view{Title: cmp.Or(http.StatusText(p.Status), p.Code), Live: "-", Data: p})
}

// maxForm bounds the body of a form, in bytes: larger messages are sent with curl.
const maxForm = broker.PageForm

// readForm reads the fields of a form. Those with a text are parameters of the call, without space around them.
func readForm(c *call) error {
	if t := c.mediaType(); t != "application/x-www-form-urlencoded" {
		return badRequest("a form comes as application/x-www-form-urlencoded, not as %q", t)
	}
	limit := int64(maxForm)
	if c.op.audience != forUsers {
		limit = broker.LoginForm
	}
	c.r.Body = http.MaxBytesReader(c.w, c.r.Body, limit)
	err := c.r.ParseForm()
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return fmt.Errorf("a form takes %d bytes, send larger messages with curl: %w", limit, err)
	}
	if err != nil {
		return badRequest("the form: %w", err)
	}
	c.query = make(url.Values)
	for name, values := range c.r.PostForm {
		for _, v := range values {
			if v = strings.TrimSpace(v); v != "" {
				c.query.Add(name, v)
			}
		}
	}
	return nil
}

// field is a field of the form, without space around it.
func field(c *call, name string) string { return strings.TrimSpace(c.r.PostForm.Get(name)) }

// redirect leads to a view after a change; done is what it shows.
func redirect(c *call, path, done string) error {
	c.w.Header().Set("Location", path+"?done="+template.URLQueryEscaper(done))
	c.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// done is what a redirect of the page says was done. A link on another site shows nothing in the broker's name.
func done(c *call) string {
	if site := c.r.Header.Get("Sec-Fetch-Site"); site != "same-origin" && (site != "" || !isProven(c.r)) {
		return ""
	}
	return c.query.Get("done")
}

// doneParam has a view say what was done.
var doneParam = param{name: "done", about: "what was done just now"}
