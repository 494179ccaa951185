package coordinator_test

import (
	"testing"
	"time"

	"mbus/internal/coordinator"
)

// restarted is the same static member in a new process.
func (c *consumer) restarted() *consumer {
	again := *c
	again.Member, again.joined, again.synced = "", coordinator.JoinReply{}, coordinator.SyncReply{}
	return &again
}

func TestStaticMemberComesBackWithoutARebalance(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders"), r.consumer("orders").static("one")
	r.stable(a, b)
	again := b.restarted()
	again.Protocols = []coordinator.Protocol{{Name: "range", Metadata: append(subscription("orders"), "owns nothing"...)}}
	r.wantJoin(again.join(), nil)
	if again.Member == b.Member || again.joined.Generation != b.joined.Generation || !isOf(again.Member, "one") {
		t.Errorf("joined %+v", again.joined)
	}
	again.sync()
	r.wantSync(again, nil)
	if string(again.synced.Assignment) != string(b.synced.Assignment) {
		t.Errorf("got %q instead of %q", again.synced.Assignment, b.synced.Assignment)
	}
	r.wantErr(a.heartbeat(), nil)
}

func TestStaticMembersFormerSelfIsFenced(t *testing.T) {
	r := newRig(t)
	a := r.consumer("orders").static("one")
	r.stable(a)
	r.wantJoin(a.restarted().join(), nil)
	r.wantErr(a.heartbeat(), coordinator.ErrFenced)
	r.wantErr(r.Heartbeat(theGroup, a.Member, "", a.joined.Generation), coordinator.ErrUnknownMember)
	r.wantErr(a.commit(), coordinator.ErrFenced)
	r.wantErr(a.leave(), coordinator.ErrFenced)
	r.wantSync(a.sync(), coordinator.ErrFenced)
	r.wantJoin(a.join(), coordinator.ErrFenced)
}

func TestStaticMembersFormerSelfThatWaitsIsFenced(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders"), r.consumer("orders").static("one")
	r.stable(a, b)
	a.join()
	b.join()
	a.join()
	r.wantJoin(b, nil)
	b.sync()
	again := b.restarted()
	again.syncing = 0
	again.join()
	r.wantSync(b, coordinator.ErrFenced)
	third := again.restarted()
	third.joining = 0
	third.join()
	r.wantJoin(again, coordinator.ErrFenced)
	a.join()
	r.wantJoin(third, nil)
}

func TestStaticMemberMayNameItsTopicsInAnotherOrder(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders"), r.consumer("c", "a", "b").static("one")
	r.stable(a, b)
	again := b.restarted()
	again.Protocols = []coordinator.Protocol{{Name: "range", Metadata: subscription("b", "c", "a")}}
	r.wantJoin(again.join(), nil)
	r.wantErr(a.heartbeat(), nil)
}

func TestStaticMemberWithAnotherSubscriptionBeginsARebalance(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders"), r.consumer("orders").static("one")
	r.stable(a, b)
	again := b.restarted()
	again.Protocols = []coordinator.Protocol{{Name: "range", Metadata: subscription("bills")}}
	again.join()
	r.wantErr(a.heartbeat(), coordinator.ErrRebalance)
}

// KIP-814; without it the leader reads that its former self leads.
func TestStaticLeaderThatComesBackDoesNotAssign(t *testing.T) {
	for name, maySkip := range map[string]bool{"told so": true, "told that another leads": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			a, b := r.consumer("orders").static("one"), r.consumer("orders")
			r.stable(a, b)
			again := a.restarted()
			again.MaySkip = maySkip
			r.wantJoin(again.join(), nil)
			if again.joined.SkipAssignment != maySkip || again.leads() != maySkip || (again.joined.Leader == again.Member) != maySkip {
				t.Errorf("joined %+v", again.joined)
			}
			r.wantSync(again.sync(), nil)
			if string(again.synced.Assignment) != string(a.synced.Assignment) {
				t.Errorf("got %q", again.synced.Assignment)
			}
		})
	}
}

func TestStaticMemberThatIsAwayKeepsItsPlaceInARebalance(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders"), r.consumer("orders").static("one")
	b.Session = 30 * time.Minute
	a.Rebalance, b.Rebalance = session/2, session/2
	r.stable(a, b)
	a.join()
	r.clock.advance(session / 2)
	r.wantJoin(a, nil)
	if len(a.joined.Members) != 2 {
		t.Fatalf("%d members", len(a.joined.Members))
	}
	a.sync()
	r.clock.advance(session / 2) // by when all had to sync
	r.wantErr(a.heartbeat(), nil)
	again := b.restarted()
	r.wantJoin(again.join(), nil)
	r.wantSync(again.sync(), nil)
	if string(again.synced.Assignment) != string(part(b.Member, a.joined.Generation)) {
		t.Errorf("got %q", again.synced.Assignment)
	}
}

func TestStaticMemberThatComesBackInARebalanceIsNotSilentWhileItWaits(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders"), r.consumer("orders").static("one")
	r.stable(a, b)
	r.consumer("orders").join()
	again := b.restarted().join()
	for range 4 { // longer than the session timeout
		r.wantErr(a.heartbeat(), coordinator.ErrRebalance)
		r.clock.advance(session / 2)
	}
	r.wantJoin(a.join(), nil)
	r.wantJoin(again, nil)
}

func TestStaticMemberThatIsAwayTooLongIsRemoved(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders"), r.consumer("orders").static("one")
	r.stable(a, b)
	r.clock.advance(session / 2)
	r.wantErr(a.heartbeat(), nil)
	r.clock.advance(session / 2)
	r.wantErr(a.heartbeat(), coordinator.ErrRebalance)
	r.wantErr(b.heartbeat(), coordinator.ErrUnknownMember)
}

func TestStaticMemberIsRemovedByItsInstanceIDAlone(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders"), r.consumer("orders").static("one")
	r.stable(a, b)
	results, err := r.Leave(theGroup, []coordinator.Leaver{{Instance: "one"}, {Instance: "two"}, {Member: a.Member}})
	r.wantErr(err, nil)
	r.wantErr(results[0], nil)
	r.wantErr(results[1], coordinator.ErrUnknownMember)
	r.wantErr(results[2], nil)
	r.wantState(coordinator.Empty)
}

func TestGroupOfAbsentStaticMembersWaitsForOneOfThem(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders"), r.consumer("orders").static("one")
	b.Session = 30 * time.Minute
	r.stable(a, b)
	r.wantErr(a.leave(), nil)
	r.clock.advance(rebalance)
	r.wantState(coordinator.PreparingRebalance)
	again := b.restarted()
	r.wantJoin(again.join(), nil)
	if !again.leads() {
		t.Errorf("joined %+v", again.joined)
	}
}
