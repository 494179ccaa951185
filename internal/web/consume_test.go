package web

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"mbus/internal/broker"
	"mbus/internal/tcpserver"
	"mbus/internal/units"
)

const (
	never  = time.Hour // longer than any test waits
	moment = 50 * time.Millisecond
)

func TestDrainGivesEachMessageOnceToAGroup(t *testing.T) {
	r := newRig(t, Options{NodeID: 7})
	r.publishTo("orders", 0, "first", "second")
	if got := r.drain("orders"); got != "first\nsecond\n" {
		t.Errorf("got %q", got)
	}
	r.awaitAlone("default")
	if got := r.drain("orders"); got != "" {
		t.Errorf("again: %q", got)
	}
	if got := r.drain("orders?group=billing&n=1"); got != "first\n" {
		t.Errorf("n=1: %q", got)
	}
	r.awaitAlone("billing")
	want := `{"topic":"orders","partition":0,"offset":1,"tstype":"create","ts":1718017201000,"broker":7,"key":null,"payload":"second"}` + "\n"
	if got := r.drain("orders?group=billing", "Accept", "application/x-ndjson"); got != want {
		t.Errorf("JSON: %s", got)
	}
	if got := r.drain("orders?from=-1&keyed"); got != "\tsecond\n" {
		t.Errorf("from=-1: %q", got)
	}
	if got := r.drain("none"); got != "" {
		t.Errorf("a topic that does not exist: %q", got)
	}
}

func TestAnswerSaysWhatItIs(t *testing.T) {
	r := newRig(t, Options{})
	r.publish("orders", "first")
	for _, c := range []struct{ query, accept, want string }{
		{"", "", "text/plain; charset=utf-8"},
		{"", "*/*", "text/plain; charset=utf-8"},
		{"", "text/html,application/xhtml+xml,*/*;q=0.8", "text/plain; charset=utf-8"},
		{"", "application/json", "application/x-ndjson"},
		{"", "*/*, application/x-ndjson", "application/x-ndjson"},
		{"", "text/plain;q=0.5, text/event-stream;q=0.9, application/json;q=x", "text/event-stream"},
		{"?format=json", "text/plain", "application/x-ndjson"},
		{"?format=sse", "*/*", "text/event-stream"},
	} {
		for _, method := range []string{"HEAD", "GET"} {
			status, _, h := r.do(method, "/topics/orders/messages"+c.query, "", "Accept", c.accept)
			if got := h.Get("Content-Type"); status != http.StatusOK || got != c.want {
				t.Errorf("%s %+v: %d %q", method, c, status, got)
			}
			if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Content-Security-Policy") == "" {
				t.Errorf("%s: the guard's headers are missing: %v", method, h)
			}
			if c.query == "" && c.accept == "" && method == "HEAD" && r.committed("default", "orders") != 0 {
				t.Error("HEAD consumes")
			}
		}
	}
	r.must(http.StatusNotAcceptable, "GET", "/topics/orders/messages", "", "Accept", "image/png, text/plain;q=0")
}

func TestRequestsForMessagesThatAreWrong(t *testing.T) {
	r := newRig(t, Options{})
	r.publish("orders", "first")
	for _, query := range []string{
		"orders?n=0", "orders?n=x", "orders?n=+1", "orders?from=elsewhere", "orders?from=0&group=a", "orders?from=0&start=end", "orders?start=middle",
		"orders?group=a%2Fb", "orders?group=", "orders?keyed&format=json", "orders?format=batch", "orders?follow=maybe", "orders?partition=-1",
		"orders?partition=1,", "orders?partition=", "orders?what=1", "orders?n=1&n=2", "a%2Fb", "orders?format=",
	} {
		topic, query, _ := strings.Cut(query, "?")
		answer := r.must(http.StatusBadRequest, "GET", "/topics/"+topic+"/messages?"+query, "")
		if !strings.Contains(answer, `"code":"BADREQUEST"`) {
			t.Errorf("%s: %s", query, answer)
		}
	}
	r.must(http.StatusBadRequest, "GET", "/topics/orders/messages?partition=1", "")
	r.must(http.StatusBadRequest, "GET", "/topics/orders/messages?from=2", "")
	if got := r.drain("orders"); got != "first\n" {
		t.Errorf("something was consumed: %q", got)
	}
}

