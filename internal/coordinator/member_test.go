package coordinator_test

import (
	"errors"
	"testing"
	"time"

	"mbus/internal/coordinator"
)

var errTaken = errors.New("taken")

func TestHeartbeatTellsOfARebalanceUntilAllHaveJoined(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders"), r.consumer("orders")
	r.stable(a)
	b.join()
	r.wantErr(a.heartbeat(), coordinator.ErrRebalance)
	a.join()
	r.wantState(coordinator.CompletingRebalance)
	r.wantErr(a.heartbeat(), nil)
	a.sync()
	r.wantState(coordinator.Stable)
	r.wantErr(a.heartbeat(), nil)
}

func TestRequestsOfAnotherGenerationAreRefused(t *testing.T) {
	r := newRig(t)
	a := r.consumer("orders")
	r.stable(a)
	a.joined.Generation--
	r.wantErr(a.heartbeat(), coordinator.ErrIllegalGeneration)
	r.wantErr(a.commit(), coordinator.ErrIllegalGeneration)
	r.wantSync(a.sync(), coordinator.ErrIllegalGeneration)
}

// A client that was removed and joins again may still have commits to send.
func TestMemberThatWaitsForItsFirstJoinIsInNoGeneration(t *testing.T) {
	r := newRig(t)
	a, b, c := r.consumer("orders"), r.consumer("orders").static("one"), r.consumer("orders")
	r.stable(a, b)
	c.RequireID = true
	c.join() // its id
	c.join()
	again := b.restarted().join()
	again.Member = r.newestOf(again)
	for _, m := range []*consumer{c, again} {
		m.joined.Generation = a.joined.Generation
		r.wantErr(m.commit(), coordinator.ErrIllegalGeneration)
		r.wantErr(m.heartbeat(), coordinator.ErrIllegalGeneration)
	}
	r.wantErr(a.commit(), nil)
}

// newestOf finds the id of a static member that waits.
func (r *rig) newestOf(c *consumer) string {
	d, _ := r.Describe(theGroup)
	for _, m := range d.Members {
		if m.Instance == c.Instance {
			return m.Member
		}
	}
	return ""
}

func TestRequestsToAnUnknownGroupAreOfAnUnknownMember(t *testing.T) {
	r := newRig(t)
	a := r.consumer("orders")
	a.Member, a.joined.Generation = "app-1", 1
	r.wantErr(a.heartbeat(), coordinator.ErrUnknownMember)
	r.wantErr(a.commit(), coordinator.ErrUnknownGroup)
	r.wantErr(a.leave(), coordinator.ErrUnknownMember)
	r.wantSync(a.sync(), coordinator.ErrUnknownMember)
}

func TestRequestsOfAnUnknownMemberAreRefused(t *testing.T) {
	r := newRig(t)
	a := r.consumer("orders")
	r.stable(a)
	a.Member = "app-1"
	r.wantErr(a.heartbeat(), coordinator.ErrUnknownMember)
	r.wantErr(a.commit(), coordinator.ErrUnknownMember)
	r.wantErr(a.leave(), coordinator.ErrUnknownMember)
	r.wantSync(a.sync(), coordinator.ErrUnknownMember)
}

func TestSilentMemberIsRemovedAfterItsSessionTimeout(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders"), r.consumer("orders")
	r.stable(a, b)
	for range 5 {
		r.clock.advance(session - 1)
		r.wantErr(a.heartbeat(), nil)
		r.wantErr(b.heartbeat(), nil)
	}
	r.clock.advance(session - 1)
	r.wantErr(a.heartbeat(), nil)
	r.clock.advance(1)
	r.wantErr(a.heartbeat(), coordinator.ErrRebalance)
	r.wantErr(b.heartbeat(), coordinator.ErrUnknownMember)
	r.wantJoin(a.join(), nil)
	if len(a.joined.Members) != 1 {
		t.Errorf("%d members", len(a.joined.Members))
	}
}

func TestEachRequestOfAMemberKeepsItAlive(t *testing.T) {
	for name, request := range map[string]func(*consumer){
		"heartbeat": func(c *consumer) { c.heartbeat() },
		"commit":    func(c *consumer) { c.commit() },
		"join":      func(c *consumer) { c.join() },
		"sync":      func(c *consumer) { c.sync() },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			a, b := r.consumer("orders"), r.consumer("orders")
			r.stable(a, b)
			for range 3 {
				r.clock.advance(session - 1)
				r.wantErr(a.heartbeat(), nil)
				request(b)
			}
			r.wantErr(b.heartbeat(), nil)
		})
	}
}

