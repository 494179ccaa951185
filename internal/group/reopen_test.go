package group_test

import (
	"errors"
	"fmt"
	"testing"

	"mbus/internal/group"
)

func TestReopen(t *testing.T) {
	for name, text := range map[string]string{
		"what was consumed is free again, and nothing around it": `
			a lease 0 9
			a acks
			reopen 4
			committed -> 4
			free 20 -> 4 5
			b lease 4 5
			free 20 -> 9 20
			b acks
			committed -> 9`,
		"many, in any order": `
			a lease 0 9
			a acks
			reopen 7
			reopen 2
			reopen 3
			reopen 8
			reopen 4
			committed -> 2
			free 20 -> 2 5
			b lease 2 5
			free 20 -> 7 20
			b lease 7 9
			b acks
			committed -> 9`,
		"the first and the last": `
			a lease 0 3
			a acks
			reopen 2
			reopen 0
			free 3 -> 0 1
			b lease 0 1
			b acks
			committed -> 2
			free 3 -> 2 3`,
		"above the committed offset, in the middle of what was consumed out of turn": `
			a lease 0 1
			b lease 1 9
			b acks
			reopen 4
			committed -> 0
			free 9 -> 4 5
			a acks
			committed -> 4
			kept -> 4 5-9`,
		"what is not consumed stays as it is": `
			a lease 0 3
			b lease 3 5
			b acks
			reopen 1
			reopen 7
			free 9 -> 5 9
			a acks
			committed -> 5`,
		"a message that waits to be tried again waits": `
			a lease 0 2
			a acks 1
			a fails 2 -> attempt 1 of 1
			reopen 1
			free 2 -> due in 1s`,
		"attempts are counted from 1 again": `
			a lease 0 2
			a fails 1 -> attempt 1 of 0
			after 1s
			free 1 -> 0 1
			b lease 0 1
			b acks
			a acks
			reopen 0
			c lease 0 1
			c fails 1 -> attempt 1 of 0`,
		"a dead message is not reopened before it is settled": `
			a lease 0 1
			a fails 1 -> attempt 1 of 0
			after 1s
			free 1 -> 0 1
			a lease 0 1
			a fails 2 -> attempt 2 of 0
			after 2s
			free 1 -> 0 1
			a lease 0 1
			a fails 3 -> dead at 0
			reopen 0 -> dying
			bury 0
			reopen 0
			b lease 0 1
			b fails 1 -> attempt 1 of 0`,
		"a dead message that could not be buried comes by itself": `
			a lease 0 1
			a fails 1 -> attempt 1 of 0
			after 1s
			free 1 -> 0 1
			a lease 0 1
			a fails 2 -> attempt 2 of 0
			after 2s
			free 1 -> 0 1
			a lease 0 1
			a fails 3 -> dead at 0
			unbury 0
			reopen 0
			free 1 -> due in 1s`,
		"members get it at once": `
			a lease 0 3
			a acks
			log 3
			b rests
			woken -> nobody
			reopen 1
			woken -> b`,
		"it is durable with the next sync": `
			a lease 0 3
			a acks
			disk waits
			reopen 1
			sync
			synced -> no
			durable -> 3
			disk goes on
			synced -> ok
			durable -> 1
			kept -> 1 2-3
			restart
			free 9 -> 1 2`,
		"a write that fails is no end of it": `
			a lease 0 3
			a acks
			disk fails
			reopen 1
			sync
			synced -> failed
			free 9 -> 1 2
			disk goes on
			after 2s
			kept -> 1 2-3`,
		"in a group that has not begun there is nothing": `
			reopen 0 -> no position
			kept -> nothing`,
		"nor where the position was deleted": `
			a lease 0 3
			a acks
			delete
			reopen 0 -> no position`,
		"a Kafka client would get all that lies above, too": `
			commit 5
			commits -> ok
			reopen 2 -> assigned
			committed -> 5`,
		"behind one with its key that is under way it waits": `
			a claims 0 k
			a acks
			a claims 1 k
			reopen 0
			b claims 0 k -> waits
			a acks
			b claims 0 k`,
		"those behind it with its key wait": `
			a claims 0 k
			a claims 1 k -> waits
			a acks
			a claims 1 k
			a acks
			reopen 0
			b claims 0 k
			b claims 2 k -> waits
			b claims 3 j
			b acks 1
			b claims 2 k`,
	} {
		t.Run(name, func(t *testing.T) { runScript(t, text) })
	}
}

// What the positions log does not keep would come again after a restart: no more is reopened
// than it keeps, and all of that is read back.
func TestNoMoreIsReopenedThanARestartBringsBack(t *testing.T) {
	g := group.New(kept)
	p := position(g, theKey)
	const end = 100_000
	var m group.Member
	if !m.Lease(p, group.Span{From: 0, To: end}, 0) {
		t.Fatal("refused")
	}
	m.AckAll()
	reopened := make(map[int64]bool)
	var err error
	for o := int64(end - 1); err == nil && o > 0; o -= 2 {
		if err = p.Reopen(o); err == nil {
			reopened[o] = true
		}
	}
	if !errors.Is(err, group.ErrFull) || len(reopened) < 5000 || !p.Remembers(1000) || p.Remembers(1001) {
		t.Fatalf("%d are reopened, and then: %v", len(reopened), err)
	}
	state, err := group.ParseValue(g.Of(theKey.Group)[0].AppendValue(nil, 0))
	if err != nil {
		t.Fatalf("what was written is not read: %v", err)
	}
	after := group.New(kept)
	loaded := after.Load(theKey, state)
	var all group.Member
	for {
		s, _ := loaded.Free(end, timeZero)
		if s.Len() == 0 {
			break
		}
		for o := s.From; o < s.To; o++ {
			if !reopened[o] {
				t.Fatalf("%d comes again", o)
			}
			delete(reopened, o)
		}
		if !all.Lease(loaded, s, 0) {
			t.Fatal("refused")
		}
	}
	if len(reopened) > 0 {
		t.Errorf("%d are lost", len(reopened))
	}
}

// reopen is what a redrive does, with a message of any fate, in groups that are not ordered
// by key: there what waits for a key is another matter, see TestReopen.
func (s *simulation) reopen() error {
	k := group.Key{Group: groupNames[0], Topic: pick(s.rng, topicNames)}
	p := s.models[k]
	if p == nil || s.committing(k.Group) || p.log.end() == 0 {
		return nil
	}
	pos := position(s.groups, k)
	defer pos.Close()
	o := s.rng.Int64N(p.log.end())
	var want error
	switch m := p.at(o); {
	case p.unsaved:
		want = group.ErrNoPosition
	case m.fate == dead:
		want = group.ErrDying
	case m.fate == acked:
		s.tally.reopened.Add(1)
		p.messages[o] = &message{reopened: true}
		p.lowest = min(p.lowest, o)
		p.epoch, p.metadata = group.NoEpoch, ""
	}
	if err := pos.Reopen(o); !errors.Is(err, want) {
		return fmt.Errorf("reopening %d of %+v: %w, not %w", o, k, err, want)
	}
	return nil
}
