package group_test

import (
	"testing"
	"testing/synctest"
	"time"

	"mbus/internal/group"
)

func TestPositionsAreWritten(t *testing.T) {
	for name, text := range map[string]string{
		"while a write is under way changes wait and become one": `
			disk waits
			a lease 0 1
			a acks
			writes -> 1
			b lease 1 2
			b acks
			c lease 2 3
			c acks
			writes -> 1
			kept -> nothing
			disk goes on
			writes -> 2
			kept -> 3`,
		"a write that nothing has changed since is the last": `
			disk waits
			a lease 0 1
			a acks
			disk goes on
			writes -> 1
			a lease 1 2
			a acks
			writes -> 2`,
		"a sync where nothing has changed needs no write": `
			sync
			synced -> ok
			writes -> 0`,
		"a sync waits for what has changed before": `
			disk waits
			a lease 0 1
			a acks
			b lease 1 2
			b acks
			sync
			synced -> no
			disk goes on
			synced -> ok
			kept -> 2`,
		"a sync returns the failure of a write, and so does the next": `
			disk fails
			a lease 0 1
			a acks
			sync
			synced -> failed
			sync
			synced -> failed
			kept -> nothing
			disk goes on
			sync
			synced -> ok
			kept -> 1`,
		"a sync during a write that fails returns the error of the next one": `
			disk waits
			a lease 0 1
			a acks
			sync
			disk fails once
			synced -> ok
			kept -> 1`,
		"a commit is not told of the failure of an earlier one": `
			disk waits
			commit 3
			commit 7
			disk fails once
			commits -> ok
			kept -> 7
			durable -> 7`,
		"what is done at a new position while a commit of it fails is kept": `
			disk fails
			commit 7
			commits -> failed
			disk goes on
			a lease 0 1
			a acks
			sync
			synced -> ok
			kept -> 1
			durable -> 1`,
		"a position is deleted of which the first commit has failed": `
			disk fails
			commit 7
			commits -> failed
			delete
			disk goes on
			commit 2
			commits -> ok
			kept -> 2`,
		"after a failure all is written a second later": `
			disk fails
			a lease 0 1
			a acks
			disk goes on
			kept -> nothing
			after 1s
			kept -> 1
			durable -> 1`,
		"the stop writes what could not be written before": `
			disk fails
			a lease 0 1
			a acks
			disk goes on
			kept -> nothing
			flush
			kept -> 1
			writes -> 2`,
		"the stop writes what changed while a write failed": `
			disk waits
			a lease 0 2
			a acks 1
			flush
			a acks 2
			disk fails once
			kept -> 2
			writes -> 2`,
		"the stop writes once more, and not for ever": `
			disk waits
			a lease 0 1
			a acks
			flush
			disk fails
			kept -> nothing
			writes -> 2`,
		"what is shown to others is durable": `
			disk waits
			a lease 0 1
			a acks
			durable -> nothing
			committed -> 1
			disk goes on
			durable -> 1
			disk waits
			b lease 1 3
			b acks
			durable -> 1
			disk goes on
			durable -> 3`,
		"a commit moves nothing before it is durable": `
			commit 3
			disk waits
			commit 7
			durable -> 3
			committed -> 3
			free 10 -> 3 10
			disk goes on
			commits -> ok
			durable -> 7
			committed -> 7`,
		"a commit that can't be written moves nothing": `
			commit 3
			disk fails
			commit 7
			commits -> failed
			durable -> 3
			committed -> 3
			disk goes on
			after 1s
			kept -> 3
			sync
			synced -> ok
			kept -> 3`,
		"a commit of a new position that can't be written leaves none": `
			disk fails
			commit 7
			commits -> failed
			durable -> nothing
			disk goes on
			after 1s
			kept -> nothing`,
		"a deletion outlives a commit under way": `
			disk waits
			commit 7
			delete
			disk goes on
			commits -> ok
			kept -> nothing
			durable -> nothing`,
		"after a failure all is written with the next change": `
			disk fails
			a lease 0 1
			a acks
			disk goes on
			kept -> nothing
			a lease 1 2
			a acks
			kept -> 2`,
	} {
		t.Run(name, func(t *testing.T) { runScript(t, text) })
	}
}

// A long list of failed messages is not written for each one that is acknowledged meanwhile,
// unless somebody waits for that.
func TestLongPositionsAreWrittenLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const failed, flow = 1000, 100
		j := newHeldLog()
		g := group.New(j.write)
		p := position(g, theKey)
		defer p.Close()
		var m group.Member
		m.Lease(p, group.Span{To: 2*failed + flow}, 0)
		for n := range uint64(failed) {
			if _, ok, err := m.Fail(2*n+1, group.Retry{Backoff: time.Hour, Bound: time.Hour}, time.Now()); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		ack := func(n int) {
			if err := m.Ack(uint64(n)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond) // in a bubble
		}
		ack(2 * failed)
		before := j.begun()
		for n := range flow / 2 {
			ack(2*failed + n + 1)
		}
		if n := j.begun() - before; n > flow/2/10 {
			t.Errorf("%d writes", n)
		}
		for n := flow / 2; n < flow; n++ {
			done := make(chan error)
			began := time.Now()
			ack(2*failed + n + 1)
			g.Sync(func(err error) { done <- err })
			if err := <-done; err != nil || time.Since(began) > time.Millisecond {
				t.Fatalf("synced after %v: %v", time.Since(began), err)
			}
		}
		if kept := j.all()[theKey]; len(kept.Failed) != failed || kept.AckedAhead[len(kept.AckedAhead)-1].To != 2*failed+flow {
			t.Errorf("kept is %+v", kept)
		}
		g.Flush()
	})
}
