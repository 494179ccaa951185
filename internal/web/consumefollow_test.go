package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"mbus/internal/broker"
	"mbus/test/brokertest"
)

// A stream is an answer that goes on.
type stream struct {
	*client
	resp *http.Response
	body *lineReader
}

// A lineReader reads lines of a body.
type lineReader struct {
	r    io.Reader
	rest []byte
}

func (l *lineReader) line() (string, error) {
	for {
		if line, rest, found := strings.Cut(string(l.rest), "\n"); found {
			l.rest = []byte(rest)
			return line, nil
		}
		p := make([]byte, 4096)
		n, err := l.r.Read(p)
		if l.rest = append(l.rest, p[:n]...); err != nil && n == 0 {
			return string(l.rest), err
		}
	}
}

// follow opens a stream.
func (r *rig) follow(path string, header ...string) *stream {
	r.Helper()
	c := r.get(path, header...)
	resp := c.response(http.StatusOK)
	return &stream{c, resp, &lineReader{r: resp.Body}}
}

func (s *stream) mustSay(want ...string) {
	s.Helper()
	for _, w := range want {
		got, err := s.body.line()
		if err != nil || got != w {
			s.Fatalf("got %q, %v; want %q", got, err, w)
		}
	}
}

// An event is a server-sent event.
type event struct {
	id, kind string
	data     struct {
		Topic     string
		Partition int
		Offset    int64
		Payload   string
		Code      string
	}
}

// event reads the next one; comments and the retry time are left out.
func (s *stream) event() (e event) {
	s.Helper()
	for {
		line, err := s.body.line()
		if err != nil {
			s.Fatalf("%v after %+v", err, e)
		}
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "id":
			e.id = value
		case "event":
			e.kind = value
		case "data":
			if err := json.Unmarshal([]byte(value), &e.data); err != nil {
				s.Fatalf("%v: %q", err, value)
			}
		case "":
			if e.data.Topic != "" || e.data.Code != "" {
				return e
			}
		}
	}
}

// mustGive reads events and compares their payloads; it returns the last id.
func (s *stream) mustGive(payloads ...string) (id string) {
	s.Helper()
	for _, want := range payloads {
		e := s.event()
		if e.data.Payload != want {
			s.Fatalf("got %+v, want %q", e, want)
		}
		id = e.id
	}
	return id
}

// mustEnd reads to the end, which is a good one or not.
func (s *stream) mustEnd(good bool) {
	s.Helper()
	if _, err := io.Copy(io.Discard, s.resp.Body); (err == nil) != good {
		s.Fatalf("the stream ends with %v", err)
	}
}

func (s *stream) leave(r *rig, groupName string) {
	s.Helper()
	s.Close()
	r.awaitAlone(groupName)
}

func TestFollowSendsWhatComes(t *testing.T) {
	r := newRig(t, Options{})
	s := r.follow("orders/messages?follow&group=billing") // before there is a topic
	r.publish("orders", "first")
	s.mustSay("first")
	r.publish("orders", "second")
	s.mustSay("second")
	brokertest.Await(t, patience, "they are consumed", func() bool { return r.committed("billing", "orders") == 2 })
	s.leave(r, "billing")

	s = r.follow("orders/messages?follow&group=billing&n=2")
	r.publish("orders", "third", "fourth", "fifth")
	s.mustSay("third", "fourth")
	s.mustEnd(true)
	s.leave(r, "billing")
	if got := r.drain("orders?group=billing"); got != "fifth\n" {
		t.Errorf("got %q", got)
	}
}

func TestFollowerThatClosesItsSideHasLeft(t *testing.T) {
	r := newRig(t, Options{})
	s := r.follow("orders/messages?follow&group=billing")
	s.CloseWrite()
	r.awaitAlone("billing")
}

