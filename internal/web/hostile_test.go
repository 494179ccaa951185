package web

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"mbus/internal/broker"
	"mbus/internal/delivery"
	"mbus/test/brokertest"
)

// speak sends text, closes its sending side, and returns what comes up to the end.
func (r *rig) speak(text string) string {
	r.Helper()
	conn := r.raw("")
	_ = conn.SetDeadline(time.Now().Add(patience))
	go func() {
		io.WriteString(conn, text) // fails if the server has seen enough
		conn.CloseWrite()
	}()
	answer, _ := io.ReadAll(conn) // a reset ends it, too
	return string(answer)
}

// isWhole fails the test unless the server answers a request as ever.
func (r *rig) isWhole() {
	r.Helper()
	r.must(http.StatusOK, "GET", "/version", "")
}

// request is the text of a request for this server.
func request(line, rest string) string {
	return line + " HTTP/1.1\r\nHost: localhost\r\n" + rest + "\r\n"
}

// Requests that no sane client sends. Each gets its status, "" for a close without a word, and nothing else.
func TestHostileRequests(t *testing.T) {
	r := newRig(t, Options{Version: "1"})
	for name, c := range map[string]struct{ sent, status string }{
		"nothing":                    {"", ""},
		"noise":                      {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400"},
		"a line message":             {"orders\nfirst order\n", "400"},
		"HTTP/2":                     {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "404"},
		"HTTP/9":                     {"GET /version HTTP/9.9\r\nHost: localhost\r\n\r\n", "505"},
		"HTTP/0.9":                   {"GET /version\r\n", "400"},
		"HTTP/1.0 without a host":    {"GET /version HTTP/1.0\r\n\r\n", "200"},
		"HTTP/1.0 without a length":  {"POST /topics/t HTTP/1.0\r\n\r\na message", "400"},
		"HTTP/1.0 with chunks":       {"POST /topics/t HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", "400"},
		"HTTP/1.0 with a length":     {"POST /topics/t HTTP/1.0\r\nContent-Length: 1\r\n\r\na", "200"},
		"HTTP/1.1 without a host":    {"GET /version HTTP/1.1\r\n\r\n", "400"},
		"two hosts":                  {request("GET /version", "Host: attacker.example\r\n"), "400"},
		"a host with a path":         {"GET /version HTTP/1.1\r\nHost: localhost/../x\r\n\r\n", "400"},
		"a proxy's request":          {request("GET http://attacker.example/version", ""), "421"},
		"a proxy's own":              {request("GET http://localhost/version", ""), "200"},
		"CONNECT":                    {request("CONNECT attacker.example:443", ""), "421"},
		"OPTIONS of all":             {request("OPTIONS *", ""), "404"},
		"TRACE":                      {request("TRACE /version", ""), "405"},
		"a method of noise":          {request("G\x00T /version", ""), "400"},
		"an unknown method":          {request("BREW /version", ""), "405"},
		"huge headers":               {request("GET /version", "X: "+strings.Repeat("x", 1<<20)+"\r\n"), "431"},
		"many headers":               {request("GET /version", strings.Repeat("X: y\r\n", 100_000)), "431"},
		"a huge path":                {request("GET /"+strings.Repeat("x", 1<<20), ""), "431"},
		"many parameters":            {request("GET /version?"+strings.Repeat("x&", 20_000), ""), "400"},
		"a folded header":            {request("GET /version", "X: y\r\n z\r\n"), "200"},
		"a header of noise":          {request("GET /version", "X\x00: y\r\n"), "400"},
		"a space before the colon":   {request("GET /version", "Content-Length : 5\r\n"), "400"},
		"a negative length":          {request("POST /version", "Content-Length: -1\r\n"), "400"},
		"a length with a sign":       {request("POST /version", "Content-Length: +1\r\n"), "400"},
		"a huge length":              {request("POST /version", "Content-Length: 9223372036854775808\r\n"), "400"},
		"two lengths":                {request("POST /version", "Content-Length: 1\r\nContent-Length: 2\r\n"), "400"},
		"an unknown coding":          {request("POST /version", "Transfer-Encoding: gzip\r\n"), "501"},
		"two codings":                {request("POST /version", "Transfer-Encoding: chunked, identity\r\n"), "501"},
		"an unknown expectation":     {request("GET /version", "Expect: the-moon\r\n"), "417"},
		"ranges of nonsense":         {request("GET /version", "Range: bytes=-9223372036854775808-,,5-1,a-b\r\n"), "200"},
		"an upgrade":                 {request("GET /version", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"), "200"},
		"a web socket":               {request("GET /version", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"), "200"},
		"a path out of here":         {request("GET /../../etc/passwd", ""), "404"},
		"a path out, escaped":        {request("GET /%2e%2e/%2e%2e/etc/passwd", ""), "404"},
		"a path that is not clean":   {request("GET //version", ""), "404"},
		"a path with a dot":          {request("GET /x/../version", ""), "404"},
		"a bad escape":               {request("GET /%zz", ""), "400"},
		"a zero in the path":         {request("GET /%00", ""), "404"},
		"a query with a bad escape":  {request("GET /version?a=%zz", ""), "400"},
		"a query with a semicolon":   {request("GET /version?a=1;b=2", ""), "400"},
		"a chunk of noise":           {request("POST /version", "Transfer-Encoding: chunked\r\n") + "zz\r\nx", "405"},
		"a chunk longer than memory": {request("POST /version", "Transfer-Encoding: chunked\r\n") + "fffffffffffffffff\r\nx", "405"},
		"a body that ends early":     {request("POST /version", "Content-Length: 1000\r\n") + "x", "405"},
	} {
		answer := r.speak(c.sent)
		status := ""
		if fields := strings.Fields(answer); len(fields) > 1 && strings.HasPrefix(answer, "HTTP/1.") {
			status = fields[1]
		}
		if status != c.status || strings.Count(answer, "HTTP/1.") > 1 {
			t.Errorf("%s: got %.300q, not status %q", name, answer, c.status)
		}
		if status >= "400" {
			var p problem
			_, body, _ := strings.Cut(answer, "\r\n\r\n")
			if err := json.Unmarshal([]byte(body), &p); err != nil || fmt.Sprint(p.Status) != status || p.Code == "" || p.Detail == "" ||
				!strings.Contains(answer, "\r\nContent-Type: "+typeProblem+"\r\n") || !strings.Contains(answer, "\r\nX-Content-Type-Options: nosniff\r\n") {
				t.Errorf("%s: got %.1000q, which is no problem document", name, answer)
			}
		}
	}
	r.isWhole()
}

// A request whose length and chunks differ is understood by its chunks, as RFC 9112 has it: what follows
// them is a request of its own, and never the other way round.
func TestLengthAndChunks(t *testing.T) {
	r := newRig(t, Options{})
	answer := r.speak(request("GET /version", "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\nGARBAGE\r\n\r\n")
	if !strings.HasPrefix(answer, "HTTP/1.1 200 ") || strings.Count(answer, "HTTP/1.1 ") != 2 || !strings.Contains(answer, "HTTP/1.1 400 ") || !strings.Contains(answer, `"code":"BADREQUEST"`) {
		t.Errorf("got %q", answer)
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	r := newRig(t, Options{})
	const n = 500
	var all strings.Builder
	for i := range n {
		all.WriteString(request(fmt.Sprintf("GET /nothing/%d", i), ""))
	}
	conn := r.raw("")
	go func() {
		io.WriteString(conn, all.String())
		conn.CloseWrite()
	}()
	answers := bufio.NewReader(conn)
	for i := range n {
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		var p problem
		if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if want := fmt.Sprintf("/nothing/%d", i); !strings.Contains(p.Detail, `"`+want+`"`) {
			t.Fatalf("answer %d is %+v", i, p)
		}
	}
}

// A client that closes its sending side behind the request, as nc -N does, is answered.
func TestHalfClosedClientIsAnswered(t *testing.T) {
	r := newRig(t, Options{Version: "1"})
	if answer := r.speak(request("GET /version", "")); !strings.HasSuffix(answer, `{"version":"1"}`+"\n") {
		t.Errorf("got %q", answer)
	}
}

// Clients that are slow beyond the limits are cut off: those that send headers a byte at a time or none at
// all without a word, those that stop in a body with a problem, where there is a request to answer.
func TestSlowClientsAreCutOff(t *testing.T) {
	r := newRig(t, Options{})
	r.limit(func(l *broker.Limits) {
		l.HTTPHeaderTime, l.HTTPIdleTime, l.HTTPBodyTime = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
	})
	var clients sync.WaitGroup
	for name, sent := range map[string]string{
		"silent":                 "",
		"in the request line":    "GET /ver",
		"in the headers":         "GET /version HTTP/1.1\r\nHost: localhost\r\nX: ",
		"idle after a request":   request("GET /version", ""),
		"in a body":              request("POST /version", "Content-Length: 10\r\n") + "x",
		"in a chunk":             request("POST /version", "Transfer-Encoding: chunked\r\n") + "5\r\nx",
		"in a body that waits":   request("POST /version", "Expect: 100-continue\r\nContent-Length: 10\r\n"),
		"in a body of OPTIONS *": request("OPTIONS *", "Content-Length: 10\r\n"),
	} {
		conn := r.raw(sent)
		_ = conn.SetDeadline(time.Now().Add(patience))
		clients.Go(func() {
			if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: the server does not close: %v", name, err)
			}
		})
	}
	clients.Wait()
}

// A client that waits to be asked for the body is asked when the operation wants it, and told of a problem before.
func TestBodyThatWaitsToBeAskedFor(t *testing.T) {
	r := newRig(t, Options{})
	conn := r.raw(request("POST /topics/t", "Content-Length: 3\r\nExpect: 100-continue\r\n"))
	answers := bufio.NewReader(conn)
	if line, err := answers.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	io.WriteString(conn, "abc")
	for line := ""; !strings.HasPrefix(line, "HTTP/1.1 200 "); {
		var err error
		if line, err = answers.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	conn = r.raw(request("POST /topics/t?nonsense", "Content-Length: 3\r\nExpect: 100-continue\r\n"))
	if status, answer := r.answer(bufio.NewReader(conn)); status != http.StatusBadRequest {
		t.Errorf("status %d: %s", status, answer)
	}
}

// A stop ends connections at once in whatever state their requests are: it has all the time in the world here.
func TestStopEndsConnectionsInEachState(t *testing.T) {
	r := newRig(t, Options{})
	for _, sent := range []string{
		"", "GET /ver", request("GET /version", ""), request("POST /version", "Content-Length: 10\r\n") + "x",
		request("POST /version", "Transfer-Encoding: chunked\r\n") + "5\r\n",
	} {
		r.raw(sent)
	}
	r.isWhole() // those before it are served, too, or wait in line
	r.server.Stop(context.Background())
	if conn, err := net.Dial("tcp", r.host); err == nil {
		conn.Close()
		t.Error("connections are taken after the stop")
	}
}

// Connections beyond the limit get a well-formed answer that says so, and the others go on.
func TestConnectionsBeyondTheLimit(t *testing.T) {
	const limit = 5
	r := newRig(t, Options{})
	r.limit(func(l *broker.Limits) { l.MaxConnections = limit })
	ask := func() (*net.TCPConn, *http.Response) {
		conn := r.raw(request("GET /version", ""))
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		return conn, resp
	}
	var open []*net.TCPConn
	for range limit {
		conn, resp := ask()
		if resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status)
		}
		open = append(open, conn)
	}
	for range 10 {
		_, resp := ask()
		var p problem
		if err := json.NewDecoder(resp.Body).Decode(&p); err != nil || resp.StatusCode != http.StatusServiceUnavailable ||
			p.Code != "BUSY" || resp.Header.Get("Retry-After") == "" {
			t.Fatalf("%v, %+v, %v", resp, p, err)
		}
	}
	io.WriteString(open[0], request("GET /version", ""))
	if resp, err := http.ReadResponse(bufio.NewReader(open[0]), nil); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("a connection that was there before is harmed: %v, %v", resp, err)
	}
}

// A thousand clients stall in the middle of a large message. Those for which the budget has no memory are
// refused at once, the others take what it has and no more, and all of it comes back.
func TestStalledBodiesTakeNoMoreThanTheBudget(t *testing.T) {
	const clients, sent, budget = 1000, 100 << 10, 8 << 20
	const fit = budget / sent // clients at most that the memory is enough for
	r := newRig(t, Options{})
	r.limit(func(l *broker.Limits) { l.MaxInFlight = budget })
	before := usedBytes()
	part := strings.Repeat("x", sent)
	answers := make(chan string)
	conns := make([]*net.TCPConn, clients)
	for i := range conns {
		kind := []string{"text/plain", "text/plain;lines", "application/x-ndjson"}[i%3]
		c := r.raw(request("POST /topics/t", "Content-Length: 200000\r\nContent-Type: "+kind+"\r\n"))
		_ = c.SetDeadline(time.Now().Add(patience))
		conns[i] = c
		go io.WriteString(c, part) // fails where the client is refused
		go func() {
			p, _ := io.ReadAll(c) // a reset ends it, too
			answers <- string(p)
		}()
	}
	for range clients - fit {
		if a := <-answers; !strings.Contains(a, delivery.ErrMemory.Error()) {
			t.Errorf("got %q", a)
		}
	}
	if took := usedBytes() - before; took > budget+clients*(40<<10) && !brokertest.Race {
		t.Errorf("%d stalled clients take %d KiB", clients, took>>10)
	} else {
		t.Logf("%d stalled clients take %d KiB", clients, took>>10)
	}
	for _, c := range conns {
		c.CloseWrite()
	}
	for range fit {
		<-answers
	}
	if !r.broker.Budget.Take(budget) {
		t.Error("memory was not given back")
	}
	r.broker.Budget.Give(budget)
}

// usedBytes is the memory in use.
func usedBytes() int64 {
	for range 2 { // pools keep what they have for one more collection
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// browserRequest is a request as its headers have it; pairs of name and value.
func browserRequest(method, url string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, url, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

// Requests that change something are refused where a page of another site may have made them.
func TestGuardOfOrigins(t *testing.T) {
	const (
		bus    = "http://192.0.2.1:9992/topics/orders/messages"
		chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"
	)
	for name, c := range map[string]struct {
		method  string
		headers []string
		refused bool
	}{
		"curl reads":                        {"GET", nil, false},
		"curl writes":                       {"POST", nil, false},
		"its own page writes":               {"POST", []string{"Sec-Fetch-Site", "same-origin", "Origin", "http://192.0.2.1:9992"}, false},
		"its own page, older":               {"POST", []string{"Origin", "http://192.0.2.1:9992"}, false},
		"typed":                             {"GET", []string{"Sec-Fetch-Site", "none", "User-Agent", chrome}, false},
		"another site writes":               {"POST", []string{"Sec-Fetch-Site", "cross-site"}, true},
		"another port writes":               {"POST", []string{"Sec-Fetch-Site", "same-site"}, true},
		"another site's image":              {"GET", []string{"Sec-Fetch-Site", "cross-site", "User-Agent", chrome}, true},
		"another origin, older":             {"POST", []string{"Origin", "http://attacker.example"}, true},
		"another port, older":               {"POST", []string{"Origin", "http://192.0.2.1:80"}, true},
		"a sandbox":                         {"POST", []string{"Origin", "null"}, true},
		"a header of noise":                 {"POST", []string{"Sec-Fetch-Site", "same-origin, cross-site"}, true},
		"prefetched":                        {"GET", []string{"Sec-Fetch-Site", "none", "Sec-Purpose", "prefetch;prerender"}, true},
		"prefetched, older":                 {"GET", []string{"Purpose", "prefetch"}, true},
		"another site's image, without TLS": {"GET", []string{"User-Agent", chrome}, true},
		"the same with its name":            {"GET", []string{"User-Agent", chrome, "Referer", "http://attacker.example/192.0.2.1:9992/"}, true},
		"its own stream, without TLS":       {"GET", []string{"User-Agent", chrome, "Referer", "http://192.0.2.1:9992/"}, false},
		"a look, without TLS":               {"HEAD", []string{"User-Agent", chrome}, true},
	} {
		err := newGuard(nil).checkOrigin(browserRequest(c.method, bus, c.headers...))
		if (err != nil) != c.refused {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && toProblem(err).Status != http.StatusForbidden {
			t.Errorf("%s: status %d", name, toProblem(err).Status)
		}
	}
}

func TestGuardOfHosts(t *testing.T) {
	loop, net4 := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}
	local6 := &net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0"}
	for _, c := range []struct {
		host string
		at   *net.TCPAddr
		own  bool
	}{
		{"localhost:1", loop, true},
		{"LOCALHOST.", loop, true},
		{"127.0.0.2", loop, true},
		{"[::1]:5", loop, true},
		{"[::1]", loop, true},
		{"bus.example", loop, true},
		{"BUS.example.:1", net4, true},
		{"192.0.2.1:9992", net4, true},
		{"", net4, true},
		{"[::ffff:192.0.2.1]:1", net4, true},
		{"[fe80::1]:1", local6, true},
		{"localhost", net4, true},
		{"127.0.0.1:80", net4, true},
		{"192.0.2.2", net4, false},
		{"192.0.2.1", loop, false},
		{"attacker.example", loop, false},
		{"localhost.attacker.example", loop, false},
		{"x.bus.example", loop, false},
		{"0.0.0.0", loop, false},
		{"127.1", loop, false},
		{"2130706433", loop, false},
		{"[[::1]]", loop, false},
		{":1", loop, false},
		{"localhost:1:2", loop, false},
		{"bus.example@attacker.example", loop, false},
	} {
		if own := newGuard([]string{"Bus.Example"}).isOwnHost(c.host, c.at); own != c.own {
			t.Errorf("%q at %v: %v", c.host, c.at, own)
		}
	}
}

// Each operation that changes something refuses the pages of other sites, and each that is not a GET does change
// something.
func TestEachChangeIsGuarded(t *testing.T) {
	r := newRig(t, Options{})
	for _, op := range operations() {
		if !op.changes {
			if op.method != http.MethodGet {
				t.Errorf("%s %s changes nothing, it says", op.method, op.path)
			}
			continue
		}
		path := strings.NewReplacer("{", "", "}", "", "...", "").Replace(op.path)
		for _, headers := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "http://attacker.example"}, {"Origin", "null"}} {
			if answer := r.must(http.StatusForbidden, op.method, path, "", headers...); !strings.Contains(answer, "another site") {
				t.Errorf("%s %s: %s", op.method, op.path, answer)
			}
		}
	}
}

// FuzzRequest: whatever the method and the target of a request, it is refused in good order or finds an
// operation whose path, with the values found, is the request's.
func FuzzRequest(f *testing.F) {
	for _, target := range []string{"/version", "//version", "/topics/a%2Fb", "/topics/../x?n=1", "*", "/%zz", "http://localhost/version?", "/topics/%00/messages?group=%ff"} {
		f.Add("GET", target)
	}
	router := newRouter(operations())
	f.Fuzz(func(t *testing.T, method, target string) {
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(method + " " + target + " HTTP/1.1\r\nHost: localhost\r\n\r\n")))
		if err != nil {
			return
		}
		op, err := router.find(req)
		if err == nil {
			names, values := strings.Split(op.path, "/"), strings.Split(req.URL.EscapedPath(), "/")
			for i, name := range names {
				if !strings.HasPrefix(name, "{") && (i >= len(values) || name != values[i]) {
					t.Fatalf("%q is taken for %q", target, op.path)
				}
			}
			err = (&call{op: op, r: req}).readQuery()
		}
		if err != nil && !json.Valid(toProblem(err).document()) {
			t.Fatalf("%v: %s", err, toProblem(err).document())
		}
	})
}
