package fault

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"mbus/test/brokertest"
)

// Injected: kill -9, again and again, under clients that publish over HTTP with an
// Idempotency-Key: single messages, and NDJSON in bodies that take long. Each repeats what
// was not answered, and now and then what was. Expected: everything that was acknowledged
// is there, everything is there once, and a repeated message has its first place.
func TestF44HTTPPublishersOverKills(t *testing.T) {
	for _, partitions := range []string{"1", "3"} {
		t.Run(partitions, func(t *testing.T) {
			b := brokertest.Start(t, t.TempDir(), append(fixedHTTP(t), "-partitions", partitions)...)
			publishHTTPOver(t, b, runs(4, 100), b.Restart)
		})
	}
}

// Injected: power cuts instead.
func TestF44HTTPPublishersOverPowerCuts(t *testing.T) {
	d := newLoopDisk(t, diskBytes)
	b := brokertest.Start(t, filepath.Join(d.dir, "data"), fixedHTTP(t)...)
	publishHTTPOver(t, b, runs(2, 40), func() {
		d.powerCut(t, b)
		b.Restart()
	})
}

// publishHTTPOver publishes with so many ends of the broker meanwhile, and judges the messages in the topic.
func publishHTTPOver(t *testing.T, b *brokertest.Broker, ends int, end func()) {
	t.Helper()
	random := rand.New(rand.NewPCG(seeds(t), 44))
	h := &httpPublishers{
		httpClient: newHTTPClient(t, b.HTTP()), t: t, l: newLedger("load"),
		stop: make(chan struct{}), ticks: make(chan struct{}, 1),
	}
	var singles, streams sync.WaitGroup
	for i := range 6 {
		r := rand.New(rand.NewPCG(random.Uint64(), 0))
		singles.Go(func() { h.single(fmt.Sprint("single", i), r) })
	}
	for i := range 2 {
		r := rand.New(rand.NewPCG(random.Uint64(), 0))
		streams.Go(func() { h.stream(fmt.Sprint("stream", i), r) })
	}
	for range ends {
		until := h.acked.Load() + 100 + random.Int64N(400)
		eventually(t, "messages are acknowledged", func() bool { return h.acked.Load() >= until || t.Failed() })
		end()
	}
	until := h.acked.Load() + 100
	eventually(t, "publishing goes on", func() bool { return h.acked.Load() >= until || t.Failed() })
	close(h.stop)
	singles.Wait()
	close(h.ticks)
	streams.Wait()
	c := h.l.judge(lines(b.Drain("load?from=beginning")))
	if c.Runs = ends; strings.HasSuffix(t.Name(), "/3") {
		c.Reordered = 0 // a publisher writes to all partitions
	}
	report(t, c)
	c.mustKeep(t)
	if c.Duplicates > 0 || c.Read != c.Acked {
		t.Errorf("%+v", c)
	}
	if h.again.Load() == 0 || h.broken.Load() == 0 {
		t.Errorf("%d acknowledged messages were sent again, and %d bodies of many were cut off", h.again.Load(), h.broken.Load())
	}
}

// httpPublishers publish to one topic.
type httpPublishers struct {
	*httpClient
	t     *testing.T
	l     *ledger
	stop  chan struct{}
	ticks chan struct{} // one lets a stream send some more; closed at the end

	acked  atomic.Int64
	again  atomic.Int64 // messages that were sent again after their answer
	broken atomic.Int64 // bodies of many messages that were cut off
}

// single publishes one message after the other.
func (h *httpPublishers) single(name string, r *rand.Rand) {
	var answers []string
	for !closed(h.stop) {
		n := h.l.send(name, min(len(answers), 1)-1)
		answer := h.publish(name, n)
		if answer == "" {
			return
		}
		h.l.acknowledge(name, n)
		h.acked.Add(1)
		answers = append(answers, answer)
		if r.IntN(4) == 0 { // most often of a broker that has ended since
			n := r.IntN(len(answers))
			if again := h.publish(name, n); again != answers[n] {
				h.t.Errorf("message %d of %s was answered %q, and then %q", n, name, answers[n], again)
			}
			h.again.Add(1)
		}
		select {
		case h.ticks <- struct{}{}:
		default:
		}
	}
}

// publish publishes message n until it is acknowledged, and returns the answer.
func (h *httpPublishers) publish(name string, n int) string {
	text := h.l.message(name, n, n*7919%400)
	a, err := insist(func() (httpAnswer, error) {
		return h.do("POST", "/topics/load", strings.NewReader(text), "Idempotency-Key", fmt.Sprint(name, " ", n))
	})
	if err != nil || a.status != http.StatusOK || a.Offset == nil {
		h.t.Errorf("message %d of %s was answered %d %q: %v", n, name, a.status, a.body, err)
		return ""
	}
	return a.body
}

// inBody is how many messages are in a body of many.
const inBody = 500

// stream publishes bodies of many messages, each until it is acknowledged.
func (h *httpPublishers) stream(name string, r *rand.Rand) {
	for turn := 0; !closed(h.stop); turn++ {
		var texts []string
		for i := range inBody {
			n := h.l.send(name, min(turn+i, 1)-1)
			text, err := json.Marshal(map[string]string{"payload": h.l.message(name, n, n*7919%400)})
			if err != nil {
				h.t.Error(err)
				return
			}
			texts = append(texts, string(text)+"\n")
		}
		a, err := insist(func() (httpAnswer, error) {
			body := h.body(texts, r)
			defer body.Close()
			a, err := h.do("POST", "/topics/load", body, "Content-Type", "application/x-ndjson", "Idempotency-Key", fmt.Sprint(name, " ", turn))
			if err != nil {
				h.broken.Add(1)
			}
			return a, err
		})
		if err != nil || a.status != http.StatusOK || a.Published != inBody {
			h.t.Errorf("body %d of %s was answered %d %q: %v", turn, name, a.status, a.body, err)
			return
		}
		for i := range inBody {
			h.l.acknowledge(name, turn*inBody+i)
		}
	}
}

// body gives messages, some more with each tick.
func (h *httpPublishers) body(texts []string, r *rand.Rand) io.ReadCloser {
	out, in := io.Pipe()
	size := 1 + r.IntN(100)
	go func() {
		for len(texts) > 0 {
			n := min(size, len(texts))
			if _, err := io.WriteString(in, strings.Join(texts[:n], "")); err != nil {
				return
			}
			texts = texts[n:]
			<-h.ticks
		}
		in.Close()
	}()
	return out
}
