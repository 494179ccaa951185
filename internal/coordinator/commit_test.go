package coordinator_test

import (
	"testing"

	"mbus/internal/coordinator"
)

func TestMembersMayCommitExceptBeforeTheyKnowTheirPart(t *testing.T) {
	r := newRig(t)
	a := r.consumer("orders").join()
	r.wantErr(a.commit(), coordinator.ErrRebalance)
	a.sync()
	r.wantErr(a.commit(), nil)
	r.consumer("orders").join()
	r.wantState(coordinator.PreparingRebalance)
	r.wantErr(a.commit(), nil)
}

func TestCommitFromOutsideIsForGroupsWithoutMembers(t *testing.T) {
	r := newRig(t)
	outside := coordinator.Committer{Group: theGroup, Generation: -1}
	end, err := r.BeginCommit(outside)
	r.wantErr(err, nil)
	if r.claims != 1 {
		t.Errorf("%d claims in a commit", r.claims)
	}
	end()
	if r.claims != 0 {
		t.Errorf("%d claims after the commit", r.claims)
	}
	a := r.consumer("orders")
	r.stable(a)
	_, err = r.BeginCommit(outside)
	r.wantErr(err, coordinator.ErrUnknownMember)
	r.wantErr(a.leave(), nil)
	_, err = r.BeginCommit(outside)
	r.wantErr(err, nil)
}

// A consumer that chooses its partitions itself has no generation, whatever ids it has.
func TestACommitWithoutAGenerationIsFromOutsideWhateverItNames(t *testing.T) {
	for name, who := range map[string]coordinator.Committer{
		"a member id":    {Group: theGroup, Member: "app-1", Generation: -1},
		"an instance id": {Group: theGroup, Instance: "one", Generation: -1},
		"both":           {Group: theGroup, Member: "app-1", Instance: "one", Generation: -1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			commit := func() error {
				end, err := r.BeginCommit(who)
				if err == nil {
					end()
				}
				return err
			}
			r.wantErr(commit(), nil)
			a := r.consumer("orders").static("one")
			r.stable(a)
			refused := commit()
			if refused == nil {
				t.Error("it is taken while the group has a member")
			}
			r.wantErr(r.QueueCommit(who, func() { t.Error("it is queued while the group has a member") }), refused)
			own := who
			own.Member = a.Member
			_, err := r.BeginCommit(own)
			r.wantErr(err, coordinator.ErrIllegalGeneration)
			r.wantErr(a.leave(), nil)
			r.wantErr(commit(), nil)
		})
	}
}

// Until a commit is on disk consumers of other protocols would begin before it.
func TestAGroupIsClaimedUntilItsLastCommitHasEnded(t *testing.T) {
	r := newRig(t)
	a := r.consumer("orders")
	r.stable(a)
	end, err := r.BeginCommit(coordinator.Committer{Group: theGroup, Member: a.Member, Generation: a.joined.Generation})
	r.wantErr(err, nil)
	r.wantErr(a.leave(), nil)
	if r.claims != 1 {
		t.Errorf("%d claims while the commit of a member that has left is under way", r.claims)
	}
	end()
	if r.claims != 0 {
		t.Errorf("%d claims after it", r.claims)
	}
}

func TestCommitFromOutsideIsRefusedWhileOthersUseTheGroup(t *testing.T) {
	r := newRig(t)
	r.busy = errTaken
	_, err := r.BeginCommit(coordinator.Committer{Group: theGroup, Generation: -1})
	r.wantErr(err, errTaken)
}

// A commit was let through, and others have joined before it is queued.
func TestCommitsAreQueuedInTheirGeneration(t *testing.T) {
	r := newRig(t)
	outside := coordinator.Committer{Group: theGroup, Generation: -1}
	queued := 0
	queue := func() { queued++ }
	end, err := r.BeginCommit(outside)
	r.wantErr(err, nil)
	r.wantErr(r.QueueCommit(outside, queue), nil)
	end()
	a := r.consumer("orders")
	r.stable(a)
	r.wantErr(r.QueueCommit(outside, queue), coordinator.ErrUnknownMember)
	old := coordinator.Committer{Group: theGroup, Member: a.Member, Generation: a.joined.Generation}
	r.wantErr(r.QueueCommit(old, queue), nil)
	r.stable(a, r.consumer("orders"))
	r.wantErr(r.QueueCommit(old, queue), coordinator.ErrIllegalGeneration)
	if queued != 2 {
		t.Errorf("%d were queued", queued)
	}
}

