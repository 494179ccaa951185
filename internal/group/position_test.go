package group_test

import (
	"sync"
	"testing"

	"mbus/internal/group"
)

func TestPosition(t *testing.T) {
	for name, text := range map[string]string{
		"a new one begins at 0 and is kept nowhere": `
			committed -> 0
			free 10 -> 0 10
			writes -> 0`,
		"nothing is free at the end": `
			free 0 -> nothing
			a lease 0 5
			a acks
			free 5 -> nothing
			free 3 -> nothing
			free 6 -> 5 6`,
		"what is leased is not free": `
			a lease 0 5
			free 10 -> 5 10
			b lease 5 7
			free 10 -> 7 10
			committed -> 0`,
		"free stops where somebody holds something": `
			a lease 0 2
			b lease 6 8
			free 10 -> 2 6
			free 4 -> 2 4
			c lease 2 6
			free 10 -> 8 10
			free 8 -> nothing`,
		"free goes on behind spans that touch": `
			a lease 0 2
			b lease 2 4
			a lease 4 6
			free 10 -> 6 10`,
		"a lease of what somebody holds a part of is refused": `
			a lease 3 6
			b lease 2 4 -> refused
			b lease 5 7 -> refused
			b lease 3 6 -> refused
			b lease 4 5 -> refused
			b lease 0 10 -> refused
			a lease 4 5 -> refused
			b lease 0 3
			b lease 6 9
			free 10 -> 9 10`,
		"a lease below the committed offset is refused": `
			a lease 0 5
			a acks
			b lease 0 5 -> refused
			b lease 4 6 -> refused
			b lease 5 6`,
		"an empty lease is refused": `
			a lease 3 3 -> refused
			a lease 3 2 -> refused
			free 10 -> 0 10`,
		"what is acknowledged is not free again": `
			a lease 0 5
			a acks
			free 10 -> 5 10
			committed -> 5
			kept -> 5`,
		"all that a member holds is acknowledged at once": `
			a lease 0 2
			b lease 2 4
			a lease 4 6
			a lease 8 9
			a acks
			committed -> 2
			kept -> 2 4-6 8-9
			b acks
			committed -> 6
			kept -> 6 8-9
			free 10 -> 6 8`,
		"acknowledged out of turn it waits for what is before": `
			a lease 0 3
			b lease 3 6
			b acks
			committed -> 0
			kept -> 0 3-6
			free 10 -> 6 10
			a acks
			committed -> 6
			kept -> 6`,
		"what is acknowledged out of turn is not given out again when what is before is released": `
			a lease 0 3
			b lease 3 6
			b acks
			a releases
			free 10 -> 0 3
			c lease 0 10 -> refused
			c lease 0 3
			c acks
			committed -> 6`,
		"acknowledged spans that touch are kept as one": `
			a lease 0 1
			b lease 1 2
			c lease 2 3
			b acks
			kept -> 0 1-2
			c acks
			kept -> 0 1-3
			a acks
			kept -> 3`,
		"leases of two members that touch stay apart": `
			a lease 0 3
			b lease 3 6
			a releases
			free 10 -> 0 3
			b acks
			committed -> 0
			free 10 -> 0 3`,
		"released, it is free": `
			a lease 0 3
			b lease 3 6
			a releases
			free 10 -> 0 3
			b releases
			free 10 -> 0 10
			writes -> 0`,
		"a member that holds nothing changes nothing": `
			a lease 0 3
			b releases
			b gives back 0
			b acks
			free 10 -> 3 10
			committed -> 0
			writes -> 0`,
		"a second acknowledgement writes nothing": `
			a lease 0 3
			a acks
			a acks
			a releases
			committed -> 3
			writes -> 1`,
		"given back from the middle of a span": `
			a lease 0 6
			a gives back 4
			free 10 -> 4 10
			b lease 4 6
			a acks
			committed -> 4`,
		"given back over several spans": `
			a lease 0 2
			b lease 2 4
			a lease 4 6
			a lease 8 9
			a gives back 5
			free 10 -> 5 10
			b gives back 0
			free 10 -> 2 4
			a acks
			kept -> 2 4-5`,
		"given back from below all is released": `
			a lease 3 6
			a gives back 0
			free 10 -> 0 10`,
		"given back from above all stays": `
			a lease 0 6
			a gives back 6
			free 10 -> 6 10`,
		"the rest of a member's lease may be extended": `
			a lease 0 2
			a lease 2 4
			a gives back 3
			a lease 3 5
			a acks
			committed -> 5
			kept -> 5`,
		"others are those who hold something below the end": `
			others a 10 -> nobody
			a lease 0 3
			others a 10 -> nobody
			others b 10 -> somebody
			b lease 5 7
			others a 5 -> nobody
			others a 6 -> somebody
			b acks
			others a 10 -> nobody`,
		"a restart forgets leases": `
			a lease 0 3
			a acks
			a lease 3 6
			restart
			committed -> 3
			free 10 -> 3 10`,
		"a restart forgets nothing that was acknowledged out of turn": `
			a lease 0 3
			b lease 3 6
			c lease 6 8
			b acks
			a gives back 0
			c gives back 0
			a lease 8 9
			a acks
			kept -> 0 3-6 8-9
			restart
			committed -> 0
			free 10 -> 0 3
			a lease 0 3
			free 10 -> 6 8
			a acks
			committed -> 6
			kept -> 6 8-9`,
		"while a write is under way others wait and become one": `
			journal waits
			a lease 0 1
			a acks
			writes -> 1
			b lease 1 2
			b acks
			c lease 2 3
			c acks
			writes -> 1
			kept -> 1
			journal goes on
			writes -> 2
			kept -> 3`,
		"a write that nothing has changed since is the last": `
			journal waits
			a lease 0 1
			a acks
			journal goes on
			writes -> 1
			a lease 1 2
			a acks
			writes -> 2`,
	} {
		t.Run(name, func(t *testing.T) { runScript(t, text) })
	}
}