func TestEventsHaveIDsThatFromTakes(t *testing.T) {
	r := newRig(t, Options{})
	r.partitions("orders", 2)
	r.publishTo("orders", 0, "a0", "a1")
	r.publishTo("orders", 1, "b0")
	s := r.follow("orders/messages?from=-1&follow", "Accept: text/event-stream")
	if id := s.mustGive("a1"); id != "0:2,1:0" {
		t.Errorf("id %q", id)
	}
	if id := s.mustGive("b0"); id != "0:2,1:1" {
		t.Errorf("id %q", id)
	}
	r.publishTo("orders", 1, "b1", "b2")
	id := s.mustGive("b1")
	s.Close()
	if got := r.drain("orders?from=" + id); got != "b2\n" {
		t.Errorf("from=%s: %q", id, got)
	}
	r.publishTo("orders", 0, "a2")
	s = r.follow("orders/messages?from=-1&follow", "Accept: text/event-stream", "Last-Event-ID: "+id)
	s.mustGive("a2", "b2")
}

func TestEventsFromTheEndResumeInEveryPartition(t *testing.T) {
	r := newRig(t, Options{})
	r.partitions("orders", 2)
	r.publishTo("orders", 0, "old")
	r.publishTo("orders", 1, "old")
	s := r.follow("orders/messages?from=end&follow", "Accept: text/event-stream")
	r.publishTo("orders", 0, "new")
	id := s.mustGive("new")
	s.Close()
	r.publishTo("orders", 1, "newer")
	s = r.follow("orders/messages?from=end&follow&n=1", "Accept: text/event-stream", "Last-Event-ID: "+id)
	s.mustGive("newer")
	s.mustEnd(true)
}

func TestEventsOfManyPartitionsResume(t *testing.T) {
	r := newRig(t, Options{})
	r.partitions("orders", fewPlaces+1)
	s := r.follow("orders/messages?from=end&follow", "Accept: text/event-stream")
	s.mustSay("retry: 1000", "")
	r.publishTo("orders", 3, "1", "2")
	if e := s.event(); e.id != "" {
		t.Errorf("an id of %d bytes", len(e.id))
	}
	id := s.mustGive("2")
	s.Close()
	r.publishTo("orders", 3, "3")
	s = r.follow("orders/messages?from=end&follow", "Accept: text/event-stream", "Last-Event-ID: "+id)
	s.mustGive("3")
}

// The client's system has all five, and the client has seen three.
func TestGroupResumesBehindTheLastEventThatItsClientHasSeen(t *testing.T) {
	r := newRig(t, Options{})
	r.publish("orders", "1", "2", "3", "4", "5")
	s := r.follow("orders/messages?follow&group=g", "Accept: text/event-stream")
	id := s.mustGive("1", "2", "3")
	brokertest.Await(t, patience, "they are consumed", func() bool { return r.committed("g", "orders") == 5 })
	s.reset()
	r.awaitAlone("g")
	r.publish("orders", "6")

	for _, query := range []string{"&n=2", "&n=3", ""} {
		s = r.follow("orders/messages?follow&group=g"+query, "Accept: text/event-stream", "Last-Event-ID: "+id)
		s.mustGive("4", "5")
		if query == "&n=2" {
			s.mustEnd(true)
			s.leave(r, "g")
			continue
		}
		if got := s.mustGive("6"); got != "0:6" {
			t.Errorf("id %q", got)
		}
		if query != "" {
			s.mustEnd(true)
			s.leave(r, "g")
		}
	}
	r.publish("orders", "7")
	s.mustGive("7")
}

func TestWrongLastEventID(t *testing.T) {
	r := newRig(t, Options{})
	r.publish("orders", "first")
	for _, id := range []string{"x", "1", "0:x", "0:1,0:1", "-1", "2h", "7:0"} {
		r.must(http.StatusBadRequest, "GET", "/topics/orders/messages", "", "Accept", "text/event-stream", "Last-Event-ID", id)
	}
	r.must(http.StatusBadRequest, "GET", "/topics/orders/messages?from=0", "", "Accept", "text/event-stream", "Last-Event-ID", "0:2")
	if got := r.drain("orders", "Last-Event-ID", "x"); got != "first\n" { // which is for events
		t.Errorf("got %q", got)
	}
}

func TestOneIncarnationOfATopic(t *testing.T) {
	r := newRig(t, Options{})
	topic := r.publish("orders", "first")
	id := broker.TopicID(topic.ID).String()
	if got := r.drain("orders?id=" + id); got != "first\n" {
		t.Errorf("got %q", got)
	}
	if err := r.broker.As(broker.Self).DeleteTopic("orders"); err != nil {
		t.Fatal(err)
	}
	r.publish("orders", "another")
	if answer := r.must(http.StatusNotFound, "GET", "/topics/orders/messages?id="+id, ""); !strings.Contains(answer, `"code":"GONE"`) {
		t.Error(answer)
	}
	r.must(http.StatusBadRequest, "GET", "/topics/orders/messages?id=1", "")
}

