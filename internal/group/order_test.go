package group_test

import (
	"testing"

	"mbus/internal/group"
)

func TestOrder(t *testing.T) {
	for name, text := range map[string]string{
		"a message waits for the one before with the same key": `
			a claims 0 x
			b claims 1 x -> waits
			b claims 2 y
			free 4 -> 3 4
			a acks
			free 4 -> 1 2
			b claims 1 x
			b acks
			kept -> 3`,
		"a message of another is refused": `
			a claims 0 x
			b claims 0 x -> refused
			b claims 1 x -> waits
			a claims 1 x -> refused`,
		"those that wait come in the order of their offsets": `
			a claims 0 x
			a claims 1 x -> waits
			b claims 2 x -> waits
			a acks
			free 3 -> 1 2
			b claims 1 x
			free 3 -> nothing
			b acks
			free 3 -> 2 3`,
		"one that is given back comes before those that wait for it": `
			a claims 0 x
			a claims 1 x -> waits
			a gives back 0
			free 3 -> 0 1
			b claims 0 x
			free 3 -> 2 3`,
		"those behind one that has failed wait": `
			a claims 0 x
			a claims 1 x -> waits
			a fails 1 -> attempt 1 of 0
			free 2 -> due in 1s
			after 1s
			free 2 -> 0 1
			a claims 0 x
			a acks
			free 2 -> 1 2`,
		"those behind one that is buried are free": `
			a claims 0 x
			a claims 1 x -> waits
			a fails 1 -> attempt 1 of 0
			log 2
			b rests
			bury 0
			woken -> b
			free 2 -> 1 2`,
		"when all have left nobody waits": `
			a claims 0 x
			a claims 1 x -> waits
			a leaves
			free 3 -> 0 3`,
		"when all have left, one that has failed is still not overtaken": `
			a claims 0 x
			a claims 1 x -> waits
			a fails 1 -> attempt 1 of 0
			a leaves
			free 3 -> 2 3
			b claims 2 x -> waits
			after 1s
			free 3 -> 0 1
			b claims 0 x
			b acks
			free 3 -> 1 2`,
		"after a commit nobody waits": `
			a claims 0 x
			a claims 1 x -> waits
			a releases
			commit 1
			b claims 1 x
			b acks
			committed -> 2`,
		"one that begins behind it does not wait for it": `
			a claims 0 x
			a releases
			start 1
			b claims 1 x
			b acks
			committed -> 2`,
		"a member that waits is woken when a message is acknowledged": `
			log 3
			a claims 0 x
			a claims 1 x -> waits
			a claims 2 y
			b rests
			a acks 1
			woken -> b
			b claims 1 x
			b rests
			a acks 2
			woken -> nobody`,
	} {
		t.Run(name, func(t *testing.T) { runScript(t, text) })
	}
}

// claimKeys has m claim messages of keys of their own, from an offset on, and returns
// how many it got.
func claimKeys(m *group.Member, p *group.Position, from, most int64) (n int64) {
	for ; n < most; n++ {
		if got, free := m.Claim(p, group.Span{From: from + n, To: from + n + 1}, uint64(from+n), 1); !got || !free {
			break
		}
	}
	return n
}

// A member with a window as large as it likes can't have the broker remember more keys.
func TestKeysOfUnacknowledgedMessagesAreBounded(t *testing.T) {
	const most = 100_000
	p, end := group.NewPosition(0), int64(2*most)
	var m, other group.Member
	if n := claimKeys(&m, p, 0, end); n != most {
		t.Fatalf("%d keys", n)
	}
	if s, _ := p.Free(end, timeZero); s.Len() != 0 {
		t.Errorf("%v is free", s)
	}
	woken := 0
	w := group.NewWaiter(func() { woken++ })
	w.Watch(p, &simulatedLog{high: end})
	w.Rest()
	m.GiveBack(p, most-1)
	if s, _ := p.Free(end, timeZero); s != (group.Span{From: most - 1, To: most}) || woken != 1 {
		t.Errorf("%v is free, woken %d times", s, woken)
	}
	if claimKeys(&other, p, most-1, 1) != 1 {
		t.Error("what was given back is refused")
	}
	w.Rest()
	if err := m.Ack(1); err != nil || woken != 2 {
		t.Errorf("woken %d times, %v", woken, err)
	}
	if s, _ := p.Free(end, timeZero); s != (group.Span{From: most, To: end}) {
		t.Errorf("%v is free", s)
	}
	if n := claimKeys(&other, p, most, most); n != 1 {
		t.Errorf("%d keys more", n)
	}
}

// A member that finds a free message gets it: otherwise it would ask again and again.
func TestAReopenedMessageIsClaimedWhereThereAreAllKeys(t *testing.T) {
	const most = 100_000
	p := group.NewPosition(0)
	var m, other group.Member
	claimKeys(&m, p, 0, most)
	if err := m.Ack(1); err != nil || claimKeys(&m, p, most, 1) != 1 {
		t.Fatal(err)
	}
	if err := p.Reopen(0); err != nil {
		t.Fatal(err)
	}
	if s, _ := p.Free(2*most, timeZero); s != (group.Span{To: 1}) || claimKeys(&other, p, s.From, s.Len()) != 1 {
		t.Errorf("%v is free, and not to be had", s)
	}
	if s, _ := p.Free(2*most, timeZero); s.Len() != 0 {
		t.Errorf("%v is free", s)
	}
}

func TestKeysOfAllPositionsAreBounded(t *testing.T) {
	const positions, each, least = 10, 100_000, 100
	g := group.New(kept)
	var first group.Member
	var all []*group.Position
	for i := range positions {
		p := position(g, group.Key{Group: "g", Topic: "orders", Partition: i})
		if n := claimKeys(&first, p, 0, each); n != each {
			t.Fatalf("%d keys", n)
		}
		all = append(all, p)
	}
	p := position(g, group.Key{Group: "h", Topic: "orders"})
	defer p.Close()
	var m group.Member
	if n := claimKeys(&m, p, 0, each); n != least {
		t.Errorf("%d keys of one more", n)
	}
	if err := m.Ack(10); err != nil || claimKeys(&m, p, least, each) != 10 {
		t.Errorf("it does not go on, %v", err)
	}
	g.Delete("g", func(k group.Key) bool { return k.Partition == 0 })
	first.Release()
	for _, p := range all {
		p.Close()
	}
	const room = 2 * each // of those that were left
	q := position(g, group.Key{Group: "i", Topic: "orders"})
	defer q.Close()
	if n := claimKeys(&m, p, least+10, room); n != each-least {
		t.Errorf("%d keys where there is room again", n)
	}
	if n := claimKeys(&m, q, 0, room); n != each {
		t.Errorf("%d keys of another where there is room again", n)
	}
}
