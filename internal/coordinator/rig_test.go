package coordinator_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"mbus/internal/coordinator"
)

// A rig is a coordinator with a clock of its own, and one group that tests use.
type rig struct {
	*testing.T
	*coordinator.Coordinator
	clock  *fakeClock
	claims int   // held now
	busy   error // what a claim is refused with
}

const (
	theGroup  = "billing"
	session   = 10 * time.Second
	rebalance = time.Minute
)

func newRig(t *testing.T, change ...func(*coordinator.Options)) *rig {
	r := &rig{T: t, clock: newFakeClock()}
	o := coordinator.Options{Limits: coordinator.DefaultLimits(), Clock: r.clock, Acquire: r.claim}
	for _, f := range change {
		f(&o)
	}
	r.Coordinator = coordinator.New(o)
	return r
}

func (r *rig) claim(string) (func(), error) {
	if r.busy != nil {
		return nil, r.busy
	}
	r.claims++
	return func() { r.claims-- }, nil
}

// A consumer is a member as a test sees it: what it joins with, and the latest
// answers. The counts are of answers that are still to come.
type consumer struct {
	*rig
	coordinator.JoinRequest
	joined  coordinator.JoinReply
	synced  coordinator.SyncReply
	joining int
	syncing int
}

// consumer reads the topics with the protocol "range".
func (r *rig) consumer(topics ...string) *consumer {
	return &consumer{rig: r, JoinRequest: coordinator.JoinRequest{
		Group: theGroup, Client: "app", Host: "127.0.0.1", Session: session, Rebalance: rebalance,
		ProtocolType: coordinator.Consumer, Protocols: []coordinator.Protocol{{Name: "range", Metadata: subscription(topics...)}},
	}}
}

// static makes it a static member.
func (c *consumer) static(instance string) *consumer {
	c.Instance = instance
	return c
}

// subscription is a consumer's metadata, version 0.
func subscription(topics ...string) []byte {
	p := []byte{0, 0, 0, 0, 0, byte(len(topics))}
	for _, name := range topics {
		p = append(append(p, 0, byte(len(name))), name...)
	}
	return append(p, 0xff, 0xff, 0xff, 0xff) // no user data
}

// join sends a request, with the id that it has been given if it has one.
func (c *consumer) join() *consumer {
	c.joining++
	c.Join(c.JoinRequest, func(r coordinator.JoinReply) {
		c.joining--
		c.joined = r
		if r.Err == nil || errors.Is(r.Err, coordinator.ErrMemberIDRequired) {
			c.Member = r.Member
		}
	})
	return c
}

// sync asks for the member's part; the leader gives each "part of ID in generation N".
func (c *consumer) sync() *consumer {
	r := coordinator.SyncRequest{
		Group: c.Group, Member: c.Member, Instance: c.Instance, Generation: c.joined.Generation,
		ProtocolType: c.joined.ProtocolType, Protocol: c.joined.Protocol,
	}
	if !c.joined.SkipAssignment {
		for _, m := range c.joined.Members {
			r.Assignments = append(r.Assignments, coordinator.Assignment{Member: m.Member, Bytes: part(m.Member, r.Generation)})
		}
	}
	c.syncing++
	c.Sync(r, func(r coordinator.SyncReply) {
		c.syncing--
		c.synced = r
	})
	return c
}

func part(id string, generation int32) []byte {
	return fmt.Appendf(nil, "part of %s in generation %d", id, generation)
}

func (c *consumer) heartbeat() error {
	return c.Heartbeat(c.Group, c.Member, c.Instance, c.joined.Generation)
}

func (c *consumer) commit() error {
	_, err := c.BeginCommit(coordinator.Committer{
		Group: c.Group, Member: c.Member, Instance: c.Instance, Generation: c.joined.Generation,
	})
	return err
}

func (c *consumer) leave() error {
	results, err := c.Leave(c.Group, []coordinator.Leaver{{Member: c.Member, Instance: c.Instance}})
	if err != nil {
		return err
	}
	return results[0]
}

func (c *consumer) leads() bool { return len(c.joined.Members) > 0 }

// stable joins all and has them get their parts.
func (r *rig) stable(members ...*consumer) {
	r.Helper()
	for range 2 { // the first may have begun a generation of its own
		for _, c := range members {
			c.join()
		}
	}
	for _, c := range members {
		r.wantJoin(c, nil)
		c.sync()
	}
	for _, c := range members {
		r.wantPart(c)
	}
	r.wantState(coordinator.Stable)
}

func (r *rig) wantJoin(c *consumer, err error) {
	r.Helper()
	if c.joining != 0 || !errors.Is(c.joined.Err, err) {
		r.Fatalf("join: %d waiting, %v, want %v", c.joining, c.joined.Err, err)
	}
}

func (r *rig) wantSync(c *consumer, err error) {
	r.Helper()
	if c.syncing != 0 || !errors.Is(c.synced.Err, err) {
		r.Fatalf("sync: %d waiting, %v, want %v", c.syncing, c.synced.Err, err)
	}
}

func (r *rig) wantPart(c *consumer) {
	r.Helper()
	r.wantSync(c, nil)
	if want := string(part(c.Member, c.joined.Generation)); string(c.synced.Assignment) != want {
		r.Fatalf("got %q, want %q", c.synced.Assignment, want)
	}
}

func (r *rig) wantState(want coordinator.State) {
	r.Helper()
	d, _ := r.Describe(theGroup)
	if d.State != want {
		r.Fatalf("the group is %s, want %s", d.State, want)
	}
}

func (r *rig) wantErr(got, want error) {
	r.Helper()
	if !errors.Is(got, want) || want == nil && got != nil {
		r.Fatalf("got %v, want %v", got, want)
	}
}

func isOf(id, name string) bool { return strings.HasPrefix(id, name+"-") }
