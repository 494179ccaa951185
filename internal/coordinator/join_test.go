package coordinator_test

import (
	"strings"
	"testing"
	"time"

	"mbus/internal/coordinator"
)

func TestFirstMemberLeadsAndGetsItsOwnPart(t *testing.T) {
	r := newRig(t)
	a := r.consumer("orders").join()
	r.wantJoin(a, nil)
	if a.joined.Generation != 1 || a.joined.Leader != a.Member || len(a.joined.Members) != 1 || a.joined.Protocol != "range" {
		t.Errorf("joined %+v", a.joined)
	}
	if !isOf(a.Member, "app") {
		t.Errorf("member id %q does not begin with the client id", a.Member)
	}
	r.wantPart(a.sync())
	r.wantErr(a.heartbeat(), nil)
}

func TestOnlyTheLeaderGetsTheMembers(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders"), r.consumer("bills")
	r.stable(a, b)
	if !a.leads() || b.leads() || a.joined.Leader != b.joined.Leader {
		t.Fatalf("a: %+v, b: %+v", a.joined, b.joined)
	}
	for i, want := range []*consumer{a, b} {
		got := a.joined.Members[i]
		if got.Member != want.Member || string(got.Metadata) != string(want.Protocols[0].Metadata) {
			t.Errorf("member %d is %+v", i, got)
		}
	}
}

// KIP-394.
func TestNewMemberWithoutIDGetsOneAndJoinsWithIt(t *testing.T) {
	r := newRig(t)
	a := r.consumer("orders")
	a.RequireID = true
	r.wantJoin(a.join(), coordinator.ErrMemberIDRequired)
	r.wantState(coordinator.Empty)
	r.wantJoin(a.join(), nil)
	if !a.leads() || r.claims != 1 {
		t.Errorf("joined %+v, %d claims", a.joined, r.claims)
	}
}

func TestRebalanceWaitsForThoseWhoWereGivenAnID(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders"), r.consumer("orders")
	r.stable(a)
	b.RequireID = true
	b.join()
	a.Protocols[0].Metadata = subscription("orders", "bills")
	a.join()
	if a.joining != 1 {
		t.Fatal("the generation began without the one that was given an id")
	}
	b.join()
	r.wantJoin(a, nil)
	r.wantJoin(b, nil)
	if len(a.joined.Members) != 2 {
		t.Errorf("%d members", len(a.joined.Members))
	}
}

func TestIDThatIsNotUsedExpiresWithTheSessionTimeout(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders"), r.consumer("orders")
	r.stable(a)
	b.RequireID = true
	b.join()
	a.join() // as the leader: a rebalance
	r.clock.advance(session - 1)
	if a.joining != 1 {
		t.Fatal("the generation began too early")
	}
	r.clock.advance(1)
	r.wantJoin(a, nil)
	b.join()
	r.wantJoin(b, coordinator.ErrUnknownMember)
}

func TestGroupOfWhichNobodyUsesTheirIDIsForgotten(t *testing.T) {
	r := newRig(t)
	a := r.consumer("orders")
	a.RequireID = true
	a.join()
	if r.claims != 1 {
		t.Fatalf("%d claims", r.claims)
	}
	r.clock.advance(session)
	r.wantState(coordinator.Dead)
	if r.claims != 0 || coordinator.Used(r.Coordinator) != 0 {
		t.Errorf("%d claims, %d bytes", r.claims, coordinator.Used(r.Coordinator))
	}
}

func TestJoinIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*consumer)
		err    error
	}{
		"no group":                    {func(c *consumer) { c.Group = "" }, coordinator.ErrGroupName},
		"a group with a control code": {func(c *consumer) { c.Group = "a\nb" }, coordinator.ErrGroupName},
		"a group that is no text":     {func(c *consumer) { c.Group = "\xff" }, coordinator.ErrGroupName},
		"a group of 1001 bytes":       {func(c *consumer) { c.Group = strings.Repeat("g", 1001) }, coordinator.ErrGroupName},
		"session too short":           {func(c *consumer) { c.Session = 6*time.Second - 1 }, coordinator.ErrSessionTimeout},
		"session too long":            {func(c *consumer) { c.Session = 30*time.Minute + 1 }, coordinator.ErrSessionTimeout},
		"no protocol type":            {func(c *consumer) { c.ProtocolType = "" }, coordinator.ErrProtocol},
		"no protocols":                {func(c *consumer) { c.Protocols = nil }, coordinator.ErrProtocol},
		"a protocol twice":            {func(c *consumer) { c.Protocols = append(c.Protocols, c.Protocols[0]) }, coordinator.ErrProtocol},
		"a protocol without a name":   {func(c *consumer) { c.Protocols[0].Name = "" }, coordinator.ErrProtocol},
		"an id of nobody":             {func(c *consumer) { c.Member = "somebody" }, coordinator.ErrUnknownMember},
		"another protocol type":       {func(c *consumer) { c.ProtocolType = "connect" }, coordinator.ErrProtocol},
		"no protocol in common":       {func(c *consumer) { c.Protocols[0].Name = "sticky" }, coordinator.ErrProtocol},
		"more than there is memory":   {func(c *consumer) { c.Protocols[0].Metadata = make([]byte, 65<<20) }, coordinator.ErrFull},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.stable(r.consumer("orders"))
			c := r.consumer("orders")
			test.change(c)
			r.wantJoin(c.join(), test.err)
			r.wantState(coordinator.Stable)
		})
	}
}