func TestFromATimeWithAZone(t *testing.T) {
	r := newRig(t, Options{})
	r.publishTo("orders", 0, "of 2024-06-10, 11:00:01 UTC")
	for query, want := range map[string]int{"2024-06-10T13:00:00+02:00": 1, "2024-06-10T13:00:02%2B02:00": 0, "2024-06-10+11:00:00": 1, "2024-06-10T11:00:02Z": 0} {
		if got := r.drain("orders?from=" + query); strings.Count(got, "\n") != want {
			t.Errorf("%s: %q", query, got)
		}
	}
}

// A browser may load a page before its user wants it.
func TestNothingIsConsumedAhead(t *testing.T) {
	r := newRig(t, Options{})
	r.publish("orders", "first")
	r.must(http.StatusForbidden, "GET", "/topics/orders/messages", "", "Sec-Purpose", "prefetch;prerender")
	r.must(http.StatusForbidden, "GET", "/topics/orders/messages", "", "Sec-Fetch-Site", "cross-site")
	for _, query := range []string{"", "?group=default&follow", "?n=1&format=json"} {
		if got := r.must(http.StatusForbidden, "GET", "/topics/orders/messages"+query, "", "Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate"); !strings.Contains(got, "with from=beginning they are shown") {
			t.Errorf("a link gets %s", got)
		}
	}
	if got := r.drain("orders?from=beginning", "Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate"); got != "first\n" {
		t.Errorf("a link that reads gets %q", got)
	}
	if got := r.drain("orders", "Sec-Fetch-Site", "none"); got != "first\n" {
		t.Errorf("got %q", got)
	}
}

func TestOnlySomePartitions(t *testing.T) {
	r := newRig(t, Options{})
	r.partitions("orders", 3)
	for i, m := range []string{"zero", "one", "two"} {
		r.publishTo("orders", i, m)
	}
	if got := r.drain("orders?partition=2,0"); got != "zero\ntwo\n" {
		t.Errorf("got %q", got)
	}
	r.awaitAlone("default")
	if got := r.drain("orders"); got != "one\n" {
		t.Errorf("the rest: %q", got)
	}
}

func TestHTTP10GetsABodyToTheEnd(t *testing.T) {
	r := newRig(t, Options{})
	r.limit(func(l *broker.Limits) { l.ResetTime, l.CloseTime = never, never })
	r.publish("orders", "first", "second")
	c := r.send("GET /topics/orders/messages HTTP/1.0\r\nHost: localhost\r\n\r\n")
	p, err := io.ReadAll(c.r)
	head, body, _ := strings.Cut(string(p), "\r\n\r\n")
	if err != nil || body != "first\nsecond\n" || strings.Contains(head, "Transfer-Encoding") {
		t.Fatalf("%v, %s", err, p)
	}
	c.Close()
	r.awaitAlone("default")
	if got := r.drain("orders"); got != "" {
		t.Errorf("again: %q", got)
	}
}

func TestCloseAfterTheLastChunkConsumes(t *testing.T) {
	r := newRig(t, Options{})
	r.limit(func(l *broker.Limits) { l.ResetTime, l.CloseTime = never, never })
	for _, messages := range [][]string{{"first", "second"}, numbered(2000, 500)} {
		r.publish("orders", messages...)
		c := r.get("orders/messages")
		if got := c.body(); got != join(messages) {
			t.Fatalf("got %d bytes", len(got))
		}
		c.Close()
		r.awaitAlone("default")
		if got := r.drain("orders"); got != "" {
			t.Errorf("again: %d bytes", len(got))
		}
	}
}

