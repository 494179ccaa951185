package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mbus/internal/tcpserver"
)

// A fakeClient is a connection that nobody reads or writes.
type fakeClient struct {
	tcpserver.Conn
	name    string
	aborted atomic.Bool
}

func (c *fakeClient) RemoteAddr() net.Addr { return &net.UnixAddr{Name: c.name} }
func (c *fakeClient) Abort()               { c.aborted.Store(true) }

// A carryRig is a carrier whose roads and services a test follows.
type carryRig struct {
	*carrier
	t       *testing.T
	service atomic.Pointer[fakeService]
	stopRun func()

	mu     sync.Mutex
	events []string
	refuse map[string]error // what carrying there ends with
}

// A fakeService notes the clients that it takes.
type fakeService struct {
	rig     *carryRig
	leaving bool
}

func (s *fakeService) Take(port string, c tcpserver.Conn) bool {
	if !s.leaving {
		s.rig.note("%s takes %s", port, c.(*fakeClient).name)
	}
	return !s.leaving
}

func (s *fakeService) Leave(context.Context) error { return nil }

func (r *carryRig) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, fmt.Sprintf(format, args...))
}

func (r *carryRig) fail(address string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refuse[address]
}

func (r *carryRig) setFail(address string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse[address] = err
}

func (r *carryRig) Carry(ctx context.Context, port string, c tcpserver.Conn, owner Member) error {
	to := owner.Ports[PortLinks]
	if err := r.fail(to); err != nil {
		return err
	}
	r.note("%s carries %s to %s", port, c.(*fakeClient).name, to)
	<-ctx.Done()
	r.note("%s cut", c.(*fakeClient).name)
	return net.ErrClosed
}

func (r *carryRig) Refuse(port string, c tcpserver.Conn) {
	r.note("%s refuses %s", port, c.(*fakeClient).name)
}

func (r *carryRig) must(after time.Duration, want ...string) {
	r.t.Helper()
	time.Sleep(after)
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if got := strings.Join(r.events, ", "); got != strings.Join(want, ", ") {
		r.t.Fatalf("it has done %q, want %q", got, want)
	}
	r.events = nil
}

// owner has the roll know of an owner; epoch 0 is that it has none any more.
func (r *carryRig) owner(node int32, epoch uint64) {
	r.roll.enter(Member{Node: node, Owns: epoch, Ports: map[string]string{PortLinks: fmt.Sprint("node", node)}}, time.Now())
}

func carryTest(t *testing.T, test func(r *carryRig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		r := &carryRig{t: t, refuse: make(map[string]error)}
		r.carrier = &carrier{
			node: 1, road: r, log: log, carried: make(map[*carriage]struct{}),
			roll: newRoll(newHub().port(), func() Member { return Member{Node: 1} }, log),
			here: func() Service {
				if s := r.service.Load(); s != nil {
					return s
				}
				return nil
			},
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { r.run(ctx) })
		test(r)
		r.stop()
		cancel()
		running.Wait()
	})
}

func TestClientsGoToTheOwner(t *testing.T) {
	carryTest(t, func(r *carryRig) {
		r.service.Store(&fakeService{rig: r})
		r.Take("lines", &fakeClient{name: "a"})
		r.must(0, "lines takes a")
		r.service.Store(nil)
		r.owner(2, 5)
		r.Take("kafka", &fakeClient{name: "b"})
		r.must(0, "kafka carries b to node2")
	})
}

// A client that comes while there is no owner waits for one.
func TestClientsWaitForAnOwner(t *testing.T) {
	carryTest(t, func(r *carryRig) {
		r.Take("lines", &fakeClient{name: "a"})
		r.must(10 * time.Second)
		r.owner(3, 1)
		r.must(0, "lines carries a to node3")
		r.owner(3, 0)
		r.Take("lines", &fakeClient{name: "b"})
		r.must(10 * time.Second)
		r.service.Store(&fakeService{rig: r})
		r.must(lookAgain, "lines takes b")
	})
}

func TestClientsAreRefusedWithoutAnOwner(t *testing.T) {
	carryTest(t, func(r *carryRig) {
		r.Take("lines", &fakeClient{name: "a"})
		r.must(ownerTime - time.Millisecond)
		r.must(time.Millisecond, "lines refuses a")
	})
}

// An owner that can't be reached, or does not know that it is the owner, is asked again.
func TestOwnerThatRefusesIsAskedAgain(t *testing.T) {
	carryTest(t, func(r *carryRig) {
		r.owner(2, 1)
		r.setFail("node2", fmt.Errorf("no: %w", ErrElsewhere))
		r.Take("lines", &fakeClient{name: "a"})
		r.must(5 * time.Second)
		r.setFail("node2", nil)
		r.must(lookAgain, "lines carries a to node2")
	})
}

// A service that is leaving takes no clients: they wait for the next owner.
func TestClientsDoNotGoToAServiceThatLeaves(t *testing.T) {
	carryTest(t, func(r *carryRig) {
		r.service.Store(&fakeService{rig: r, leaving: true})
		r.Take("lines", &fakeClient{name: "a"})
		r.must(time.Second)
		r.service.Store(nil)
		r.owner(2, 9)
		r.must(0, "lines carries a to node2")
	})
}

// A frozen owner keeps its connections open, so that another takeover cuts them.
func TestLinksToAnOwnerThatIsReplacedAreCut(t *testing.T) {
	carryTest(t, func(r *carryRig) {
		r.owner(2, 5)
		r.Take("lines", &fakeClient{name: "a"})
		r.must(0, "lines carries a to node2")
		r.owner(2, 0) // in good order: it ends its connections itself
		r.must(time.Hour)
		r.owner(3, 6)
		r.must(0, "a cut")
		r.Take("lines", &fakeClient{name: "b"})
		r.must(0, "lines carries b to node3")
		r.owner(2, 5) // wakes, and says what is not true any more
		r.Take("lines", &fakeClient{name: "c"})
		r.must(0, "lines carries c to node3")
	})
}

func TestStopEndsAllClients(t *testing.T) {
	carryTest(t, func(r *carryRig) {
		waits := &fakeClient{name: "waits"}
		r.Take("lines", waits)
		r.must(time.Second)
		r.owner(2, 5)
		r.must(0, "lines carries waits to node2")
		r.owner(2, 0)
		other, late := &fakeClient{name: "other"}, &fakeClient{name: "late"}
		r.Take("lines", other)
		start := time.Now()
		r.stop()
		r.must(0, "waits cut")
		r.Take("lines", late)
		if !other.aborted.Load() || !late.aborted.Load() || time.Since(start) != 0 {
			t.Errorf("aborted %v, %v after %v", other.aborted.Load(), late.aborted.Load(), time.Since(start))
		}
	})
}