func TestDescriptionHasPartsOnlyWhileStable(t *testing.T) {
	r := newRig(t)
	a := r.consumer("orders").static("one").join()
	d, err := r.Describe(theGroup)
	r.wantErr(err, nil)
	if d.State != coordinator.CompletingRebalance || d.Protocol != "" || d.Members[0].Metadata != nil {
		t.Errorf("described as %+v", d)
	}
	a.sync()
	d, _ = r.Describe(theGroup)
	want := coordinator.Described{
		Member: a.Member, Instance: "one", Client: "app", Host: "127.0.0.1",
		Metadata: subscription("orders"), Assignment: part(a.Member, 1),
	}
	if got := d.Members[0]; d.ProtocolType != "consumer" || d.Protocol != "range" || got.Member != want.Member || got.Instance != want.Instance ||
		got.Client != want.Client || got.Host != want.Host || string(got.Metadata) != string(want.Metadata) || string(got.Assignment) != string(want.Assignment) {
		t.Errorf("described as %+v", d)
	}
	_, err = r.Describe("another")
	r.wantErr(err, coordinator.ErrUnknownGroup)
}

func TestBytesOfARequestAreNotKept(t *testing.T) {
	r := newRig(t)
	frame := append([]byte(nil), "metadata part"...)
	a := r.consumer()
	a.Protocols[0].Metadata = frame[:8]
	a.join()
	clear(frame[:8])
	r.Sync(coordinator.SyncRequest{
		Group: theGroup, Member: a.Member, Generation: a.joined.Generation,
		Assignments: []coordinator.Assignment{{Member: a.Member, Bytes: frame[9:]}},
	}, func(coordinator.SyncReply) {})
	clear(frame)
	d, _ := r.Describe(theGroup)
	if got := d.Members[0]; string(got.Metadata) != "metadata" || string(got.Assignment) != "part" {
		t.Errorf("described as %q, %q", got.Metadata, got.Assignment)
	}
}

func TestListHasAllGroupsByName(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"b", "a", "c"} {
		c := r.consumer("orders")
		c.Group = name
		c.join()
		if name == "b" {
			c.leave()
		}
	}
	list := r.List()
	if len(list) != 3 || list[0].Group != "a" || list[1].State != coordinator.Empty || list[2].State != coordinator.CompletingRebalance {
		t.Errorf("listed %+v", list)
	}
}

func TestOnlyGroupsWithoutMembersCanBeForgotten(t *testing.T) {
	r := newRig(t)
	r.wantErr(r.Forget(theGroup), coordinator.ErrUnknownGroup)
	a := r.consumer("orders")
	a.RequireID = true
	a.join()
	r.wantErr(r.Forget(theGroup), coordinator.ErrNotEmpty)
	a.join()
	r.wantErr(r.Forget(theGroup), coordinator.ErrNotEmpty)
	r.wantErr(a.leave(), nil)
	r.wantErr(r.Forget(theGroup), nil)
	r.wantState(coordinator.Dead)
}

func TestSubscribedTopicsAreThoseOfAllMembers(t *testing.T) {
	r := newRig(t)
	if topics, ok := r.Subscribed(theGroup); !ok || len(topics) != 0 {
		t.Errorf("unknown group: %v, %v", topics, ok)
	}
	r.stable(r.consumer("orders"), r.consumer("bills", "orders"))
	if topics, ok := r.Subscribed(theGroup); !ok || len(topics) != 2 || !topics["orders"] || !topics["bills"] {
		t.Errorf("%v, %v", topics, ok)
	}
	odd := r.consumer()
	odd.Protocols[0].Metadata = []byte{0, 0, 0xff, 0xff, 0xff, 0xff, 0, 9}
	odd.join()
	if topics, ok := r.Subscribed(theGroup); ok {
		t.Errorf("metadata that can't be read: %v", topics)
	}
}