func TestJoinWithAnIDToAnUnknownGroupIsOfAnUnknownMember(t *testing.T) {
	r := newRig(t)
	a := r.consumer("orders")
	a.Member = "from-before-a-restart"
	r.wantJoin(a.join(), coordinator.ErrUnknownMember)
	r.wantState(coordinator.Dead)
}

func TestProtocolThatAllOfferAndMostPreferIsChosen(t *testing.T) {
	r := newRig(t)
	offer := func(names ...string) *consumer {
		c := r.consumer("orders")
		c.Protocols = nil
		for _, name := range names {
			c.Protocols = append(c.Protocols, coordinator.Protocol{Name: name, Metadata: []byte(name)})
		}
		return c
	}
	a, b, c := offer("of two", "range", "sticky"), offer("of two", "sticky", "range"), offer("sticky", "range")
	r.stable(a, b, c)
	if a.joined.Protocol != "sticky" || string(a.joined.Members[0].Metadata) != "sticky" {
		t.Errorf("chosen is %q", a.joined.Protocol)
	}
}

func TestIDThatWasGivenOutIsForADynamicMember(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders").static("one"), r.consumer("orders")
	r.stable(a)
	b.RequireID = true
	b.join()
	b.Instance = "one"
	r.wantJoin(b.join(), coordinator.ErrUnknownMember)
	r.wantErr(a.heartbeat(), nil)
}

func TestRebalanceGoesOnWithoutOneForWhomThereIsNoMemory(t *testing.T) {
	r := newRig(t, func(o *coordinator.Options) { o.Limits.MaxBytes = 4 << 10 })
	a, b := r.consumer("orders"), r.consumer("orders")
	r.stable(a)
	b.RequireID = true
	b.join()
	a.join()
	b.Protocols[0].Metadata = make([]byte, 4<<10)
	r.wantJoin(b.join(), coordinator.ErrFull)
	r.wantJoin(a, nil)
}

// KIP-134.
func TestFirstMembersWaitForMoreAnewWithEach(t *testing.T) {
	const delay = time.Second
	r := newRig(t, func(o *coordinator.Options) { o.RebalanceDelay = delay })
	a, b := r.consumer("orders").join(), r.consumer("orders")
	r.clock.advance(delay - 1)
	b.join()
	r.clock.advance(1)
	if a.joining != 1 {
		t.Fatal("the delay did not start again")
	}
	r.clock.advance(delay)
	r.wantJoin(a, nil)
	r.wantJoin(b, nil)
	if a.joined.Generation != 1 || len(a.joined.Members) != 2 {
		t.Errorf("joined %+v", a.joined)
	}
}

func TestFirstMembersWaitAtMostForARebalanceTimeout(t *testing.T) {
	const delay = time.Second
	r := newRig(t, func(o *coordinator.Options) { o.RebalanceDelay = delay })
	a := r.consumer("orders").join()
	for range int(rebalance/delay) - 1 {
		r.clock.advance(delay - 1)
		r.consumer("orders").join()
		r.clock.advance(1)
	}
	if a.joining != 1 {
		t.Fatal("the delay ended too early")
	}
	r.clock.advance(delay)
	r.wantJoin(a, nil)
}

func TestDelayEndsIfAllMembersLeave(t *testing.T) {
	r := newRig(t, func(o *coordinator.Options) { o.RebalanceDelay = time.Second })
	a := r.consumer("orders").static("one").join()
	_, err := r.Leave(theGroup, []coordinator.Leaver{{Instance: "one"}})
	r.wantErr(err, nil)
	r.wantJoin(a, coordinator.ErrUnknownMember)
	r.wantState(coordinator.Empty)
}