func TestOnlySoManyAcknowledgedSpansAreKept(t *testing.T) {
	j := &heldJournal{goesOn: true}
	p := group.New(j.write).Position(theKey)
	var m group.Member
	const spans = 1500
	for i := range int64(spans) {
		if !p.Lease(&m, group.Span{From: 2*i + 1, To: 2*i + 2}) {
			t.Fatal("refused")
		}
	}
	p.Ack(&m)
	s := j.states[len(j.states)-1]
	if len(s.Beyond) < 100 || len(s.Beyond) >= spans {
		t.Fatalf("%d of %d spans are kept", len(s.Beyond), spans)
	}
	parsed, err := group.ParseValue(s.AppendValue(nil, 0))
	if err != nil {
		t.Fatalf("what was written is not read: %v", err)
	}
	mustEqualState(t, parsed, s)
}

func TestWhoWaitsForOthersIsWoken(t *testing.T) {
	for name, end := range map[string]func(*group.Position, *group.Member){
		"by an acknowledgement": (*group.Position).Ack,
		"by a release":          (*group.Position).Release,
		"by something given back": func(p *group.Position, m *group.Member) {
			p.GiveBack(m, 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := group.New((&heldJournal{goesOn: true}).write).Position(theKey)
			var a, b group.Member
			p.Lease(&b, group.Span{From: 0, To: 3})
			first, second := p.Others(&a, 10), p.Others(&a, 10)
			select {
			case <-first:
				t.Fatal("woken before anything happened")
			default:
			}
			end(p, &b)
			<-first
			<-second
		})
	}
}

