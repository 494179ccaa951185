package fault

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// Injected: kill -9, again and again, under publishers of lines and clients of server-sent events that come
// back with Last-Event-ID as EventSource does: one with a position of its own, one in a group. Expected: each
// gets every acknowledged message, in order, and the first none twice.
func TestF49HTTPEventsOverKills(t *testing.T) {
	b := brokertest.Start(t, t.TempDir(), fixedHTTP(t)...)
	random := rand.New(rand.NewPCG(seeds(t), 49))
	l := newLedger("load")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	readers := map[string]*eventReader{"from=beginning": {}, "group=g": {}}
	var reading sync.WaitGroup
	for query, r := range readers {
		r.httpClient, r.path = newHTTPClient(t, b.HTTP()), "/topics/load/messages?follow&"+query
		reading.Go(func() { r.read(ctx) })
	}
	kills := runs(4, 100)
	for range kills {
		until := make(map[*eventReader]int)
		for _, r := range readers {
			until[r] = len(r.list()) + random.IntN(100)
		}
		publishTo(l, b, 2, 100+random.IntN(400))
		for _, r := range readers {
			eventually(t, "events come", func() bool { return len(r.list()) >= until[r] })
		}
		b.Restart()
	}
	publishTo(l, b, 1, 10)
	acked := l.judge(nil).Acked
	for query, r := range readers {
		eventually(t, "all events have come by "+query, func() bool { return l.judge(r.list()).Lost == 0 })
		c := l.judge(r.list())
		c.Runs = kills
		if c.Reordered > 0 || query == "from=beginning" && c.Duplicates > 0 || c.Phantoms > 0 || r.reconnects() < kills {
			t.Errorf("%s: %+v of %d, with %d connections", query, c, acked, r.reconnects())
		}
		c.Duplicates = 0 // in a group they may come again
		report(t, c)
	}
	cancel()
	reading.Wait()
}

// An eventReader is a client of server-sent events.
type eventReader struct {
	*httpClient
	path string

	mu          sync.Mutex // guards what follows
	texts       []string
	connections int
}

func (r *eventReader) list() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.texts[:len(r.texts):len(r.texts)]
}

func (r *eventReader) reconnects() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.connections - 1
}

// read connects and reads, again and again, until the context ends.
func (r *eventReader) read(ctx context.Context) {
	for last := ""; ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
		last, _ = r.readOnce(ctx, last) // an error is that the broker has gone
	}
}

// readOnce reads until the connection ends, and returns the id of the last event that came whole.
func (r *eventReader) readOnce(ctx context.Context, last string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.address+r.path, nil)
	if err != nil {
		return last, err
	}
	req.Header.Set("Accept", "text/event-stream")
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := r.Do(req)
	if err != nil {
		return last, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return last, errors.New(resp.Status)
	}
	r.mu.Lock()
	r.connections++
	r.mu.Unlock()
	var id string
	var m httpMessage
	for in := bufio.NewReader(resp.Body); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			return last, err
		}
		switch name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); {
		case name == "id":
			id = value
		case name == "data":
			if err := json.Unmarshal([]byte(value), &m); err != nil {
				return last, fmt.Errorf("%q: %w", value, err)
			}
		case line == "\n" && id != "":
			r.mu.Lock()
			r.texts = append(r.texts, m.Payload)
			r.mu.Unlock()
			last, id = id, ""
		}
	}
}

// Injected: each write to a topic's file fails with EIO from some moment on, under HTTP clients that publish with an
// Idempotency-Key. Expected: they are answered 503 and FAILED, what was acknowledged is there after a restart,
// and what they send again then is there once.
func TestF49HTTPOnAFailingDisk(t *testing.T) {
	for range runs(1, 20) {
		b := brokertest.Start(t, t.TempDir(), fixedHTTP(t)...)
		c, l := newHTTPClient(t, b.HTTP()), newLedger("sick")
		publish := func(n int, kind string) httpAnswer {
			body := l.message("http", n, 100) + "\n"
			if kind == "text/plain" {
				body = strings.TrimSuffix(body, "\n")
			}
			a, err := c.do("POST", "/topics/sick", strings.NewReader(body), "Content-Type", kind, "Idempotency-Key", fmt.Sprint(n))
			if err != nil && !errors.Is(err, errNotReady) {
				t.Fatal(err)
			}
			if a.status == http.StatusOK {
				l.acknowledge("http", n)
			}
			return a
		}
		kinds := []string{"text/plain", "text/plain;lines"}
		first := -1
		for i := range 20 {
			n := l.send("http", first)
			first = max(first, 0)
			if a := publish(n, kinds[i%2]); a.status != http.StatusOK {
				t.Fatalf("message %d: %d %q", n, a.status, a.body)
			}
		}
		stop := failWrites("pwrite64:error=EIO")(t, b)
		var failed []int
		for i := range 4 {
			n := l.send("http", -1)
			failed = append(failed, n)
			if a := publish(n, kinds[i%2]); a.status != http.StatusServiceUnavailable || a.Code != "FAILED" || a.Published != 0 {
				t.Errorf("message %d: %d %q", n, a.status, a.body)
			}
		}
		stop()
		b.Restart()
		for range 2 {
			for i, n := range failed {
				if a := publish(n, kinds[i%2]); a.status != http.StatusOK {
					t.Errorf("message %d again: %d %q", n, a.status, a.body)
				}
			}
		}
		all := l.judge(lines(b.Drain("sick?from=beginning")))
		report(t, all)
		all.mustKeep(t)
		if all.Duplicates > 0 || all.Acked != 24 || all.Read != 24 {
			t.Errorf("%+v", all)
		}
	}
}
