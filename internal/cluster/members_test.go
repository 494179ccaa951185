package cluster

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A hub carries heartbeats between the rolls of a test.
type hub struct {
	mu    sync.Mutex
	ports map[*hubPort]func([]byte)
}

// A hubPort is one node's way to the hub.
type hubPort struct {
	hub *hub
	cut bool // nothing comes or goes
}

func newHub() *hub { return &hub{ports: make(map[*hubPort]func([]byte))} }

func (h *hub) port() *hubPort { return &hubPort{hub: h} }

func (p *hubPort) setCut(cut bool) {
	p.hub.mu.Lock()
	defer p.hub.mu.Unlock()
	p.cut = cut
}

func (p *hubPort) Send(_ string, data []byte) error {
	p.hub.mu.Lock()
	var to []func([]byte)
	for other, f := range p.hub.ports {
		if !p.cut && !other.cut {
			to = append(to, f)
		}
	}
	p.hub.mu.Unlock()
	for _, f := range to {
		f(data)
	}
	return nil
}

func (p *hubPort) Subscribe(_ string, f func([]byte)) (func(), error) {
	p.hub.mu.Lock()
	defer p.hub.mu.Unlock()
	p.hub.ports[p] = f
	return func() {
		p.hub.mu.Lock()
		defer p.hub.mu.Unlock()
		delete(p.hub.ports, p)
	}, nil
}

// A rollRig is the roll of one node of a test, in a bubble.
type rollRig struct {
	*roll
	port *hubPort
	log  bytes.Buffer
	stop func()

	mu   sync.Mutex
	says Member
	slow time.Duration // its clock is so far behind
}

// say changes what the node says of itself, and says it.
func (r *rollRig) say(f func(*Member)) {
	r.mu.Lock()
	f(&r.says)
	r.mu.Unlock()
	r.beat()
}

func startRolls(t *testing.T, count int) (rigs []*rollRig) {
	t.Helper()
	h := newHub()
	for i := range count {
		r := &rollRig{port: h.port(), says: Member{Node: int32(i + 1), Start: fmt.Sprint("s", i), Ports: map[string]string{"links": fmt.Sprint("host", i)}}}
		r.roll = newRoll(r.port, func() Member {
			r.mu.Lock()
			defer r.mu.Unlock()
			m := r.says
			m.Clock = time.Now().Add(-r.slow).UnixMilli()
			return m
		}, slog.New(slog.NewTextHandler(&r.log, nil)))
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		unsubscribe, err := r.open()
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() { r.run(ctx) })
		r.stop = func() { cancel(); running.Wait(); unsubscribe() }
		rigs = append(rigs, r)
	}
	return rigs
}

func stopRolls(rigs []*rollRig) {
	for _, r := range rigs {
		r.stop()
	}
}

// lives are the numbers of the nodes that live, and the owner's.
func (r *rollRig) lives() string {
	var all []int32
	for _, m := range r.live() {
		all = append(all, m.Node)
	}
	owner, _ := r.owner()
	return fmt.Sprintf("%d owner %d", all, owner.Node)
}

func TestRollKnowsWhoLivesAndWhoOwns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rigs := startRolls(t, 3)
		defer stopRolls(rigs)
		must := func(after time.Duration, want ...string) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			for i, want := range want {
				if got := rigs[i].lives(); got != want {
					t.Fatalf("node %d: %s, want %s", i+1, got, want)
				}
			}
		}
		all := func(s string) []string { return []string{s, s, s} }
		must(time.Second, all("[1 2 3] owner 0")...)
		rigs[0].say(func(m *Member) { m.Owns = 7 })
		must(0, all("[1 2 3] owner 1")...)

		// The owner is frozen, or cut off: another takes over. What the old one says later does not count.
		rigs[0].port.setCut(true)
		must(goneAfter+beatEvery, "[1] owner 1", "[2 3] owner 0", "[2 3] owner 0")
		rigs[1].say(func(m *Member) { m.Owns = 8 })
		must(0, "[1] owner 1", "[2 3] owner 2", "[2 3] owner 2")
		rigs[0].port.setCut(false)
		must(beatEvery, all("[1 2 3] owner 2")...)
		rigs[1].say(func(m *Member) { m.Owns = 0 })
		must(beatEvery, all("[1 2 3] owner 0")...)

		rigs[2].stop() // in good order
		must(0, "[1 2] owner 0", "[1 2] owner 0")
	})
}

func TestAwaitWakesWithTheOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rigs := startRolls(t, 2)
		defer stopRolls(rigs)
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		time.AfterFunc(10*time.Second, func() { rigs[1].say(func(m *Member) { m.Owns = 1 }) })
		if m, ok := rigs[0].await(ctx); !ok || m.Node != 2 || m.Ports["links"] != "host1" || time.Since(start) != 10*time.Second {
			t.Errorf("%+v, %v after %v", m, ok, time.Since(start))
		}
		rigs[1].say(func(m *Member) { m.Owns = 0 })
		if m, ok := rigs[0].await(ctx); ok || time.Since(start) != time.Minute {
			t.Errorf("%+v, %v after %v", m, ok, time.Since(start))
		}
	})
}

// A clock that is wrong for long is warned of once; heartbeats that come late for a moment are not.
func TestClocksThatDifferAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rigs := startRolls(t, 2)
		defer stopRolls(rigs)
		warnings := func() int {
			synctest.Wait()
			return strings.Count(rigs[0].log.String(), "the clocks of two nodes differ")
		}
		slow := func(d time.Duration) {
			rigs[1].mu.Lock()
			defer rigs[1].mu.Unlock()
			rigs[1].slow = d
		}
		slow(maxSkew - time.Millisecond)
		time.Sleep(time.Minute)
		slow(time.Hour)
		time.Sleep(goneAfter - beatEvery)
		slow(0)
		time.Sleep(time.Minute)
		if n := warnings(); n != 0 {
			t.Errorf("%d warnings: %s", n, &rigs[0].log)
		}
		slow(-time.Hour)
		time.Sleep(time.Minute)
		if n := warnings(); n != 1 || !strings.Contains(rigs[0].log.String(), `node=2 "ahead of this node"=1h0m0s`) {
			t.Errorf("%d warnings: %s", n, &rigs[0].log)
		}
		slow(0)
		time.Sleep(time.Second)
		synctest.Wait()
		if !strings.Contains(rigs[0].log.String(), "agree again") {
			t.Errorf("%s", &rigs[0].log)
		}
	})
}

func TestSpaceIsTheLeastOfAllNodesThatLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rigs := startRolls(t, 3)
		defer stopRolls(rigs)
		for i, free := range []int64{300, 100, 200} {
			rigs[i].say(func(m *Member) { m.Free, m.Size = free, 10*free })
		}
		must := func(wantFree, wantSize int64) {
			t.Helper()
			synctest.Wait()
			if free, size := rigs[0].space(); free != wantFree || size != wantSize {
				t.Errorf("%d of %d, want %d of %d", free, size, wantFree, wantSize)
			}
		}
		must(100, 1000)
		rigs[1].stop()
		must(200, 2000)
		rigs[2].say(func(m *Member) { m.Free, m.Size = 0, 0 }) // it does not know
		must(300, 3000)
		rigs[0].say(func(m *Member) { m.Free = 0 }) // it is full
		must(0, 3000)
	})
}

func TestHeartbeatOfAnotherVersionIsIgnored(t *testing.T) {
	r := newRoll(newHub().port(), func() Member { return Member{Node: 1} }, slog.New(slog.DiscardHandler))
	for _, data := range []string{"", "x", `{"node":"2"}`, "[]"} {
		r.receive([]byte(data))
	}
	if all := r.all(); len(all) != 0 {
		t.Errorf("%+v", all)
	}
	r.receive([]byte(`{"node":2,"more":{}}`))
	if all := r.live(); len(all) != 1 || all[0].Node != 2 {
		t.Errorf("%+v", all)
	}
}
