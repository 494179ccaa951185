package group_test

import (
	"testing"

	"mbus/internal/group"
)

func TestRetry(t *testing.T) {
	for name, text := range map[string]string{
		"what has failed is free again after its back-off": `
			a lease 0 3
			a fails 2 -> attempt 1 of 1
			free 3 -> due in 1s
			after 999ms
			free 3 -> due in 1ms
			after 1ms
			free 3 -> 1 2
			b lease 1 2
			free 3 -> nothing`,
		"the back-off doubles": `
			a lease 0 1
			a fails 1 -> attempt 1 of 0
			after 1s
			free 1 -> 0 1
			b lease 0 1
			b fails 1 -> attempt 2 of 0
			free 1 -> due in 2s`,
		"what has failed for the last time is not free": `
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
			after 1h
			free 1 -> nothing`,
		"buried it is consumed": `
			a lease 0 3
			a fails 1 -> attempt 1 of 0
			a acks
			kept -> 0 1-3 0*1
			bury 0
			kept -> 3
			committed -> 3`,
		"not buried it is due again": `
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
			free 1 -> due in 1s
			after 1s
			free 1 -> 0 1`,
		"the others of a lease may be acknowledged": `
			a lease 0 5
			a fails 3 -> attempt 1 of 2
			a open -> 4 messages, 40 bytes, from 1 of 5 on
			a acks 4
			kept -> 2 3-4 2*1
			a acks
			kept -> 2 3-5 2*1
			a open -> 0 messages, 0 bytes, from 0 of 5 on`,
		"of each part of a lease the bytes are known": `
			a lease 0 5
			a fails 1 -> attempt 1 of 0
			a open -> 4 messages, 40 bytes, from 2 of 5 on
			a fails 5 -> attempt 1 of 4
			a open -> 3 messages, 30 bytes, from 2 of 5 on
			a fails 3 -> attempt 1 of 2
			a open -> 2 messages, 20 bytes, from 2 of 5 on
			a fails 2 -> attempt 1 of 1
			a open -> 1 messages, 10 bytes, from 4 of 5 on
			a acks
			a open -> 0 messages, 0 bytes, from 0 of 5 on`,
		"what was settled or not sent does not fail": `
			a lease 0 3
			a acks 1
			a fails 0 -> not sent
			a fails 1 -> settled
			a fails 4 -> not sent
			a fails 2 -> attempt 1 of 1
			a fails 2 -> settled
			a releases
			a fails 3 -> settled`,
		"a restart keeps the attempts, not the time": `
			a lease 0 3
			a fails 2 -> attempt 1 of 1
			kept -> 0 1*1
			restart
			free 3 -> 0 3
			a lease 0 3
			a fails 2 -> attempt 2 of 1
			kept -> 0 1*2`,
		"what was acknowledged has no attempts any more": `
			a lease 0 3
			a fails 1 -> attempt 1 of 0
			a fails 2 -> attempt 1 of 1
			after 1s
			free 3 -> 0 2
			b lease 0 2
			b acks 1
			kept -> 1 1*1
			b acks
			kept -> 2`,
		"for others it is held": `
			a lease 0 3
			a fails 1 -> attempt 1 of 0
			a acks
			others b 3 -> somebody
			after 1s
			free 3 -> 0 1
			others b 3 -> nobody`,
		"of what a lost member held the oldest has failed": `
			a lease 0 5
			a acks 2-3
			a is lost -> attempt 1 of 0
			free 5 -> 3 5
			kept -> 0 1-3 0*1
			a open -> 0 messages, 0 bytes, from 0 of 5 on
			after 1s
			free 5 -> 0 1
			b lease 0 1
			b is lost -> attempt 2 of 0
			free 5 -> 3 5
			after 2s
			free 5 -> 0 1
			c lease 0 1
			c is lost -> dead at 0
			after 1h
			free 5 -> 3 5`,
		"a lost member that has nothing left has failed nothing": `
			a is lost -> settled
			a lease 0 3
			a acks 3-3
			a acks
			a is lost -> settled
			kept -> 3`,
		"what is acknowledged out of turn does not fail": `
			a lease 0 5
			a acks 2-4
			a open -> 2 messages, 20 bytes, from 1 of 5 on
			a fails 3 -> settled
			a fails 5 -> attempt 1 of 4
			a acks 1-5
			a acks 5-6 -> not sent
			a acks 0-1 -> not sent
			kept -> 4 4*1
			a open -> 0 messages, 0 bytes, from 0 of 5 on`,
		"what was leased and left undone is seen": `
			start 2
			a lease 2 5
			a keeps
			a releases
			kept -> 2
			restart
			committed -> 2`,
	} {
		t.Run(name, func(t *testing.T) { runScript(t, text) })
	}
}

// The bound of what may wait is 10,000 messages of a position.
func TestWhenManyHaveFailedNothingAboveThemIsDeliveredUntilOneIsBuried(t *testing.T) {
	const most = 10_000
	p, now := group.NewPosition(0), timeZero
	failAll(t, p, most)
	woken := 0
	w := group.NewWaiter(func() { woken++ })
	w.Watch(p, &simulatedLog{high: 2 * most})
	w.Rest()
	if s, _ := p.Free(2*most, now); s.Len() != 0 || woken != 0 {
		t.Errorf("%v is free, woken %d times", s, woken)
	}
	p.Bury(17)
	if woken != 1 {
		t.Errorf("the member that waits was woken %d times", woken)
	}
	var m group.Member
	if s, _ := p.Free(2*most, now); s != (group.Span{From: most, To: 2 * most}) || !m.Lease(p, s, 0) {
		t.Errorf("%v is free", s)
	}
	w.Rest()
	p.Bury(18)
	if woken != 1 {
		t.Error("the member that waits was woken though nothing has become free")
	}
}

func TestACommitForgetsHowManyHaveFailed(t *testing.T) {
	const most = 10_000
	g := group.New(kept)
	p := position(g, theKey)
	defer p.Close()
	failAll(t, p, most)
	commit(t, g, theKey, group.State{Offset: 5})
	if s, _ := p.Free(2*most, timeZero); s != (group.Span{From: 5, To: 2 * most}) {
		t.Errorf("%v is free", s)
	}
}

// failAll has the first n messages fail for good.
func failAll(t *testing.T, p *group.Position, n int64) {
	t.Helper()
	var m group.Member
	if !m.Lease(p, group.Span{To: n}, n) {
		t.Fatal("refused")
	}
	for i := range uint64(n) {
		if _, ok, err := m.Fail(i+1, group.Retry{Attempts: 1}, timeZero); !ok || err != nil {
			t.Fatalf("message %d: %v, %v", i+1, ok, err)
		}
	}
}