func TestFollowerThatJoinsAgainUnchangedBeginsNoRebalance(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders"), r.consumer("orders")
	r.stable(a, b)
	generation := b.joined.Generation
	r.wantJoin(b.join(), nil)
	if b.joined.Generation != generation || b.leads() {
		t.Errorf("joined %+v", b.joined)
	}
	r.wantErr(a.heartbeat(), nil)
}

func TestFollowerThatJoinsAgainChangedBeginsARebalance(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders"), r.consumer("orders")
	r.stable(a, b)
	b.Protocols = []coordinator.Protocol{{Name: "range", Metadata: subscription("bills")}}
	b.join()
	r.wantErr(a.heartbeat(), coordinator.ErrRebalance)
	r.wantJoin(a.join(), nil)
	r.wantJoin(b, nil)
}

func TestLeaderThatJoinsAgainBeginsARebalance(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders"), r.consumer("orders")
	r.stable(a, b)
	a.join()
	if a.joining != 1 {
		t.Fatal("the leader was answered at once")
	}
	r.wantErr(b.heartbeat(), coordinator.ErrRebalance)
	r.wantJoin(b.join(), nil)
	r.wantJoin(a, nil)
	if !a.leads() {
		t.Error("the leader has changed")
	}
}

func TestMemberThatMissedTheAnswerToItsJoinGetsItAgain(t *testing.T) {
	r := newRig(t)
	a := r.consumer("orders").join()
	first := a.joined
	r.wantJoin(a.join(), nil)
	if a.joined.Generation != first.Generation || !a.leads() {
		t.Errorf("joined %+v", a.joined)
	}
}

func TestSecondJoinOfAMemberAnswersTheFirst(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders"), r.consumer("orders")
	r.stable(a, b)
	a.join()
	a.join()
	if a.joining != 1 || a.joined.Err != coordinator.ErrRebalance {
		t.Fatalf("%d waiting, %+v", a.joining, a.joined)
	}
	b.join()
	r.wantJoin(a, nil)
}

func TestMemberWithoutARebalanceTimeoutHasItsSessionTimeout(t *testing.T) {
	r := newRig(t)
	a, b := r.consumer("orders"), r.consumer("orders")
	a.Rebalance, b.Rebalance = 0, 0
	r.stable(a, b)
	a.join()
	r.clock.advance(session / 2)
	r.wantErr(b.heartbeat(), coordinator.ErrRebalance)
	r.clock.advance(session/2 - 1)
	if a.joining != 1 {
		t.Fatal("the generation began too early")
	}
	r.clock.advance(1)
	r.wantJoin(a, nil)
	if len(a.joined.Members) != 1 {
		t.Errorf("%d members", len(a.joined.Members))
	}
}

func TestGroupTakesNoMoreMembersThanTheLimit(t *testing.T) {
	r := newRig(t, func(o *coordinator.Options) { o.Limits.MaxMembers = 2 })
	a, b, c := r.consumer("orders"), r.consumer("orders"), r.consumer("orders")
	r.stable(a)
	b.RequireID = true
	b.join()
	r.wantJoin(c.join(), coordinator.ErrFull)
	b.join()
	a.join()
	r.wantJoin(b, nil)
}

func TestVacantGroupMakesRoomForANewOne(t *testing.T) {
	r := newRig(t, func(o *coordinator.Options) { o.Limits.MaxGroups = 2 })
	for _, name := range []string{"first", "second"} {
		c := r.consumer("orders")
		c.Group = name
		r.wantJoin(c.join(), nil)
		if name == "first" {
			r.wantErr(c.leave(), nil)
		}
	}
	third, fourth := r.consumer("orders"), r.consumer("orders")
	third.Group, fourth.Group = "third", "fourth"
	r.wantJoin(third.join(), nil)
	r.wantJoin(fourth.join(), coordinator.ErrTooManyGroups)
}

func TestGroupOfOtherConsumersIsRefused(t *testing.T) {
	r := newRig(t)
	r.busy = errTaken
	r.wantJoin(r.consumer("orders").join(), errTaken)
	r.wantState(coordinator.Dead)
	r.busy = nil
	a := r.consumer("orders")
	r.stable(a)
	if r.claims != 1 {
		t.Errorf("%d claims", r.claims)
	}
	r.wantErr(a.leave(), nil)
	if r.claims != 0 {
		t.Errorf("%d claims after the last member has left", r.claims)
	}
}
