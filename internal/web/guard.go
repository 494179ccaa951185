package web

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"mbus/internal/tcpserver"
)

// A guard stands before all operations. A page of any site can have a browser send requests to a
// broker that the browser reaches: what changes something must come from the broker's own pages, and
// requests must name the broker by an address or a name that is its own, because a name of an
// attacker may lead here (DNS rebinding).
type guard struct {
	hosts   []string // own names
	origins *http.CrossOriginProtection
}

func newGuard(hosts []string) *guard { return &guard{hosts, http.NewCrossOriginProtection()} }

// contentPolicy allows a page what the broker itself has, without code in the page.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// setPolicies tells browsers what pages may do with an answer. An operation may set others.
func setPolicies(h http.Header) {
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// checkHost refuses a request that came in on a connection and names another machine.
func (g *guard) checkHost(r *http.Request, conn tcpserver.Conn) error {
	if g.isOwnHost(r.Host, conn.LocalAddr()) || isCertified(r.Host, conn) {
		return nil
	}
	return &problem{
		Status: http.StatusMisdirectedRequest, Code: codeDenied,
		Detail: fmt.Sprintf("the request is for host %q, which is no address of this broker; -http-hosts of the broker adds names", r.Host),
	}
}

// isCertified reports whether the host is the one for which the client has got the broker's certificate. A browser takes none
// for the name of an attacker.
func isCertified(host string, conn tcpserver.Conn) bool {
	own, _ := conn.ServerName()
	return own != "" && strings.EqualFold(own, nameOfHost(host))
}

// nameOfHost is a host without its port, brackets and last dot, in small letters.
func nameOfHost(host string) string {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// isOwnHost says whether the Host of a request is this broker. Only clients that are no browsers have none. No
// name of an attacker is localhost or an address of it: a client that says so has come by way of a port that was
// forwarded, into a container for example, if not on a loopback address.
func (g *guard) isOwnHost(host string, local net.Addr) bool {
	if host == "" {
		return true
	}
	name := nameOfHost(host)
	if slices.ContainsFunc(g.hosts, func(own string) bool { return strings.EqualFold(own, name) }) {
		return true
	}
	if name == "localhost" {
		return true
	}
	at := local.(*net.TCPAddr).AddrPort().Addr().Unmap().WithZone("")
	ip, err := netip.ParseAddr(name)
	return err == nil && (ip.Unmap() == at || ip.Unmap().IsLoopback())
}

var (
	errPrefetch = errors.New("the browser only expects that its user wants this")
	errUnproven = errors.New("the browser does not say which page wants this: use the broker's page, or a client such as curl")
)

// checkOrigin refuses a request, for an operation that changes something, that a page of another
// site may have made.
func (g *guard) checkOrigin(r *http.Request) error {
	// A GET that consumes changes something, too.
	err := g.origins.Check(&http.Request{Method: http.MethodPost, URL: r.URL, Host: r.Host, Header: r.Header})
	switch {
	case err != nil:
	case strings.Contains(r.Header.Get("Sec-Purpose"), "prefetch") || strings.Contains(r.Header.Get("Purpose"), "prefetch"):
		err = errPrefetch
	case !isProven(r):
		err = errUnproven
	default:
		return nil
	}
	return &problem{Status: http.StatusForbidden, Code: codeDenied, Detail: "a page of another site may not do this: " + err.Error()}
}

// checkNavigation refuses to consume where a browser shows the answer in its window: a link in a mail, or an
// address that is typed, would take messages from their consumers. Browsers send Sec-Fetch-Mode as they send
// Sec-Fetch-Site, and without both isProven wants a Referer.
func checkNavigation(r *http.Request) error {
	if r.Header.Get("Sec-Fetch-Mode") != "navigate" {
		return nil
	}
	return &problem{
		Status: http.StatusForbidden, Code: codeDenied,
		Detail: "a link or an address in a browser may not consume messages: with from=beginning they are shown, and nothing is consumed; clients such as curl consume",
	}
}

// isProven says whether a GET that changes something comes from the broker's page, or from no
// browser. Browsers send Sec-Fetch-Site over TLS and to loopback addresses only (Fetch Metadata,
// section 2), and Origin with a GET of another kind of request only: without both the Referer
// must be the broker, which a page of another site can't forge.
func isProven(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || r.Header.Get("Sec-Fetch-Site") != "" || r.Header.Get("Origin") != "" {
		return true
	}
	if !strings.HasPrefix(r.UserAgent(), "Mozilla/") { // which all browsers send, and no page can change
		return true
	}
	from, err := url.Parse(r.Referer())
	return err == nil && from.Host == r.Host
}
