package gate

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// On one connection each request is answered by the node, or by the owner.
func TestEachRequestIsJudgedByItself(t *testing.T) {
	overAll(t, func(t *testing.T, r *rig) {
		p := r.dial()
		for n := range 5 {
			p.must(200, "POST", "/topics/orders", fmt.Sprint("message ", n))
			if text := p.must(200, "GET", "/healthz", ""); text != "the node is well\n" {
				t.Fatalf("it answers %q", text)
			}
			p.must(200, "HEAD", "/topics/orders", "")
			p.must(200, "GET", "/topics/orders", "")
			p.must(404, "GET", "/topics/others", "")
			p.must(200, "HEAD", "/healthz", "")
		}
		r.mustHave("orders", "message 0", "message 1", "message 2", "message 3", "message 4")
		p.send(request("POST", "/topics/orders", "piped") + request("GET", "/healthz", "") + request("GET", "/topics/orders", ""))
		for range 3 {
			if status, _ := p.answer("GET"); status != 200 {
				t.Error(status)
			}
		}
		p.must(200, "GET", "/healthz", "", "Connection: close")
		if rest, err := io.ReadAll(p.r); len(rest) > 0 || err != nil {
			t.Errorf("%q, %v", rest, err)
		}
	})
}

// Bodies of all kinds and sizes come through, in whatever pieces.
func TestBodiesComeThrough(t *testing.T) {
	overAll(t, func(t *testing.T, r *rig) {
		p := r.dial()
		var lines, chunks strings.Builder
		for n := range 50_000 {
			text := fmt.Sprintf("message %d\n", n)
			lines.WriteString(text)
			fmt.Fprintf(&chunks, "%x;x=y\r\n%s\r\n", len(text), text)
		}
		p.must(200, "POST", "/topics/sized", lines.String())
		p.send(request("POST", "/topics/chunked", "", "Transfer-Encoding: chunked") + chunks.String() + "0\r\nX-Trailer: 1\r\n\r\n")
		if status, text := p.answer("POST"); status != 200 {
			t.Fatal(status, text)
		}
		p.send(request("POST", "/topics/expected", "", "Content-Length: 5", "Expect: 100-continue"))
		resp, err := http.ReadResponse(p.r, nil)
		if err != nil || resp.StatusCode != 100 {
			t.Fatal(resp, err)
		}
		p.send("hello")
		if status, text := p.answer("POST"); status != 200 {
			t.Fatal(status, text)
		}
		for _, piece := range strings.SplitAfter(request("POST", "/topics/pieces", "a body"), "") {
			p.send(piece)
		}
		if status, text := p.answer("POST"); status != 200 {
			t.Fatal(status, text)
		}
		p.must(200, "GET", "/healthz", "")
		r.mustHave("sized", lines.String())
		r.mustHave("chunked", lines.String())
		r.mustHave("expected", "hello")
		r.mustHave("pieces", "a body")
	})
}

