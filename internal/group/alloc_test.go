package group_test

import (
	"testing"
	"time"

	"mbus/internal/group"
)

var timeZero = time.UnixMilli(0)

// A worker leases batches and acknowledges the one before.
type worker struct {
	group.Member
	pos  *group.Position
	size int64
}

func (w *worker) lease(t testing.TB) {
	s, _ := w.pos.Free(1<<62, timeZero)
	if s.To = s.From + w.size; !w.Lease(w.pos, s, 100*w.size) {
		t.Fatalf("%v is refused", s)
	}
}

func (w *worker) ack(t testing.TB) {
	messages, _ := w.Open()
	if err := w.Ack(w.Sent() - uint64(messages-w.size)); err != nil {
		t.Fatal(err)
	}
}

// busy makes groups whose positions log is within a write until the test ends, as it
// is while a disk syncs.
func busy(t testing.TB) *group.Groups {
	begun, end := make(chan struct{}), make(chan struct{})
	g := group.New(func([]group.Entry) error {
		select {
		case begun <- struct{}{}:
		case <-end:
		}
		<-end
		return nil
	})
	g.Commit([]group.Set{{Position: position(g, prodKey)}}, func(error) {})
	<-begun
	t.Cleanup(func() {
		close(end)
		g.Flush()
	})
	return g
}

// crew is workers that share a position, each with a batch unacknowledged, so
// that they acknowledge out of turn.
func crew(t testing.TB, p *group.Position, size int64) []*worker {
	all := make([]*worker, 4)
	for i := range all {
		all[i] = &worker{pos: p, size: size}
		all[i].lease(t)
	}
	return all
}

func TestLeasesAndAcknowledgementsAllocateNothing(t *testing.T) {
	for name, p := range map[string]*group.Position{
		"of a group": position(busy(t), theKey), "of no group": group.NewPosition(0),
	} {
		all := crew(t, p, 100)
		i := 0
		turn := func() {
			w := all[i%len(all)]
			i += 3
			w.lease(t)
			w.ack(t)
		}
		for range 100 {
			turn()
		}
		if n := testing.AllocsPerRun(1000, turn); n != 0 {
			t.Errorf("%s: %v allocations for a lease and an acknowledgement", name, n)
		}
	}
}

// Four members share a position, and a batch is leased and one acknowledged each
// turn.
func BenchmarkLeaseAndAck(b *testing.B) {
	for name, p := range map[string]func(testing.TB) *group.Position{
		"while the disk syncs": func(t testing.TB) *group.Position { return position(busy(t), theKey) },
		"no disk":              func(testing.TB) *group.Position { return position(group.New(kept), theKey) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			all := crew(b, p(b), 100)
			for i := 0; b.Loop(); i++ {
				w := all[i%len(all)]
				w.lease(b)
				w.ack(b)
			}
		})
	}
}