func TestNothingIsConsumedUntilTheClientCloses(t *testing.T) {
	r := newRig(t, Options{})
	r.limit(func(l *broker.Limits) { l.ResetTime, l.CloseTime, l.SettleTime = never, never, moment })
	r.publish("orders", "first")
	c := r.get("orders/messages")
	if got := c.body(); got != "first\n" {
		t.Fatalf("got %q", got)
	}
	if n := r.committed("default", "orders"); n != 0 {
		t.Errorf("%d are consumed", n)
	}
	c.reset()
	r.awaitAlone("default")
	if got := r.drain("orders"); got != "first\n" {
		t.Errorf("after a reset: %q", got)
	}
}

func TestClientThatDoesNotReadToTheEndConsumesNothing(t *testing.T) {
	r := newRig(t, Options{})
	r.limit(func(l *broker.Limits) { l.CloseTime = never })
	messages := numbered(2000, 500)
	r.publish("orders", messages...)
	ends := map[string]func(*client){
		"reset":            (*client).reset,
		"close":            func(c *client) { c.Close() },
		"half close, then": func(c *client) { c.CloseWrite(); c.reset() },
	}
	for name, end := range ends {
		c := r.get("orders/messages")
		p := make([]byte, 1000)
		if _, err := io.ReadFull(c.response(http.StatusOK).Body, p); err != nil {
			t.Fatal(err)
		}
		end(c)
		r.awaitAlone("default")
		if n := r.committed("default", "orders"); n != 0 {
			t.Errorf("%s: %d are consumed", name, n)
		}
	}
	if got := r.drain("orders"); got != join(messages) {
		t.Errorf("got %d bytes", len(got))
	}
}

func TestHalfCloseBehindTheRequestConsumes(t *testing.T) {
	r := newRig(t, Options{})
	r.limit(func(l *broker.Limits) { l.CloseTime = never })
	r.publish("orders", "first")
	c := r.get("orders/messages")
	c.CloseWrite()
	if got := c.body(); got != "first\n" {
		t.Errorf("got %q", got)
	}
	r.awaitAlone("default")
	if got := r.drain("orders"); got != "" {
		t.Errorf("again: %q", got)
	}
}

func TestReaderThatStallsIsCutOffAndConsumesNothing(t *testing.T) {
	r := newRig(t, Options{})
	r.limit(func(l *broker.Limits) { l.WriteTime = 4 * moment })
	messages := numbered(20_000, 500)
	r.publish("orders", messages...)
	c := r.get("orders/messages")
	c.response(http.StatusOK)
	r.awaitAlone("default")
	if n := r.committed("default", "orders"); n != 0 {
		t.Errorf("%d are consumed", n)
	}
	if _, err := io.Copy(io.Discard, c.r); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the answer ends with %v", err)
	}
}

// It has read all messages, and does not know that they are all: it may have seen enough.
func TestClientThatClosesBeforeTheLastChunkConsumesNothing(t *testing.T) {
	r := newRig(t, Options{})
	r.limit(func(l *broker.Limits) { l.HalfCloseTime, l.ResetTime, l.CloseTime = never, never, never })
	r.publish("orders", "first", "second")
	c := r.get("orders/messages")
	body := c.response(http.StatusOK).Body
	if _, err := io.ReadFull(body, make([]byte, len("first\nsecond\n"))); err != nil {
		t.Fatal(err)
	}
	c.Close()
	r.awaitAlone("default")
	if n := r.committed("default", "orders"); n != 0 {
		t.Errorf("%d are consumed", n)
	}
}

// What a client sends behind its request is no other request: the answer says that the connection
// closes.
func TestRequestBehindADrainIsNotServed(t *testing.T) {
	r := newRig(t, Options{})
	r.publish("orders", "first")
	const request = "GET /topics/orders/messages HTTP/1.1\r\nHost: localhost\r\n\r\n"
	c := r.send(request + request)
	if got := c.body(); got != "first\n" {
		t.Errorf("got %q", got)
	}
	if p, err := io.ReadAll(c.r); len(p) > 0 || err != nil {
		t.Errorf("%q, %v", p, err)
	}
}

