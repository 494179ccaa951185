package group_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"mbus/internal/group"
)

// kept writes nothing, and always well.
func kept([]group.Entry) error { return nil }

// position is the one that k names, where there is room for any number.
func position(g *group.Groups, k group.Key) *group.Position {
	p, err := g.Position(k, group.ID{})
	if err != nil {
		panic(err)
	}
	return p
}

// commit sets a position, and waits until it is durable.
func commit(t testing.TB, g *group.Groups, k group.Key, s group.State) {
	t.Helper()
	done := make(chan error, 1)
	g.Commit([]group.Set{{Position: position(g, k), State: s}}, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func keyOf(topic string) group.Key { return group.Key{Group: "g", Topic: topic} }

func TestOnlySoManyAcknowledgedSpansAndFailuresAreKept(t *testing.T) {
	g := group.New(kept)
	p := position(g, theKey)
	var good, bad group.Member
	const many = 11_000
	for i := range int64(many) {
		if !good.Lease(p, group.Span{From: 3*i + 1, To: 3*i + 2}, 0) || !bad.Lease(p, group.Span{From: 3*i + 2, To: 3*i + 3}, 0) {
			t.Fatal("refused")
		}
		if _, ok, err := bad.Fail(uint64(i)+1, group.Retry{}, timeZero); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	good.AckAll()
	s := g.Of(theKey.Group)[0].State
	if len(s.AckedAhead) < 100 || len(s.AckedAhead) >= many || len(s.Failed) < 100 || len(s.Failed) >= many {
		t.Fatalf("%d spans, %d failures of %d are kept", len(s.AckedAhead), len(s.Failed), many)
	}
	parsed, err := group.ParseValue(s.AppendValue(nil, 0))
	if err != nil {
		t.Fatalf("what was written is not read: %v", err)
	}
	mustEqualState(t, parsed, s)
}

func TestTheEndOfALeaseWakesThoseThatWaitForIt(t *testing.T) {
	for name, end := range map[string]func(*group.Member, *group.Position){
		"by an acknowledgement":   func(m *group.Member, _ *group.Position) { m.AckAll() },
		"by a release":            func(m *group.Member, _ *group.Position) { m.Release() },
		"by something given back": func(m *group.Member, p *group.Position) { m.GiveBack(p, 1) },
		"by a failure":            func(m *group.Member, _ *group.Position) { _, _, _ = m.Fail(1, group.Retry{}, timeZero) },
	} {
		t.Run(name, func(t *testing.T) {
			p := position(group.New(kept), theKey)
			var a, b group.Member
			b.Lease(p, group.Span{From: 0, To: 3}, 0)
			first, second := p.LeaseEnded(&a, 10), p.LeaseEnded(&a, 10)
			select {
			case <-first:
				t.Fatal("woken before anything happened")
			default:
			}
			end(&b, p)
			<-first
			<-second
		})
	}
}

func TestThePositionsOfAGroupThatAreKeptAreListed(t *testing.T) {
	g := group.New(kept)
	var m group.Member
	lease := func(topic string, from, to int64) {
		m.Lease(position(g, keyOf(topic)), group.Span{From: from, To: to}, 0)
	}
	position(g, keyOf("untouched"))
	lease("moved", 0, 5)
	lease("beyond", 2, 5)
	m.AckAll()
	lease("leased", 0, 5)
	g.Load(keyOf("loaded"), group.State{Offset: 7, Epoch: group.NoEpoch})
	want := []group.Entry{
		{Key: keyOf("beyond"), State: group.State{AckedAhead: []group.Span{{From: 2, To: 5}}, Epoch: group.NoEpoch}},
		{Key: keyOf("loaded"), State: group.State{Offset: 7, Epoch: group.NoEpoch}},
		{Key: keyOf("moved"), State: group.State{Offset: 5, Epoch: group.NoEpoch}},
	}
	got := g.Of("g")
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i, e := range want {
		if got[i].Key != e.Key || got[i].Gone {
			t.Errorf("%+v, not %+v", got[i], e)
		}
		mustEqualState(t, got[i].State, e.State)
	}
}

func TestNumbersOfAPosition(t *testing.T) {
	g := group.New(kept)
	p, q := position(g, theKey), position(g, theKey)
	defer q.Close()
	var a, b group.Member
	a.Lease(p, group.Span{From: 0, To: 10}, 0)
	_ = a.Ack(2)
	_, _, _ = a.Fail(4, group.Retry{Backoff: time.Hour, Bound: time.Hour}, time.Now())
	_, _ = b.Claim(p, group.Span{From: 10, To: 11}, 'x', 0)
	_, _ = b.Claim(p, group.Span{From: 11, To: 12}, 'x', 0)
	b.Lease(p, group.Span{From: 12, To: 15}, 0)
	_, _ = b.Claim(p, group.Span{From: 15, To: 16}, 'y', 0)
	want := group.Numbers{Key: theKey, Committed: 2, Unacknowledged: 7 + 1 + 3 + 1, Waiting: 1 + 1, Members: 2, Attempt: 2, Returned: 1}
	if got := g.Numbers(""); len(got) != 1 || got[0] != want {
		t.Errorf("%+v, not %+v", got, want)
	}
	b.AckAll()
	p.Close()
	want.Unacknowledged, want.Waiting, want.AckedAhead, want.Members = 7, 1, 5, 1
	if got := g.Numbers(""); len(got) != 1 || got[0] != want {
		t.Errorf("%+v, not %+v", got, want)
	}
}

func TestUnusedPositionsAreForgotten(t *testing.T) {
	g := group.New(kept)
	var m group.Member
	forgotten := func(use func(*group.Position)) bool {
		first := position(g, theKey)
		use(first)
		second := position(g, theKey)
		if second != first {
			t.Error("the same key names two positions")
		}
		second.Close()
		first.Close()
		third := position(g, theKey)
		defer third.Close()
		return third != first
	}
	if !forgotten(func(p *group.Position) { m.Lease(p, group.Span{From: 0, To: 5}, 0); m.Release() }) {
		t.Error("one of which nothing was acknowledged is kept")
	}
	if forgotten(func(p *group.Position) { m.Lease(p, group.Span{From: 2, To: 5}, 0); m.AckAll() }) {
		t.Error("one of which something was acknowledged out of turn is forgotten")
	}
	if forgotten(func(p *group.Position) { m.Lease(p, group.Span{From: 0, To: 2}, 0); m.AckAll() }) {
		t.Error("one that has moved is forgotten")
	}
}

func TestAGroupIsUsedInOneWayAtATime(t *testing.T) {
	g := group.New(kept)
	line, ordered := group.Membership{Protocol: "line"}, group.Membership{Protocol: "line", Ordered: true}
	kafka := group.Membership{Protocol: "kafka"}
	first, err := g.Join("g", line)
	if err != nil {
		t.Fatal(err)
	}
	second, err := g.Join("g", line)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range []group.Membership{ordered, kafka} {
		var inUse *group.InUseError
		if _, err := g.Join("g", u); !errors.As(err, &inUse) || inUse.Group != "g" || inUse.By != line {
			t.Errorf("%v joins: %v", u, err)
		}
	}
	if _, err := g.Join("another", kafka); err != nil {
		t.Error(err)
	}
	first()
	if n, by := g.Members("g"); n != 1 || by != line {
		t.Errorf("%d members, %v", n, by)
	}
	second()
	if n, _ := g.Members("g"); n != 0 {
		t.Errorf("%d members when all have left", n)
	}
	if _, err := g.Join("g", kafka); err != nil {
		t.Errorf("when all have left: %v", err)
	}
}

// Members come and go in many goroutines; every offset must be acknowledged by
// exactly one of them, one write be under way at a time, and the last one hold
// all.
func TestMembersInManyGoroutinesShareWithoutLossOrDuplicates(t *testing.T) {
	const end, members = 20_000, 8
	var mu sync.Mutex
	last := int64(0)
	g := group.New(func(entries []group.Entry) error {
		if !mu.TryLock() {
			t.Error("two writes at a time")
			return nil
		}
		defer mu.Unlock()
		if len(entries) != 1 || entries[0].Offset < last {
			t.Errorf("write of %+v after %d", entries, last)
			return nil
		}
		last = entries[0].Offset
		return nil
	})
	p := position(g, theKey)
	acked := make([][]group.Span, members)
	var all sync.WaitGroup
	for i := range acked {
		all.Go(func() { acked[i] = takeAll(p, end, i) })
	}
	all.Wait()
	synced := make(chan error, 1)
	g.Sync(func(err error) { synced <- err })
	if err := <-synced; err != nil || last != end {
		t.Errorf("written is %d, %v", last, err)
	}
	spans := slices.Concat(acked...)
	slices.SortFunc(spans, func(a, b group.Span) int { return int(a.From - b.From) })
	next := int64(0)
	for _, s := range spans {
		if s.From != next {
			t.Fatalf("%v was acknowledged after %d", s, next)
		}
		next = s.To
	}
	if next != end || p.Committed() != end {
		t.Errorf("acknowledged is %d, committed %d", next, p.Committed())
	}
}

// takeAll leases and acknowledges until everything is acknowledged, and gives
// back every third lease.
func takeAll(p *group.Position, end int64, salt int) (acked []group.Span) {
	m := new(group.Member)
	for i := salt; p.Committed() < end; i++ {
		s, _ := p.Free(end, timeZero)
		if s.To = min(s.To, s.From+int64(i%7)+1); !m.Lease(p, s, 0) {
			if c := p.LeaseEnded(m, end); c != nil && s.From >= end {
				<-c
			}
			continue
		}
		if i%3 == 0 {
			m.Release()
			continue
		}
		acked = append(acked, s)
		m.AckAll()
	}
	return acked
}
