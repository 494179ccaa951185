package cluster

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A nodeRig is a node of a test, with a scripted engine.
type nodeRig struct {
	*Node
	*scripted
	*hubPort

	mu   sync.Mutex
	goes string // where clients go
}

// Goes says where clients go.
func (r *nodeRig) Goes() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.goes
}

func startNodes(t *testing.T, count int) (rigs []*nodeRig) {
	t.Helper()
	h := newHub()
	for i := range count {
		r := &nodeRig{scripted: new(scripted), hubPort: h.port()}
		var err error
		r.Node, err = Start(Options{
			Node: int32(i + 1), Version: "v", Ports: map[string]string{PortLinks: fmt.Sprint("node", i+1)},
			Engine: struct {
				Leadership
				Bus
			}{r.scripted, r.hubPort}, Serve: r.serve, Log: slog.New(slog.DiscardHandler),
			Report: func(*Member) {},
			Lead: func(s Service, owner Member) {
				r.mu.Lock()
				defer r.mu.Unlock()
				if r.goes = owner.Ports[PortLinks]; s != nil {
					r.goes += "here"
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		r.Own()
		rigs = append(rigs, r)
	}
	return rigs
}

func TestClientsOfAllNodesGoToTheOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rigs := startNodes(t, 3)
		must := func(after time.Duration, want string) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			var got []string
			for _, r := range rigs {
				got = append(got, r.Goes())
			}
			if got := strings.Join(got, " "); got != want {
				t.Fatalf("clients go to %q, want %q", got, want)
			}
		}
		epoch := uint64(0)
		own := func(r *nodeRig) { // epochs ascend over all nodes
			r.scripted.epoch = epoch
			r.scripted.lead(true)
			epoch++
		}
		must(time.Minute, "  ")
		own(rigs[0])
		must(2*lookEvery, "here node1 node1")

		// In good order: the clients that are carried to it are not cut off, until there is another.
		rigs[0].scripted.lead(false)
		must(lookEvery, " node1 node1")
		own(rigs[1])
		must(2*lookEvery, "node2 here node2")

		// The owner is frozen: its clients are cut off as soon as another has taken over.
		rigs[1].hubPort.setCut(true)
		must(2*goneAfter, "node2 here node2")
		own(rigs[2])
		must(2*lookEvery, "node3 here here")
		rigs[1].hubPort.setCut(false)
		rigs[1].scripted.lead(false)
		must(time.Second, "node3 node3 here")

		rigs[2].Stop()
		must(0, "node3 node3 ")
		own(rigs[0])
		must(time.Second, "here node1 ")
		rigs[0].Stop()
		rigs[1].Stop()
	})
}

func TestNodesKnowTheStateOfEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rigs := startNodes(t, 3)
		time.Sleep(time.Second)
		rigs[1].hubPort.setCut(true)
		time.Sleep(2 * goneAfter)
		states := func(r *nodeRig) string {
			var all []string
			for _, s := range r.Nodes() {
				all = append(all, fmt.Sprint(s.Node, s.State))
			}
			return strings.Join(all, " ")
		}
		if a, b := states(rigs[0]), states(rigs[1]); a != "1up 2gone 3up" || b != "1gone 2up 3gone" {
			t.Errorf("node 1: %s; node 2: %s", a, b)
		}
		for _, r := range rigs {
			r.Stop()
		}
	})
}