func TestMessagesOfAnySize(t *testing.T) {
	r := newRig(t, Options{})
	var messages []string
	for _, n := range []int{0, 1, 4 << 10, 64<<10 - 1, 64 << 10, 100_000, 1_000_000, 1} {
		messages = append(messages, strings.Repeat("x", n))
	}
	for _, m := range messages {
		r.publish("orders", m)
	}
	if got := r.drain("orders"); got != join(messages) {
		t.Errorf("got %d bytes, want %d", len(got), len(join(messages)))
	}
}

// stub is a connection that is never used.
type stub struct{ tcpserver.Conn }

func FuzzConsumeRequest(f *testing.F) {
	r := newRig(f, Options{})
	r.partitions("orders", 3)
	f.Add("group=a&start=end&n=3&follow&partition=2,0", "*/*;q=0.1, text/event-stream", "0:0,2:0")
	f.Add("from=-10&format=json", "", "")
	f.Add("from=2%3A0&id=00000000-0000-0000-0000-000000000000&keyed=false", "application/*;q=1.5", "x")
	f.Add("format=cloudevents-binary&n=1", ",;=", "99999999999999999999:1")
	f.Fuzz(func(t *testing.T, query, accept, last string) {
		op := consumeOperations()[0]
		req := &http.Request{Method: "GET", URL: &url.URL{RawQuery: query}, Header: http.Header{"Accept": {accept}, http.CanonicalHeaderKey(lastEventID): {last}}, RemoteAddr: "client"}
		req.SetPathValue("topic", "orders")
		c := &call{server: r.server, op: &op, r: req, w: &writer{ResponseWriter: httptest.NewRecorder()}, conn: newConn(stub{}, 0, nil), view: r.broker.As(broker.Self)}
		err := c.readQuery()
		var k *consumer
		if err == nil {
			k, err = newConsumer(c)
		}
		if err != nil {
			if p := toProblem(err); p.Status < 400 || p.Status > 499 {
				t.Fatalf("%+v", p)
			}
			return
		}
		o := k.options
		if o.N < 0 || !slices.IsSorted(o.Partitions) || len(slices.Compact(slices.Clone(o.Partitions))) != len(o.Partitions) {
			t.Errorf("%+v", o)
		}
		if (o.From == nil) == (o.Group == "") || o.From != nil && o.StartEnd || k.again != nil && (o.From != nil || len(k.again.Partitions) == 0) {
			t.Errorf("%+v", o)
		}
		if text := k.sink.places.append(nil); len(text) > 0 {
			at, err := units.ParsePosition(string(text), time.Time{}, time.UTC)
			if err != nil || !maps.Equal(at.Partitions, k.sink.places.position().Partitions) {
				t.Errorf("%q: %v", text, err)
			}
		}
	})
}

func TestRangesAndBodiesOfARequestForMessagesMeanNothing(t *testing.T) {
	r := newRig(t, Options{})
	r.publish("orders", "first")
	for i, header := range []string{"Range: bytes=0-1", "Range: nonsense", "Content-Length: 3", "Transfer-Encoding: chunked", "Expect: 100-continue\r\nContent-Length: 3"} {
		c := r.get(fmt.Sprintf("orders/messages?group=g%d", i), header)
		if _, err := io.WriteString(c, "0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if got := c.body(); got != "first\n" {
			t.Errorf("%s: %q", header, got)
		}
		c.Close()
		r.awaitAlone(fmt.Sprintf("g%d", i))
		if n := r.committed(fmt.Sprintf("g%d", i), "orders"); n != 1 {
			t.Errorf("%s: %d are consumed", header, n)
		}
	}
}
