package web

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"mbus/internal/broker"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
)

const once = "Idempotency-Key"

// A publish that comes again gets the first one's answer, also after a restart, and is stored once.
func TestAPublishThatComesAgainIsStoredOnce(t *testing.T) {
	r := newRig(t, Options{})
	r.partitions("three", 3)
	first := map[string]string{}
	publish := func(topic, key string) {
		t.Helper()
		answer := r.must(http.StatusOK, "POST", "/topics/"+topic, "message "+key, once, key)
		if want := first[topic+key]; want != "" && answer != want {
			t.Errorf("%s, %s: %s, not %s", topic, key, answer, want)
		}
		first[topic+key] = answer
	}
	for range 2 {
		for range 2 {
			for i := range 10 {
				publish("t", fmt.Sprint("k", i))
				publish("three", fmt.Sprint("k", i))
			}
		}
		if n, m := r.count("t"), r.count("three"); n != 10 || m != 10 {
			t.Errorf("%d and %d messages, not 10", n, m)
		}
		r.restart()
	}
}

func TestPublishesOfOneKeyAtOnce(t *testing.T) {
	r := newRig(t, Options{})
	answers := make([]string, 16)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { _, answers[i], _ = r.do("POST", "/topics/t", "m", once, "k") })
	}
	all.Wait()
	for _, a := range answers {
		if a != `{"topic":"t","partition":0,"offset":0}`+"\n" {
			t.Errorf("got %s", a)
		}
	}
	if n := r.count("t"); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func TestAKeyIsForOneMessage(t *testing.T) {
	r := newRig(t, Options{})
	r.must(http.StatusOK, "POST", "/topics/t", "a", once, "k")
	r.problem(http.StatusUnprocessableEntity, "CONFLICT", "POST", "/topics/t", "b", once, "k")
	r.problem(http.StatusUnprocessableEntity, "CONFLICT", "POST", "/topics/t?key=k", "a", once, "k")
	r.problem(http.StatusUnprocessableEntity, "CONFLICT", "POST", "/topics/t?header=a:b", "a", once, "k")
	event := []string{"ce-specversion", "1.0", "ce-source", "/s", "ce-type", "t", once, "event", "ce-id"}
	r.must(http.StatusOK, "POST", "/topics/events", "", append(event, "1")...)
	r.must(http.StatusOK, "POST", "/topics/events", "", append(event, "1")...)
	r.problem(http.StatusUnprocessableEntity, "CONFLICT", "POST", "/topics/events", "", append(event, "2")...)
	r.problem(http.StatusBadRequest, "BADREQUEST", "POST", "/topics/t?delay=1h", "a", once, "k2")
	r.problem(http.StatusBadRequest, "BADREQUEST", "POST", "/topics/t", "a", once, strings.Repeat("x", maxOnce+1))
	r.must(http.StatusOK, "POST", "/topics/other", "b", once, "k")
	if err := r.broker.As(broker.Self).DeleteTopic("t"); err != nil {
		t.Fatal(err)
	}
	r.must(http.StatusOK, "POST", "/topics/t", "b", once, "k")
	if n := r.count("t"); n != 1 {
		t.Errorf("%d messages", n)
	}
}

// Of many messages with a key those are published that are not stored, also after a restart.
func TestABodyOfManyMessagesThatComesAgain(t *testing.T) {
	r := newRig(t, Options{})
	const all = "a\nb\nc\nd\n"
	for range 2 {
		c := r.raw(postTo + once + ": k\r\nContent-Type: text/plain;lines\r\nContent-Length: 8\r\n\r\na\nb\nc")
		c.CloseWrite()
		if status, answer := r.answer(bufio.NewReader(c)); status != http.StatusBadRequest || !strings.Contains(answer, `"published":2`) {
			t.Errorf("status %d: %s", status, answer)
		}
	}
	for range 2 {
		for range 2 {
			if answer := r.must(http.StatusOK, "POST", "/topics/t", all, once, "k", "Content-Type", "text/plain;lines"); answer != `{"topic":"t","published":4}`+"\n" {
				t.Errorf("got %s", answer)
			}
		}
		if n := r.count("t"); n != 4 {
			t.Errorf("%d messages", n)
		}
		r.restart()
	}
}

