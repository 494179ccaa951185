package web

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mbus/internal/broker"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
)

// notPlain is a header that says nothing, and has net/http read the request.
const notPlain = "X-Other: x\r\n"

// plainPost is the text of a plain request, with more headers.
func plainPost(topic, headers, body string) string {
	return fmt.Sprintf("POST /topics/%s HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %d\r\n\r\n%s", topic, headers, len(body), body)
}

var changing = regexp.MustCompile(`Date: [^\r]*|"offset":\d+|Content-Length: (39|40)`) // of an offset with one digit, or two

// An answer is the same, byte by byte, as that to a request that net/http reads.
func TestPlainRequestsAreAnsweredAsByNetHTTP(t *testing.T) {
	r := newRigOver(t, Options{}, func(s store.Store) store.Store {
		f := &storefault.Store{Store: s}
		f.Append = func(inner store.Partition, topic string, batches []byte, done func(int64, error)) error {
			switch topic {
			case "refused":
				return store.ErrFailed
			case "failed":
				done(0, store.ErrFailed)
				return nil
			}
			lead, err := inner.Write(batches, done)
			lead.Go()
			return err
		}
		return f
	})
	for name, request := range map[string]func(headers string) string{
		"a message":    func(h string) string { return plainPost("t", h, "m") },
		"an empty one": func(h string) string { return plainPost("t", h, "") },
		"with a key":   func(h string) string { return plainPost("t", h+"Mbus-Key: k\r\n", "m") },
		"of JSON": func(h string) string {
			return plainPost("t", h+"content-type: application/JSON\r\nAccept: */*\r\n", "{}")
		},
		"refused":      func(h string) string { return plainPost("refused", h, "m") },
		"failed":       func(h string) string { return plainPost("failed", h, "m") },
		"a bad name":   func(h string) string { return plainPost("..", h, "m") },
		"an own topic": func(h string) string { return plainPost("__delayed", h, "m") },
		"another host": func(h string) string {
			return strings.Replace(plainPost("t", h, "m"), "localhost", "attacker.example", 1)
		},
		"and a close":    func(h string) string { return plainPost("t", h+"Connection: close\r\n", "m") },
		"and a last one": func(h string) string { return plainPost("t", h, "m") + plainPost("t", h+"Connection: close\r\n", "m") },
	} {
		ours, theirs := r.speak(request("")), r.speak(request(notPlain))
		if ours, theirs = changing.ReplaceAllString(ours, ""), changing.ReplaceAllString(theirs, ""); ours != theirs || ours == "" {
			t.Errorf("%s: got\n%s\nand by net/http\n%s", name, ours, theirs)
		}
	}
}