func TestSilentEventsHaveSignsOfLife(t *testing.T) {
	r := newRig(t, Options{})
	r.limit(func(l *broker.Limits) { l.HTTPBeat = moment })
	s := r.follow("none/messages?follow", "Accept: text/event-stream")
	s.mustSay("retry: 1000", "", ":", "", ":", "")
	r.publish("none", "first")
	for {
		line, err := s.body.line()
		if err != nil {
			t.Fatal(err)
		}
		if line != ":" && line != "" {
			break
		}
	}
}

func TestEndOfTheTopicUnderAFollower(t *testing.T) {
	r := newRig(t, Options{})
	r.publish("orders", "first")
	events := r.follow("orders/messages?follow&group=a", "Accept: text/event-stream")
	plain := r.follow("orders/messages?follow&group=b")
	events.mustGive("first")
	plain.mustSay("first")
	if err := r.broker.As(broker.Self).DeleteTopic("orders"); err != nil {
		t.Fatal(err)
	}
	if e := events.event(); e.kind != "problem" || e.data.Code != "GONE" {
		t.Errorf("got %+v", e)
	}
	events.mustEnd(true)
	plain.mustEnd(false)
}

func TestStopOfTheBrokerEndsFollowersAndLetsDrainsGoOn(t *testing.T) {
	r := newRig(t, Options{})
	messages := numbered(2000, 500)
	r.publish("orders", messages...)
	events := r.follow("orders/messages?follow&group=a&start=end", "Accept: text/event-stream")
	plain := r.follow("orders/messages?follow&group=b&start=end")
	drain := r.get("orders/messages")
	body := drain.response(http.StatusOK).Body
	if _, err := io.ReadFull(body, make([]byte, 501)); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		r.server.Stop(ctx)
		close(stopped)
	}()
	if e := events.event(); e.kind != "problem" || e.data.Code != "SHUTDOWN" {
		t.Errorf("got %+v", e)
	}
	events.mustEnd(true)
	plain.mustEnd(false)
	events.Close()
	plain.Close()
	rest, err := io.ReadAll(body)
	if err != nil || string(rest) != join(messages[1:]) {
		t.Errorf("%v, %d bytes", err, len(rest))
	}
	drain.Close()
	<-stopped
	if n := r.committed("default", "orders"); n != 2000 {
		t.Errorf("%d are consumed", n)
	}
}

func TestMessagesThatAreGone(t *testing.T) {
	r := newRig(t, Options{})
	topic := r.publish("orders", "1", "2", "3", "4")
	if got := r.drain("orders?n=1"); got != "1\n" {
		t.Fatalf("got %q", got)
	}
	if got := r.drain("orders?n=1&group=events"); got != "1\n" {
		t.Fatalf("got %q", got)
	}
	r.awaitAlone("default")
	r.awaitAlone("events")
	if err := topic.Partitions()[0].Trim(3); err != nil {
		t.Fatal(err)
	}
	if answer := r.must(http.StatusGone, "GET", "/topics/orders/messages", ""); !strings.Contains(answer, `"code":"GAP"`) || !strings.Contains(answer, "first=3") {
		t.Error(answer)
	}
	r.awaitAlone("default")
	if got := r.drain("orders"); got != "4\n" { // once
		t.Errorf("behind the gap: %q", got)
	}
	s := r.follow("orders/messages?group=events&follow", "Accept: text/event-stream")
	if e := s.event(); e.kind != "problem" || e.data.Code != "GAP" {
		t.Errorf("got %+v", e)
	}
	s.mustEnd(true)
	s.leave(r, "events")
	if got := r.drain("orders?group=events"); got != "4\n" {
		t.Errorf("behind the gap: %q", got)
	}
	s = r.follow("orders/messages?from=0:1&follow", "Accept: text/event-stream")
	e := s.event()
	if e.kind != "problem" || e.data.Code != "GAP" || e.id != "0:3" {
		t.Errorf("got %+v", e)
	}
	s = r.follow("orders/messages?from=0:1&follow", "Accept: text/event-stream", "Last-Event-ID: "+e.id)
	s.mustGive("4")
}