func TestStatesAreThoseOfPositionsThatHaveMoved(t *testing.T) {
	g := group.New(func(_ group.Key, _ group.State, done func(error)) { done(nil) })
	var m group.Member
	key := func(topic string) group.Key { return group.Key{Group: "g", Topic: topic} }
	lease := func(topic string, from, to int64) *group.Position {
		p := g.Position(key(topic))
		p.Lease(&m, group.Span{From: from, To: to})
		return p
	}
	g.Position(key("untouched"))
	lease("leased", 0, 5)
	lease("moved", 0, 5).Ack(&m)
	lease("beyond", 2, 5).Ack(&m)
	g.Load(key("loaded"), group.State{Offset: 7})
	got := make(map[string]group.State)
	g.States(func(k group.Key, s group.State) { got[k.Topic] = s }, func() {
		if len(got) == 0 {
			t.Error("called too early")
		}
	})
	want := map[string]group.State{
		"moved": {Offset: 5}, "beyond": {Beyond: []group.Span{{From: 2, To: 5}}}, "loaded": {Offset: 7},
	}
	if len(got) != len(want) {
		t.Errorf("states of %v", got)
	}
	for topic, s := range want {
		mustEqualState(t, got[topic], s)
		if c := g.Committed(key(topic)); c != s.Offset {
			t.Errorf("committed of %s is %d", topic, c)
		}
	}
	if c := g.Committed(key("nobody has asked for")); c != 0 {
		t.Errorf("committed of an unknown position is %d", c)
	}
}

func TestUnusedPositionsAreForgotten(t *testing.T) {
	g := group.New(func(_ group.Key, _ group.State, done func(error)) { go done(nil) })
	var m group.Member
	forgotten := func(use func(*group.Position)) bool {
		first := g.Position(theKey)
		use(first)
		second := g.Position(theKey)
		if second != first {
			t.Error("the same key names two positions")
		}
		second.Close()
		first.Close()
		third := g.Position(theKey)
		defer third.Close()
		return third != first
	}
	if !forgotten(func(p *group.Position) { p.Lease(&m, group.Span{From: 0, To: 5}); p.Release(&m) }) {
		t.Error("one of which nothing was acknowledged is kept")
	}
	if forgotten(func(p *group.Position) { p.Lease(&m, group.Span{From: 2, To: 5}); p.Ack(&m) }) {
		t.Error("one of which something was acknowledged out of turn is forgotten")
	}
	if forgotten(func(p *group.Position) { p.Lease(&m, group.Span{From: 0, To: 2}); p.Ack(&m) }) {
		t.Error("one that has moved is forgotten")
	}
}

// Members come and go in many goroutines; every offset must be acknowledged by
// exactly one of them, and a write of the journal begin only after the last.
func TestMembersInManyGoroutinesShareWithoutLossOrDuplicates(t *testing.T) {
	const end, members = 20_000, 8
	var mu sync.Mutex
	writing, last := false, int64(0)
	g := group.New(func(_ group.Key, s group.State, done func(error)) {
		mu.Lock()
		if writing || s.Offset < last {
			t.Errorf("write of %d after %d; one under way: %v", s.Offset, last, writing)
		}
		writing, last = true, s.Offset
		mu.Unlock()
		go func() {
			mu.Lock()
			writing = false
			mu.Unlock()
			done(nil)
		}()
	})
	p := g.Position(theKey)
	acked := make([][]group.Span, members)
	var all sync.WaitGroup
	for i := range acked {
		all.Go(func() { acked[i] = takeAll(p, end, i) })
	}
	all.Wait()
	count := make([]int, end)
	for _, spans := range acked {
		for _, s := range spans {
			for o := s.From; o < s.To; o++ {
				count[o]++
			}
		}
	}
	for o, n := range count {
		if n != 1 {
			t.Fatalf("offset %d was acknowledged %d times", o, n)
		}
	}
	if p.Committed() != end {
		t.Errorf("committed is %d", p.Committed())
	}
}

// takeAll leases and acknowledges until everything is acknowledged, and gives
// back every third lease.
func takeAll(p *group.Position, end int64, salt int) (acked []group.Span) {
	for i := salt; p.Committed() < end; i++ {
		m := new(group.Member)
		s := p.Free(end)
		if s.To = min(s.To, s.From+int64(i%7)+1); !p.Lease(m, s) {
			if c := p.Others(m, end); c != nil && s.From >= end {
				<-c
			}
			continue
		}
		if i%3 == 0 {
			p.Release(m)
			continue
		}
		acked = append(acked, s)
		p.Ack(m)
	}
	return acked
}
