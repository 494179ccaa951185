package fault

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"mbus/test/brokertest"
)

// Injected: kill -9, again and again, under workers that lease messages over HTTP, and
// acknowledge or fail them. Expected: no message comes again after its acknowledgement was
// answered, all others do, and the tokens of before the kill are refused.
func TestF45HTTPLeasesOverKills(t *testing.T) {
	b := brokertest.Start(t, t.TempDir(), append(fixedHTTP(t), "-partitions", "2")...)
	random := rand.New(rand.NewPCG(seeds(t), 45))
	total, kills := runs(2000, 20_000), runs(4, 60)
	texts := make([]string, total)
	for i := range texts {
		texts[i] = fmt.Sprint("job ", i)
	}
	b.Publish("jobs", texts[:total/2]...) // each connection has a partition
	b.Publish("jobs", texts[total/2:]...)
	w := &leaseWorkers{httpClient: newHTTPClient(t, b.HTTP()), t: t, done: make(map[string]bool), open: make(map[string]bool), stop: make(chan struct{})}
	var working sync.WaitGroup
	for range 4 {
		r := rand.New(rand.NewPCG(random.Uint64(), 0))
		working.Go(func() { w.work(r) })
	}
	for i := range kills {
		until := (i*total + random.IntN(total)) / (kills + 1)
		eventually(t, "messages are acknowledged", func() bool { return w.count() >= until || t.Failed() })
		b.Restart()
	}
	eventually(t, "all is done", func() bool {
		list := lines(b.Drain("?groups&format=json&group=g"))
		return t.Failed() || len(list) == 2 && !slices.ContainsFunc(list, func(p string) bool { return !strings.Contains(p, `"lag":0,`) })
	})
	close(w.stop)
	working.Wait()
	w.check(total, kills)
}

// leaseWorkers are workers of one group.
type leaseWorkers struct {
	*httpClient
	t       *testing.T
	stop    chan struct{}
	refused atomic.Int64 // tokens of before a kill

	mu   sync.Mutex
	done map[string]bool // messages whose acknowledgement was answered
	open map[string]bool // messages whose acknowledgement may have been applied
}

func (w *leaseWorkers) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.done)
}

// work works until stop is closed.
func (w *leaseWorkers) work(r *rand.Rand) {
	for !closed(w.stop) {
		a, err := insist(func() (httpAnswer, error) {
			return w.do("POST", fmt.Sprintf("/topics/jobs/groups/g/lease?max=%d&wait=100ms&for=1h&attempts=0&retry=1ms", 1+r.IntN(20)), nil)
		})
		if err != nil || a.status != http.StatusOK {
			w.t.Errorf("lease: %d %q, %v", a.status, a.body, err)
			return
		}
		if len(a.Messages) > 0 {
			w.see(a.Messages)
			w.settle(a.Messages, r.IntN(6) == 0)
		}
	}
}

// see says that messages have come.
func (w *leaseWorkers) see(messages []httpMessage) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range messages {
		if w.done[m.Payload] {
			w.t.Errorf("%q has come again after its acknowledgement", m.Payload)
		}
	}
}

// settle acknowledges messages, or has them fail. Where there is no answer, the broker has ended, and
// the next one refuses the tokens.
func (w *leaseWorkers) settle(messages []httpMessage, fails bool) {
	path, body := "ack", tokensOf(messages, "")
	if fails {
		path, body = "fail", tokensOf(messages, `,"retry":"1ms"`)
	}
	ask := func() (httpAnswer, error) {
		return w.do("POST", "/topics/jobs/groups/g/"+path, strings.NewReader(body))
	}
	a, err := ask()
	unsure := err != nil
	if unsure {
		a, err = insist(ask)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err == nil && a.status == http.StatusConflict && a.Code == "EXPIRED" && a.Applied == 0 && len(a.Expired) == len(messages):
		w.refused.Add(int64(len(messages)))
		for _, m := range messages {
			w.open[m.Payload] = unsure && !fails || w.open[m.Payload]
		}
	case err == nil && a.status == http.StatusOK && a.Applied == len(messages) && !fails:
		for _, m := range messages {
			w.done[m.Payload] = true
		}
	case err != nil || a.status != http.StatusOK || a.Applied != len(messages):
		w.t.Errorf("%s: %d %q, %v", path, a.status, a.body, err)
	}
}

// check wants each message to be done, but those whose acknowledgement was not answered.
func (w *leaseWorkers) check(total, kills int) {
	c := tally{Runs: kills, Acked: len(w.done), Read: len(w.done)}
	for i := range total {
		if text := fmt.Sprint("job ", i); !w.done[text] && !w.open[text] {
			c.Lost++
			w.t.Errorf("%q was consumed, and never acknowledged", text)
		}
	}
	report(w.t, c)
	w.t.Logf("%d tokens of before a kill were refused", w.refused.Load())
}

// tokensOf is a body with the tokens of messages, and more fields.
func tokensOf(messages []httpMessage, more string) string {
	var list []string
	for _, m := range messages {
		list = append(list, m.Token)
	}
	p, _ := json.Marshal(list) // strings never fail
	return `{"tokens":` + string(p) + more + "}"
}

// Injected: a kill -9 while messages are leased, each of which the next broker leases again at the
// same place. Expected: the tokens of before settle nothing, and those of now do, also over a kill.
func TestF45TokensOfBeforeAKill(t *testing.T) {
	b := brokertest.Start(t, t.TempDir(), fixedHTTP(t)...)
	c := newHTTPClient(t, b.HTTP())
	texts := lines(numberedLines(runs(30, 300)))
	b.Publish("jobs", texts...)
	ask := func(want int, path, body string) httpAnswer {
		t.Helper()
		a, err := insist(func() (httpAnswer, error) {
			return c.do("POST", "/topics/jobs/groups/g/"+path, strings.NewReader(body))
		})
		if err != nil || a.status != want {
			t.Fatalf("%s: %d %q, %v", path, a.status, a.body, err)
		}
		return a
	}
	lease := func(first int) []httpMessage {
		t.Helper()
		messages := ask(http.StatusOK, "lease?max=3&for=1h", "").Messages
		if len(messages) != 3 || messages[0].Payload != texts[first] || messages[2].Payload != texts[first+2] {
			t.Fatalf("leased %+v, not from %q on", messages, texts[first])
		}
		return messages
	}
	before := lease(0)
	for done := 0; ; done += 3 {
		b.Restart()
		now := lease(done)
		for _, path := range []string{"ack", "fail", "extend"} {
			if a := ask(http.StatusConflict, path, tokensOf(before, "")); a.Applied != 0 || len(a.Expired) != len(before) {
				t.Fatalf("%s of before: %q", path, a.body)
			}
		}
		ask(http.StatusOK, "extend", tokensOf(now, `,"for":"2h"`))
		ask(http.StatusOK, "ack", tokensOf(now, ""))
		report(t, tally{Runs: 1, Acked: len(now), Read: len(now)})
		if done+6 > len(texts) {
			break
		}
		before = lease(done + 3)
	}
	b.Restart()
	if a := ask(http.StatusOK, "lease?max=3", ""); len(a.Messages) > 0 {
		t.Errorf("%+v has come again after its acknowledgement", a.Messages)
	}
}

// numberedLines are n short lines.
func numberedLines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "job %d\n", i)
	}
	return b.String()
}
