package web

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// A guard stands before all operations. A page of any site can have a browser send requests to a
// broker that the browser reaches: what changes something must come from the broker's own pages, and
// requests must name the broker by an address or a name that is its own, because a name of an
// attacker may lead here (DNS rebinding).
type guard struct {
	server  *Server
	next    http.Handler
	origins *http.CrossOriginProtection
}

func newGuard(s *Server, next http.Handler) *guard {
	return &guard{s, next, http.NewCrossOriginProtection()}
}

// contentPolicy allows a page what the broker itself has, without code in the page.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	if err := g.check(r); err != nil {
		p := toProblem(err)
		requestCounter(&g.server.broker.Stats, noOperation, p.Status).Add(1)
		p.write(w)
		return
	}
	g.next.ServeHTTP(w, r)
}

func (g *guard) check(r *http.Request) error {
	if !g.isOwnHost(r.Host, connOf(r.Context()).LocalAddr()) {
		return &problem{
			Status: http.StatusMisdirectedRequest, Code: codeDenied,
			Detail: fmt.Sprintf("the request is for host %q, which is no address of this broker; -http-hosts of the broker adds names", r.Host),
		}
	}
	if op, err := g.server.router.find(r); err != nil || !op.changes {
		return nil // an error is answered by the next handler
	}
	if strings.Contains(r.Header.Get("Sec-Purpose"), "prefetch") {
		return &problem{Status: http.StatusForbidden, Code: codeDenied, Detail: "a browser may not do this ahead, before its user wants it"}
	}
	asWrite := r.Clone(r.Context())
	asWrite.Method = http.MethodPost // a GET that consumes changes something, too
	if err := g.origins.Check(asWrite); err != nil {
		return &problem{Status: http.StatusForbidden, Code: codeDenied, Detail: "a page of another site may not do this: " + err.Error()}
	}
	return nil
}

// isOwnHost says whether the Host of a request that came in on an address is this broker.
func (g *guard) isOwnHost(host string, local net.Addr) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	name = strings.ToLower(strings.TrimSuffix(strings.Trim(name, "[]"), "."))
	if slices.ContainsFunc(g.server.opts.Hosts, func(own string) bool { return strings.EqualFold(own, name) }) {
		return true
	}
	at := local.(*net.TCPAddr).AddrPort().Addr().Unmap()
	if name == "localhost" {
		return at.IsLoopback()
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && (ip.Unmap() == at || ip.IsLoopback() && at.IsLoopback())
}