func TestMemberThatWaitsForOthersIsNotSilent(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders"), r.consumer("orders")
	r.stable(a, b)
	b.Protocols = []coordinator.Protocol{{Name: "range", Metadata: subscription("bills")}}
	b.join()
	for range 5 { // longer than the session timeout
		r.clock.advance(session - 1)
		r.wantErr(a.heartbeat(), coordinator.ErrRebalance)
	}
	a.join()
	r.wantJoin(b, nil)
	b.sync()
	for range 5 {
		r.clock.advance(session - 1)
		r.wantErr(a.heartbeat(), nil)
	}
	a.sync()
	r.wantPart(b)
	r.wantErr(b.heartbeat(), nil)
}

func TestMemberThatIsAnsweredHasItsSessionTimeoutFromThenOn(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders"), r.consumer("orders")
	r.stable(a, b)
	b.Protocols = []coordinator.Protocol{{Name: "range", Metadata: subscription("bills")}}
	b.join()
	r.clock.advance(session - 1)
	a.join()
	r.wantJoin(b, nil)
	r.clock.advance(session - 1)
	r.wantErr(b.heartbeat(), nil)
}

func TestNewMemberThatIsGoneDoesNotWaitForEver(t *testing.T) {
	r := newRig(t)
	a := r.consumer("orders")
	a.Rebalance = time.Hour
	r.stable(a)
	b := r.consumer("orders").join()
	for range 60 { // five minutes
		r.wantErr(a.heartbeat(), coordinator.ErrRebalance)
		r.clock.advance(session / 2)
	}
	r.wantJoin(b, coordinator.ErrUnknownMember)
}

func TestMemberThatDoesNotJoinAgainIsLeftOut(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders"), r.consumer("orders")
	r.stable(a, b)
	a.join()
	for waited := time.Duration(0); waited < rebalance; waited += session / 2 {
		r.wantErr(b.heartbeat(), coordinator.ErrRebalance)
		r.clock.advance(session / 2)
	}
	r.wantJoin(a, nil)
	if len(a.joined.Members) != 1 {
		t.Errorf("%d members", len(a.joined.Members))
	}
	r.wantErr(b.heartbeat(), coordinator.ErrUnknownMember)
}

func TestRebalanceEndsWithinADay(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders"), r.consumer("orders")
	a.Rebalance = 48 * time.Hour
	r.stable(a, b)
	a.join()
	for waited := time.Duration(0); waited < 24*time.Hour; waited += session / 2 {
		r.wantErr(b.heartbeat(), coordinator.ErrRebalance)
		r.clock.advance(session / 2)
	}
	r.wantJoin(a, nil)
}

func TestLeaderThatDoesNotJoinAgainIsReplaced(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders"), r.consumer("orders")
	r.stable(a, b)
	b.Protocols = []coordinator.Protocol{{Name: "range", Metadata: subscription("bills")}}
	b.join()
	r.clock.advance(rebalance)
	r.wantJoin(b, nil)
	if !b.leads() {
		t.Errorf("joined %+v", b.joined)
	}
}

func TestLeaderThatNeverAssignsIsRemoved(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders"), r.consumer("orders")
	a.join()
	b.join()
	a.join()
	r.wantJoin(b, nil)
	b.sync()
	for waited := time.Duration(0); waited < rebalance; waited += session / 2 {
		r.wantErr(a.heartbeat(), nil)
		r.clock.advance(session / 2)
	}
	r.wantSync(b, coordinator.ErrRebalance)
	r.wantErr(a.heartbeat(), coordinator.ErrUnknownMember)
	r.wantJoin(b.join(), nil)
	if !b.leads() {
		t.Errorf("joined %+v", b.joined)
	}
}

func TestFollowersWaitForTheLeadersAssignment(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders").join(), r.consumer("orders").join()
	a.join()
	b.sync()
	if b.syncing != 1 {
		t.Fatal("the follower did not wait")
	}
	a.sync()
	r.wantPart(a)
	r.wantPart(b)
}

func TestRebalanceAnswersThoseWhoWaitForTheAssignment(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders").join(), r.consumer("orders").join()
	a.join()
	b.sync()
	r.consumer("orders").join()
	r.wantSync(b, coordinator.ErrRebalance)
	r.wantSync(a.sync(), coordinator.ErrRebalance)
}