// A request with a password or a token is answered as by net/http, too, and over TLS. net/http has no part in it as long as the
// log-ins are right.
func TestPlainRequestsOfUsersAreAnsweredAsByNetHTTP(t *testing.T) {
	var plain, other atomic.Int32
	r := newRigOver(t, Options{}, func(s store.Store) store.Store {
		f := &storefault.Store{Store: s}
		f.Append = func(inner store.Partition, topic string, batches []byte, done func(int64, error)) error {
			if topic == "t" && bytes.Contains(debug.Stack(), []byte("net/http.(*conn).serve")) {
				other.Add(1)
			} else if topic == "t" {
				plain.Add(1)
			}
			lead, err := inner.Write(batches, done)
			lead.Go()
			return err
		}
		return f
	})
	r.publish("secret", "m")
	alice := r.addUser("alice", "password", "publish topic t")
	r.addUser("bob", "password", "publish topic bob")
	_, port := r.serveTLS()
	right, wrong := header(basic("alice:password")), header(basic("alice:Password"))
	close := "Connection: close\r\n"
	for name, x := range map[string]struct {
		request func(h string) string
		plain   int32
	}{
		"a password":       {func(h string) string { return plainPost("t", h+right, "m") }, 1},
		"a token":          {func(h string) string { return plainPost("t", h+header("Bearer "+alice.secret), "m") }, 1},
		"a password twice": {func(h string) string { return plainPost("t", h+right, "m") + plainPost("t", h+right+close, "m") }, 1},
		"and another user": {func(h string) string {
			return plainPost("t", h+right, "m") + plainPost("t", h+header(basic("bob:password")), "m")
		}, 1},
		"and nobody":         {func(h string) string { return plainPost("t", h+right, "m") + plainPost("t", h, "m") }, 1},
		"and a wrong one":    {func(h string) string { return plainPost("t", h+right, "m") + plainPost("t", h+wrong, "m") }, 1},
		"a wrong password":   {func(h string) string { return plainPost("t", h+wrong, "m") }, 0},
		"a wrong name":       {func(h string) string { return plainPost("t", h+header(basic("eve:password")), "m") }, 0},
		"no base64":          {func(h string) string { return plainPost("t", h+header("Basic -"), "m") }, 0},
		"what is not theirs": {func(h string) string { return plainPost("secret", h+right, "m") }, 0},
	} {
		plain.Store(0)
		ours := r.speak(x.request(""))
		if n := plain.Load(); n != x.plain {
			t.Errorf("%s: %d messages were published without net/http, not %d", name, n, x.plain)
		}
		answers := map[string]string{"by net/http": r.speak(x.request(notPlain))}
		if !strings.Contains(name, "wrong") { // which is slowed
			answers["over TLS"] = r.speakTLS(port, x.request(""))
		}
		plainly := changing.ReplaceAllString(ours, "")
		for way, answer := range answers {
			if answer = changing.ReplaceAllString(answer, ""); answer != plainly || answer == "" {
				t.Errorf("%s: got\n%s\nand %s\n%s", name, plainly, way, answer)
			}
		}
	}
	if other.Load() == 0 {
		t.Error("net/http publishes without its name on the stack")
	}
}

func header(authorization string) string { return "Authorization: " + authorization + "\r\n" }

func basic(login string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(login))
}