// A later request with the key ends the first one.
func TestTheLatestRequestWithAKeyGoesOn(t *testing.T) {
	r := newRig(t, Options{})
	c := r.raw(postTo + once + ": k\r\nContent-Type: text/plain;lines\r\nContent-Length: 100\r\n\r\na\n")
	topic := make(chan struct{})
	defer r.broker.As(broker.Self).Await("t", func() { close(topic) })()
	<-topic
	found, err := r.broker.As(broker.Self).Topic("t", broker.Read)
	if err != nil {
		t.Fatal(err)
	}
	stored := make(chan struct{})
	found.Partitions()[0].Wake(0, func(broker.Reason) { close(stored) })
	<-stored
	r.must(http.StatusOK, "POST", "/topics/t", "a\nb\n", once, "k", "Content-Type", "text/plain;lines")
	if status, answer := r.answer(bufio.NewReader(c)); status != http.StatusConflict || !strings.Contains(answer, `"code":"REPLACED"`) {
		t.Errorf("status %d: %s", status, answer)
	}
	io.Copy(io.Discard, c)
	if n := r.count("t"); n != 2 {
		t.Errorf("%d messages", n)
	}
}

// The first publish with a key after a start reads the end of the log. A stop does not wait for that.
func TestAStopEndsTheReadingOfKeys(t *testing.T) {
	var r *rig
	var counts atomic.Bool
	var reads atomic.Int64
	begun := make(chan struct{}, 10)
	r = newRigOver(t, Options{}, func(s store.Store) store.Store {
		return &storefault.Store{Store: s, Read: func(inner store.Partition, topic string, offset int64, maxBytes int, c *store.Chunk) error {
			if counts.Load() && topic == "t" {
				reads.Add(1)
				begun <- struct{}{}
				<-r.server.conns.Stopped()
			}
			return inner.Read(offset, maxBytes, c)
		}}
	})
	for range 4 { // more than is read at once
		r.must(http.StatusOK, "POST", "/topics/t", strings.Repeat("x", 100_000))
	}
	for _, kind := range []string{"text/plain", "text/plain;lines"} {
		r.restart()
		reads.Store(0)
		counts.Store(true)
		c := r.raw(postTo + once + ": k\r\nContent-Type: " + kind + "\r\nContent-Length: 2\r\n\r\na\n")
		<-begun
		r.server.Stop(context.Background())
		if status, answer := r.answer(bufio.NewReader(c)); status != http.StatusServiceUnavailable || !strings.Contains(answer, `"SHUTDOWN"`) || reads.Load() != 1 {
			t.Errorf("%s: status %d after %d reads: %s", kind, status, reads.Load(), answer)
		}
		counts.Store(false)
	}
}

// The files as they are when the answer has come hold the key: a kill loses nothing.
func TestAKeyIsKnownAfterAKill(t *testing.T) {
	r := newRig(t, Options{})
	one := r.must(http.StatusOK, "POST", "/topics/t", "m", once, "k")
	many := r.must(http.StatusOK, "POST", "/topics/many", "a\nb\n", once, "k", "Content-Type", "text/plain;lines")
	after := &rig{TB: t, dir: t.TempDir(), limits: r.limits}
	if err := os.CopyFS(after.dir, os.DirFS(r.dir)); err != nil {
		t.Fatal(err)
	}
	after.start()
	defer func() { after.stop() }()
	if again := after.must(http.StatusOK, "POST", "/topics/t", "m", once, "k"); again != one || after.count("t") != 1 {
		t.Errorf("%s, not %s; %d messages", again, one, after.count("t"))
	}
	if again := after.must(http.StatusOK, "POST", "/topics/many", "a\nb\n", once, "k", "Content-Type", "text/plain;lines"); again != many || after.count("many") != 2 {
		t.Errorf("%s, not %s; %d messages", again, many, after.count("many"))
	}
}