func TestMemberThatTheLeaderForgetsGetsAnEmptyPart(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders").join(), r.consumer("orders").join()
	a.join()
	r.wantPart(a.sync())
	r.wantPart(b.sync())
	a.join()
	b.join()
	a.joined.Members = a.joined.Members[:1]
	r.wantPart(a.sync())
	r.wantSync(b.sync(), nil)
	if len(b.synced.Assignment) != 0 {
		t.Errorf("got %q", b.synced.Assignment)
	}
}

func TestSyncOfAnotherProtocolIsRefused(t *testing.T) {
	r := newRig(t)
	a := r.consumer("orders").join()
	a.joined.Protocol = "sticky"
	r.wantSync(a.sync(), coordinator.ErrProtocol)
	a.joined.Protocol, a.joined.ProtocolType = "", "connect"
	r.wantSync(a.sync(), coordinator.ErrProtocol)
	a.joined.ProtocolType = "" // of before version 5
	r.wantSync(a.sync(), nil)
}

func TestMemberThatLeavesBeginsARebalance(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders"), r.consumer("orders")
	r.stable(a, b)
	r.wantErr(a.leave(), nil)
	r.wantErr(a.leave(), coordinator.ErrUnknownMember)
	r.wantErr(b.heartbeat(), coordinator.ErrRebalance)
	r.wantJoin(b.join(), nil)
	if !b.leads() {
		t.Errorf("joined %+v", b.joined)
	}
}

func TestMemberThatLeavesHasItsOwnCallsAnswered(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders").join(), r.consumer("orders").join()
	a.join()
	b.sync()
	r.wantErr(b.leave(), nil)
	r.wantSync(b, coordinator.ErrUnknownMember)
	a.join()
	c := r.consumer("orders").join()
	a.join()
	r.wantJoin(c, nil)
}

func TestOneThatWasGivenAnIDCanLeave(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders"), r.consumer("orders")
	r.stable(a)
	b.RequireID = true
	b.join()
	a.join()
	r.wantErr(b.leave(), nil)
	r.wantJoin(a, nil)
}

func TestGenerationGrowsOnWhenAGroupWasEmpty(t *testing.T) {
	r := newRig(t)
	a := r.consumer("orders")
	r.stable(a)
	before := a.joined.Generation
	r.wantErr(a.leave(), nil)
	r.wantState(coordinator.Empty)
	b := r.consumer("orders").join()
	if b.joined.Generation <= before {
		t.Errorf("generation %d after %d", b.joined.Generation, before)
	}
}

func TestEmptyGroupIsForgottenInAWhile(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders"), r.consumer("orders")
	r.stable(a)
	r.wantErr(a.leave(), nil)
	r.clock.advance(10*time.Minute - 1)
	r.wantState(coordinator.Empty)
	b.join()
	r.clock.advance(1)
	r.wantErr(b.heartbeat(), nil)
	r.wantErr(b.leave(), nil)
	r.clock.advance(10 * time.Minute)
	r.wantState(coordinator.Dead)
	if len(r.clock.timers) != 0 || coordinator.Used(r.Coordinator) != 0 {
		t.Errorf("%d timers, %d bytes", len(r.clock.timers), coordinator.Used(r.Coordinator))
	}
}

func TestEmptyGroupIsNotForgottenBeforeOneWhoWasGivenAnIDCanJoin(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders"), r.consumer("orders")
	r.stable(a)
	r.wantErr(a.leave(), nil)
	r.clock.advance(10*time.Minute - 1)
	b.RequireID = true
	b.join()
	r.clock.advance(1)
	r.wantJoin(b.join(), nil)
}

func TestCloseAnswersAllThatWait(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders").join(), r.consumer("orders").join()
	a.join()
	b.sync()
	other := r.consumer("orders")
	other.Group = "other"
	other.join()
	c := r.consumer("orders")
	c.Group = "other"
	c.join()
	r.Close()
	r.wantSync(b, coordinator.ErrClosed)
	r.wantJoin(c, coordinator.ErrClosed)
	r.wantErr(a.heartbeat(), coordinator.ErrClosed)
	r.wantJoin(r.consumer("orders").join(), coordinator.ErrClosed)
	if r.claims != 0 || len(r.clock.timers) != 0 || coordinator.Used(r.Coordinator) != 0 {
		t.Errorf("%d claims, %d timers, %d bytes", r.claims, len(r.clock.timers), coordinator.Used(r.Coordinator))
	}
}