// speakTLS is speak over TLS.
func (r *rig) speakTLS(port, text string) string {
	r.Helper()
	conn, err := tls.Dial("tcp", "127.0.0.1:"+port, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		r.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	go func() {
		io.WriteString(conn, text) // as in speak
		conn.CloseWrite()
	}()
	answer, _ := io.ReadAll(conn)
	return string(answer)
}

// Plain requests and others of one connection, in any packets, are answered in order, each once.
func TestPlainRequestsInPiecesAndAmongOthers(t *testing.T) {
	r := newRig(t, Options{})
	r.limit(func(l *broker.Limits) { l.HTTPHeaderTime, l.HTTPBodyTime = time.Hour, time.Hour }) // each connection waits for all before it
	text := plainPost("t", "", "first") + plainPost("u", "User-Agent: x\r\n", "second\r\n") + "\r\n" + plainPost("t", "", "third") +
		plainPost("t", notPlain, "fourth") + plainPost("t", "", "fifth")
	var conns []*net.TCPConn
	for at := range len(text) {
		conns = append(conns, r.raw(text[:at]))
	}
	for at, conn := range conns {
		io.WriteString(conn, text[at:])
		in := bufio.NewReader(conn)
		last := -1
		for i, topic := range []string{"t", "u", "t", "t", "t"} {
			_ = conn.SetDeadline(time.Now().Add(patience))
			status, answer := r.answer(in)
			var offset int
			_, err := fmt.Sscanf(answer, `{"topic":"`+topic+`","partition":0,"offset":%d}`, &offset)
			if status != http.StatusOK || err != nil || topic == "t" && offset <= last {
				t.Fatalf("in two pieces, the first of %d bytes: request %d: status %d: %s", at, i, status, answer)
			}
			if topic == "t" {
				last = offset
			}
		}
	}
	n := int64(len(text))
	if all, more := r.count("t"), r.count("u"); all != 4*n || more != n {
		t.Errorf("%d and %d messages are stored of %d and %d", all, more, 4*n, n)
	}
}

// What a connection has read of a request is given back with the connection, whatever becomes of it.
func TestMemoryOfPlainRequestsIsGivenBack(t *testing.T) {
	r := newRig(t, Options{})
	r.limit(func(l *broker.Limits) { l.MaxInFlight = 1 << 20 })
	half := plainPost("t", "", strings.Repeat("x", 10<<10))
	half = half[:len(half)-1]
	last := strings.Repeat(plainPost("t", "", "m"), 700) + request("GET /version", "Connection: close\r\n") + strings.Repeat("x", 64<<10)
	for _, text := range []string{half, half + "x" + half, last, plainPost("t", "", "m") + strings.Repeat(request("GET /version", ""), 1000)} {
		conn := r.raw(text)
		conn.CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
		conn.Close()
	}
	r.stop()
	if !r.broker.Budget.Take(1 << 20) {
		t.Error("memory is missing")
	}
}

// A panic ends its connection, and no other.
func TestAPanicInAPlainRequest(t *testing.T) {
	r := newRigOver(t, Options{}, func(s store.Store) store.Store {
		f := &storefault.Store{Store: s}
		f.Append = func(store.Partition, string, []byte, func(int64, error)) error { panic("of a test") }
		return f
	})
	if answer := r.speak(plainPost("t", "", "m")); answer != "" {
		t.Errorf("got %q", answer)
	}
	r.isWhole()
}

// A stop answers a request that is under way, and has connections without one closed.
func TestAStopUnderAPlainRequest(t *testing.T) {
	appended := make(chan func(int64, error), 1)
	var more atomic.Bool
	r := newRigOver(t, Options{}, func(s store.Store) store.Store {
		f := &storefault.Store{Store: s}
		f.Append = func(_ store.Partition, _ string, _ []byte, done func(int64, error)) error {
			if more.Swap(true) {
				done(6, nil)
			} else {
				appended <- done
			}
			return nil
		}
		return f
	})
	conn := r.raw(plainPost("t", "", "m") + plainPost("t", "", "not taken any more"))
	done := <-appended
	go r.server.Stop(t.Context())
	<-r.server.conns.Stopped()
	done(5, nil)
	_ = conn.SetDeadline(time.Now().Add(patience))
	text, err := io.ReadAll(conn)
	if answer := string(text); err != nil || strings.Count(answer, "HTTP/1.1 ") != 1 || !strings.Contains(answer, `"offset":5`) || !strings.Contains(answer, "Connection: close\r\n") {
		t.Errorf("got %q, %v", answer, err)
	}
}

// FuzzPlainRequest: net/http reads what is taken for a plain request as the same request, and what follows it as the
// same rest; no other operation, guard or option has anything to say of it. Each part of it is taken for one.
func FuzzPlainRequest(f *testing.F) {
	f.Add([]byte(plainPost("t", "", "m") + "GET"))
	f.Add([]byte(plainPost("a.b", "Mbus-Key:  k \r\nconnection: Keep-Alive\r\nUSER-agent: a:b\r\n", "")))
	f.Add([]byte(plainPost("t", "Mbus-Key:\r\nContent-Type: text/plain; charset=utf-8\r\n", "\r\n\r\n")))
	for _, odd := range []string{
		"Host: localhost\r\n", "Host:\r\n", "Content-Length: 1\r\n", "Content-Length : 1\r\n", " folded\r\n", "Transfer-Encoding: chunked\r\n",
		"Content-Type: text/plain;lines\r\n", "Connection: close\r\n", "Mbus-Key: a\r\nMbus-Key: b\r\n", "Expect: 100-continue\r\n",
		"Accept: \x00\r\n", "Accept: a\nTransfer-Encoding: chunked\r\n", "Accept: a\rX: b\r\n", "Origin: null\r\n", "Mbus-\u212Aey: k\r\n", ":\r\n", "Accept\r\n",
	} {
		f.Add([]byte(plainPost("t", odd, "m")))
	}
	f.Add([]byte(plainPost("t", "Authorization:  Basic YTpi \r\n", "m")))
	f.Add([]byte(plainPost("t", "Authorization:\r\nCookie: mbus=x\r\n", "m")))
	f.Add([]byte(plainPost("t", header("Bearer x")+header("Bearer y"), "m")))
	f.Add([]byte("POST /topics/t?key=k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0099999999\r\n\r\n"))
	guard := newGuard(nil)
	s := newRig(f, Options{}).server
	f.Fuzz(func(t *testing.T, p []byte) {
		ours, found := findPlain(p)
		if found != foundPlain {
			return
		}
		for n := range ours.size {
			if _, part := findPlain(p[:n]); part != foundPart {
				t.Fatalf("%q is taken for a request, and not its first %d bytes", p, n)
			}
		}
		in := bufio.NewReader(bytes.NewReader(p))
		theirs, err := http.ReadRequest(in)
		if err != nil {
			t.Fatalf("%q: %v", p, err)
		}
		body, err := io.ReadAll(theirs.Body)
		rest, _ := io.ReadAll(in)
		if err != nil || !bytes.Equal(body, ours.body) || !bytes.Equal(rest, p[ours.size:]) || theirs.Host != string(ours.host) || theirs.Close ||
			!slices.Equal(theirs.Header["Authorization"], authorizations(ours)) || theirs.Header["Cookie"] != nil ||
			strconv.Itoa(len(ours.body)) != strconv.FormatInt(theirs.ContentLength, 10) || len(theirs.TransferEncoding) > 0 {
			t.Fatalf("%q: net/http reads %+v, body %q, rest %q", p, theirs, body, rest)
		}
		op, err := s.router.find(theirs)
		if err != nil || op.id != "publish" || theirs.PathValue("topic") != string(ours.topic) || theirs.URL.RawQuery != "" || guard.checkOrigin(theirs) != nil {
			t.Fatalf("%q: %v, %+v, %v", p, op, theirs, err)
		}
		c := &call{server: s, op: op, r: theirs}
		m, err := c.publishOptions()
		if err != nil || m.hasKey != ours.hasKey || !bytes.Equal(m.key, ours.key) || (m.key == nil) != (ours.key == nil) ||
			m.partition >= 0 || m.hasTime || m.once != "" || m.headers != nil || c.manyOf() != nil || checkBody(c) != nil {
			t.Fatalf("%q: options %+v, %v", p, m, err)
		}
		if m.value = body; c.eventOf(m) != nil || !bytes.Equal(m.value, body) || m.headers != nil || ours.body == nil {
			t.Fatalf("%q: event %+v", p, m)
		}
	})
}

// authorizations are the headers Authorization of a plain request.
func authorizations(r plain) []string {
	if r.authorization == nil {
		return nil
	}
	return []string{string(r.authorization)}
}

// Nearly all programs that publish send plain requests.
func TestUsualRequestsArePlain(t *testing.T) {
	for name, headers := range map[string]string{
		"curl":     "Host: localhost:9992\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\nContent-Length: 1\r\nContent-Type: application/x-www-form-urlencoded\r\n",
		"Go":       "Host: 127.0.0.1:9992\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: 1\r\nContent-Type: application/octet-stream\r\nAccept-Encoding: gzip\r\n",
		"requests": "Host: [::1]:9992\r\nUser-Agent: python-requests/2.32.3\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\nContent-Length: 1\r\n",
	} {
		if _, found := findPlain([]byte("POST /topics/orders HTTP/1.1\r\n" + headers + "\r\nx")); found != foundPlain {
			t.Errorf("%s: %d", name, found)
		}
	}
	if slices.ContainsFunc([]string{"", "P", "POST /topics/t", "POST /topics/t HTTP/1.1\r\nHo"}, func(s string) bool {
		_, found := findPlain([]byte(s))
		return found != foundPart
	}) {
		t.Error("the beginning of a plain request is taken for another one")
	}
}