// A consumer has its own connection: what it has not read is not consumed, and an answer without an end comes as it is sent.
func TestConsumersHaveTheirConnection(t *testing.T) {
	overAll(t, func(t *testing.T, r *rig) {
		p := r.dial()
		large := strings.Repeat("x", 100_000)
		for range 20 {
			p.must(200, "POST", "/topics/orders", large)
		}
		p.send(request("GET", "/topics/orders/messages?group=a", ""))
		if _, err := p.r.ReadByte(); err != nil {
			t.Fatal(err)
		}
		p.conn.Close() // with most of it unread
		q := r.dial()
		q.must(200, "GET", "/healthz", "")
		q.send(request("GET", "/topics/orders/messages?group=a", ""))
		if status, text := q.answer("GET"); status != 200 || strings.Count(text, large) != 20 {
			t.Fatalf("status %d, %d messages", status, strings.Count(text, large))
		}
		q.conn.Close()
		f := r.dial()
		f.send(request("GET", "/topics/events/messages?follow&from=beginning", "", "Accept: text/event-stream"))
		resp, err := http.ReadResponse(f.r, nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
		r.dial().must(200, "POST", "/topics/events", "an event")
		buf := make([]byte, 1000)
		for text := ""; !strings.Contains(text, "an event"); {
			n, err := resp.Body.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			text += string(buf[:n])
		}
	})
}

// A stream of the page comes as it is sent, and ends when its client leaves.
func TestAStreamComesAsItIsSent(t *testing.T) {
	overAll(t, func(t *testing.T, r *rig) {
		p := r.dial()
		p.send(request("GET", "/ui/numbers?view=topics", "", "Accept: text/event-stream"))
		resp, err := http.ReadResponse(p.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode == 200 {
			if _, err := resp.Body.Read(make([]byte, 10)); err != nil {
				t.Fatal(err)
			}
		}
		p.conn.Close()
		brokertest.Await(t, bound, "the owner knows that the client has left", func() bool { return len(r.owner.server.Connections()) == 0 })
	})
}

// What can't be understood is refused by the owner's server, as always.
func TestWhatCannotBeUnderstoodIsRefused(t *testing.T) {
	overAll(t, func(t *testing.T, r *rig) {
		for _, text := range []string{
			"nonsense\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET /\r\n", "POST /topics/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
			request("GET", "/healthz", "", "X-Long: "+strings.Repeat("x", 70_000)), "POST /topics/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
		} {
			p := r.dial()
			p.send(text)
			_ = p.conn.(interface{ CloseWrite() error }).CloseWrite()
			resp, err := http.ReadResponse(p.r, nil)
			if err != nil || resp.StatusCode/100 != 4 {
				t.Errorf("%.40q: %v, %v", text, resp, err)
			}
		}
	})
}

// While there is no owner the node answers what is about itself at once, and says of all else that there is none.
func TestWithoutAnOwnerTheNodeAnswers(t *testing.T) {
	r := newRig(t, setup{patience: 50 * time.Millisecond})
	r.lose()
	p := r.dial()
	p.must(200, "GET", "/healthz", "")
	p.send(request("POST", "/topics/orders", "x"))
	resp, err := http.ReadResponse(p.r, nil)
	if err != nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Fatal(resp, err)
	}
	q := r.dial()
	q.send(request("GET", "/topics/orders/messages", ""))
	if status, text := q.answer("GET"); status != 503 || !strings.Contains(text, "no node has the topics") {
		t.Error(status, text)
	}
	r.own()
}

// A connection that is kept open outlives the owner. Requests that change nothing, or have a key, wait for the next one; others
// fail, and nothing is stored twice.
func TestAConnectionOutlivesTheOwner(t *testing.T) {
	overAll(t, func(t *testing.T, r *rig) {
		p := r.dial()
		p.must(200, "POST", "/topics/orders", "first")
		r.lose()
		p.send(request("GET", "/topics/orders", ""))
		time.Sleep(10 * time.Millisecond) // so that it may have begun to wait
		r.own()
		if status, text := p.answer("GET"); status != 200 || !strings.Contains(text, `"topic":"orders"`) {
			t.Errorf("it answers %d, %s", status, text)
		}
		r.owner.store.MoveBehindNext() // stored, and not acknowledged
		p.send(request("POST", "/topics/orders", "second", "Idempotency-Key: 2"))
		brokertest.Await(t, bound, "it is stored", r.owner.store.HasMoved)
		r.lose()
		r.own()
		if status, text := p.answer("POST"); status != 200 {
			t.Fatalf("it answers %d, %s", status, text)
		}
		p.must(200, "GET", "/healthz", "")
		r.mustHave("orders", "first", "second")

		r.owner.store.MoveBehindNext()
		p.send(request("POST", "/topics/orders", "third"))
		brokertest.Await(t, bound, "it is stored", r.owner.store.HasMoved)
		r.lose()
		if resp, err := http.ReadResponse(p.r, nil); err == nil && resp.StatusCode != 503 {
			t.Errorf("a request without a key gets %s", resp.Status)
		}
		r.own()
		r.mustHave("orders", "first", "second", "third")
	})
}

// A body that is large is sent again, too.
func TestALargeBodyWithAKeyIsSentAgain(t *testing.T) {
	r := newRig(t, setup{far: true})
	p := r.dial()
	p.must(200, "POST", "/topics/orders", "x")
	large := strings.Repeat("y", 300_000)
	r.owner.store.MoveBehindNext()
	p.send(request("POST", "/topics/orders", large, "Idempotency-Key: large"))
	brokertest.Await(t, bound, "it is stored", r.owner.store.HasMoved)
	r.lose()
	r.own()
	if status, text := p.answer("POST"); status != 200 {
		t.Fatalf("it answers %d, %s", status, text)
	}
	r.mustHave("orders", "x", large)
}

// A stop ends clients that have no request, and waits for those that have one.
func TestAStopWaitsForRequests(t *testing.T) {
	r := newRig(t, setup{})
	idle, p := r.dial(), r.dial()
	idle.must(200, "GET", "/healthz", "")
	p.send(request("POST", "/topics/orders", "", "Content-Length: 2") + "a")
	brokertest.Await(t, bound, "the request is there", func() bool { return len(r.owner.server.Connections()) == 1 })
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		r.gate.Stop(context.Background())
	}()
	if rest, err := io.ReadAll(idle.r); len(rest) > 0 || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
	p.send("b")
	if status, text := p.answer("POST"); status != 200 {
		t.Error(status, text)
	}
	p.conn.Close()
	<-stopped
	r.mustHave("orders", "ab")
}

// When a link breaks while a request is being served, it is sent again if it has a key, and otherwise the client gets no answer.
func TestARequestThatMayNotComeTwiceIsSentOnce(t *testing.T) {
	r := newRig(t, setup{far: true})
	for _, headers := range [][]string{nil, {"Idempotency-Key: 1"}} {
		topic := fmt.Sprint("t", len(headers))
		p := r.dial()
		release := r.owner.store.HoldNext()
		p.send(request("POST", "/topics/"+topic, "a message", headers...))
		brokertest.Await(t, bound, "it is stored", r.owner.store.IsHeld)
		r.owner.links.EndAll()
		if headers == nil {
			if _, err := http.ReadResponse(p.r, nil); err == nil {
				t.Error("it is answered")
			}
			release()
		} else {
			release()
			if status, text := p.answer("POST"); status != 200 {
				t.Errorf("it answers %d, %s", status, text)
			}
		}
		brokertest.Await(t, bound, "nothing goes on", func() bool { return len(r.owner.server.Connections()) <= 1 })
		r.mustHave(topic, "a message")
	}
}