// A drain that comes to a gap behind messages gives these, and the next one names the gap.
func TestDrainEndsBeforeAGap(t *testing.T) {
	r := newRig(t, Options{})
	r.partitions("orders", 2)
	r.publishTo("orders", 0, "a0")
	r.publishTo("orders", 1, "b0", "b1", "b2")
	r.drain("orders?partition=1&n=1")
	r.awaitAlone("default")
	topic, err := r.broker.As(broker.Self).Topic("orders", broker.Read)
	if err != nil {
		t.Fatal(err)
	}
	if err := topic.Partitions()[1].Trim(2); err != nil {
		t.Fatal(err)
	}
	if got := r.drain("orders"); got != "a0\n" {
		t.Errorf("before the gap: %q", got)
	}
	r.awaitAlone("default")
	r.must(http.StatusGone, "GET", "/topics/orders/messages", "")
	r.awaitAlone("default")
	if got := r.drain("orders"); got != "b2\n" {
		t.Errorf("behind the gap: %q", got)
	}
}

// The group is used in another way: that is an answer, not a stream that is cut off.
func TestGroupThatIsInUse(t *testing.T) {
	r := newRig(t, Options{})
	r.publish("orders", "first")
	use := broker.UseKafka
	use.Topic, use.Client = "orders", "kafka"
	release, err := r.broker.As(broker.Self).UseGroup("g", use)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	for _, query := range []string{"", "&follow", "&follow&format=sse"} {
		r.must(http.StatusConflict, "GET", "/topics/orders/messages?group=g"+query, "")
	}
}

func TestEveryFollowerGetsEveryMessage(t *testing.T) {
	r := newRig(t, Options{})
	const followers = 20
	var all []*stream
	for i := range followers {
		all = append(all, r.follow(fmt.Sprintf("orders/messages?follow&group=g%d", i), "Accept: text/event-stream"))
	}
	messages := numbered(500, 20)
	r.publish("orders", messages...)
	for _, s := range all {
		s.mustGive(messages...)
	}
}

func TestFollowerThatNeverReadsIsCutOff(t *testing.T) {
	r := newRig(t, Options{})
	r.limit(func(l *broker.Limits) { l.WriteTime = 4 * moment })
	s := r.follow("orders/messages?follow&group=g", "Accept: text/event-stream")
	r.publish("orders", numbered(20_000, 500)...)
	r.awaitAlone("g")
	if _, err := io.Copy(io.Discard, s.resp.Body); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the stream ends with %v", err)
	}
}

// An idle follower, its client's side included, has no buffer, and one goroutine. Nothing stays of its
// request, however long that was.
func TestMemoryOfAFollower(t *testing.T) {
	if brokertest.Race {
		t.Skip("the race detector takes more")
	}
	const followers, most = 200, 24 << 10
	long := strings.Repeat("0", 30_000)
	r := newRig(t, Options{})
	r.follow("orders/messages?follow", "Accept: text/event-stream").mustSay("retry: 1000")
	before, goroutines := usedBytes(), runtime.NumGoroutine()
	var all []net.Conn
	for i := range followers {
		conn, err := net.Dial("tcp", r.host)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET /topics/orders/messages?follow&group=g%d&partition=%s HTTP/1.1\r\nHost: localhost\r\nX: %s\r\nAccept: text/event-stream\r\n\r\n", i, long, long)
		all = append(all, conn)
	}
	readTo := func(end string) {
		p := make([]byte, 4096)
		for _, conn := range all {
			for text := ""; !strings.Contains(text, end); {
				n, err := conn.Read(p)
				if err != nil {
					t.Fatal(err)
				}
				text += string(p[:n])
			}
		}
	}
	readTo("retry: 1000")
	r.publish("orders", "first")
	readTo("first")
	brokertest.Await(t, patience, "one goroutine is left of each", func() bool { return runtime.NumGoroutine() <= goroutines+followers })
	if each := (usedBytes() - before) / followers; each > most {
		t.Errorf("%d bytes each", each)
	} else {
		t.Logf("%d bytes each", each)
	}
}
