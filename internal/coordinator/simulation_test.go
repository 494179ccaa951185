package coordinator_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"mbus/internal/coordinator"
)

var (
	seed  = flag.Uint64("seed", 0, "simulate only this seed")
	seeds = flag.Uint64("seeds", 5000, "how many seeds to simulate")
)

// Clients join, sync, commit, leave, fall silent, come back as static members,
// send twice, and mix things up, at random and with time passing. After each step
// the group is compared with what the replies to the clients. In the end some
// behave, and must all get their parts; then all fall silent.
func TestSimulatedGroupsKeepTheProtocol(t *testing.T) {
	first, last := uint64(1), *seeds
	if *seed != 0 {
		first, last = *seed, *seed
	}
	generations := 0
	for n := first; n <= last; n++ {
		s := newSimulation(t, n)
		if err := s.run(); err != nil {
			t.Fatalf("%v\nagain: go test ./internal/coordinator -run %s -seed %d", err, t.Name(), n)
		}
		generations += s.generations
	}
	if *seed == 0 && generations < 5*int(*seeds) {
		t.Errorf("only %d generations in %d simulations", generations, *seeds)
	}
}

// A simulation is one group, its clients, and what has been seen of it.
type simulation struct {
	*rig
	rng     *rand.Rand
	limit   int // of members
	clients []*client

	generation  int32 // the highest in any reply since the group came to be
	leaders     map[int32]*client
	protocols   map[int32]string
	parts       map[string]string // part -> who got it: member or instance
	generations int
	problem     error // seen in a callback
}

// A client is one consumer's program.
type client struct {
	s       *simulation
	request coordinator.JoinRequest
	reply   coordinator.JoinReply
	joining int // calls that are to be answered
	syncing int
	member  bool // has got a generation, and no error since
	part    string
}

func newSimulation(t *testing.T, seed uint64) *simulation {
	s := &simulation{rng: rand.New(rand.NewPCG(seed, 1))}
	s.rig = newRig(t, func(o *coordinator.Options) {
		o.RebalanceDelay = time.Duration(s.rng.IntN(2)) * time.Second
		o.Limits.MaxMembers = 4 + s.rng.IntN(8)
		s.limit = o.Limits.MaxMembers
	})
	s.forget()
	for range 3 + s.rng.IntN(6) {
		s.clients = append(s.clients, s.newClient())
	}
	return s
}

// forget is for when the group is no more.
func (s *simulation) forget() {
	s.generation = 0
	s.leaders, s.protocols, s.parts = make(map[int32]*client), make(map[int32]string), make(map[string]string)
}

func (s *simulation) newClient() *client {
	c := &client{s: s, request: coordinator.JoinRequest{
		Group: theGroup, Client: "app", ProtocolType: coordinator.Consumer, RequireID: s.rng.IntN(2) == 0, MaySkip: s.rng.IntN(2) == 0,
		Session: session + time.Duration(s.rng.IntN(20))*time.Second, Rebalance: time.Duration(s.rng.IntN(6)) * 10 * time.Second,
	}}
	if s.rng.IntN(3) == 0 {
		c.request.Instance = fmt.Sprintf("instance%d", s.rng.IntN(3))
	}
	c.subscribe()
	return c
}

// subscribe changes what the client offers. All have one protocol in common.
func (c *client) subscribe() {
	c.request.Protocols = []coordinator.Protocol{{Name: "common"}}
	for _, name := range []string{"one", "two"} {
		if c.s.rng.IntN(2) == 0 {
			c.request.Protocols = append(c.request.Protocols, coordinator.Protocol{Name: name})
		}
	}
	topic := fmt.Sprintf("topic%d", c.s.rng.IntN(2))
	for i, p := range c.request.Protocols {
		c.request.Protocols[i].Metadata = append(subscription(topic), p.Name...)
	}
}

func (s *simulation) run() error {
	for i := range 120 {
		what := s.step()
		if err := s.check(); err != nil {
			return fmt.Errorf("step %d, %s: %w", i, what, err)
		}
	}
	if err := s.behave(); err != nil {
		return fmt.Errorf("in good order: %w", err)
	}
	return s.end()
}

func (s *simulation) step() string {
	c := s.clients[s.rng.IntN(len(s.clients))]
	switch n := s.rng.IntN(100); {
	case n < 20:
		c.join()
		return "join"
	case n < 40:
		c.goOn()
		return "go on"
	case n < 50:
		c.sync()
		return "sync"
	case n < 60:
		c.alive()
		return "heartbeat"
	case n < 65:
		c.commit()
		return "commit"
	case n < 70:
		c.leave()
		return "leave"
	case n < 75:
		c.subscribe()
		return "subscribe"
	case n < 80:
		c.restart()
		return "restart"
	case n < 84:
		s.busy = nil
		if s.rng.IntN(4) == 0 {
			s.busy = errTaken
		}
		return "other users of the group"
	case n < 90:
		return s.mixUp(c)
	}
	d := time.Duration(s.rng.Int64N(int64(15 * time.Second)))
	if s.rng.IntN(30) == 0 {
		d = 15 * time.Minute
	}
	s.clock.advance(d)
	return fmt.Sprintf("%v pass", d)
}

// mixUp sends what does not belong to c.
func (s *simulation) mixUp(c *client) string {
	other := s.clients[s.rng.IntN(len(s.clients))]
	generation := c.reply.Generation + int32(s.rng.IntN(3)-1)
	s.Heartbeat(theGroup, other.request.Member, c.request.Instance, generation)
	if end, err := s.BeginCommit(coordinator.Committer{Group: theGroup, Member: other.request.Member, Generation: generation}); err == nil {
		end()
	}
	s.Forget(theGroup)
	return "mix up"
}

func (c *client) join() {
	c.joining++
	c.request.Protocols = append([]coordinator.Protocol(nil), c.request.Protocols...)
	id, answered := c.request.Member, false
	c.s.Join(c.request, func(r coordinator.JoinReply) {
		c.joining--
		if answered {
			c.s.problem = errors.New("a join was answered twice")
		}
		answered = true
		if id == c.request.Member || r.Err == nil { // else it is a former self's
			c.onJoin(r)
		}
	})
}

func (c *client) onJoin(r coordinator.JoinReply) {
	c.member = r.Err == nil
	switch {
	case errors.Is(r.Err, coordinator.ErrMemberIDRequired):
		c.request.Member = r.Member
	case errors.Is(r.Err, coordinator.ErrUnknownMember), errors.Is(r.Err, coordinator.ErrFenced):
		c.request.Member = ""
	case r.Err == nil:
		c.reply, c.request.Member, c.part = r, r.Member, ""
		if err := c.s.begun(c, r); err != nil {
			c.s.problem = err
		}
	}
}

// begun checks the generation in a reply.
func (s *simulation) begun(c *client, r coordinator.JoinReply) error {
	if r.Generation < s.generation {
		return fmt.Errorf("generation %d after %d", r.Generation, s.generation)
	}
	if r.Generation > s.generation {
		s.generation = r.Generation
		s.generations++
		s.protocols[r.Generation] = r.Protocol
	}
	if s.protocols[r.Generation] != r.Protocol {
		return fmt.Errorf("protocol %q, others have %q", r.Protocol, s.protocols[r.Generation])
	}
	if len(r.Members) == 0 {
		return nil
	}
	if r.Leader != r.Member {
		return fmt.Errorf("%s gets the members, but %s leads", r.Member, r.Leader)
	}
	l := s.leaders[r.Generation]
	if l != nil && l != c && (l.request.Instance == "" || l.request.Instance != c.request.Instance) {
		return fmt.Errorf("generation %d has two leaders", r.Generation)
	}
	s.leaders[r.Generation] = c
	for _, m := range r.Members {
		if !strings.HasSuffix(string(m.Metadata), r.Protocol) {
			return fmt.Errorf("metadata %q for protocol %q", m.Metadata, r.Protocol)
		}
	}
	return nil
}

func (c *client) sync() {
	r := coordinator.SyncRequest{Group: theGroup, Member: c.request.Member, Instance: c.request.Instance, Generation: c.reply.Generation}
	if !c.reply.SkipAssignment {
		for _, m := range c.reply.Members {
			r.Assignments = append(r.Assignments, coordinator.Assignment{Member: m.Member, Bytes: part(m.Member, r.Generation)})
		}
	}
	c.syncing++
	answered := false
	c.s.Sync(r, func(reply coordinator.SyncReply) {
		c.syncing--
		if answered {
			c.s.problem = errors.New("a sync was answered twice")
		}
		answered = true
		if r.Member == c.request.Member {
			c.onSync(r, reply)
		}
	})
}

func (c *client) onSync(r coordinator.SyncRequest, reply coordinator.SyncReply) {
	if reply.Err != nil {
		c.member = false
		return
	}
	if r.Generation != c.s.generation {
		c.s.problem = fmt.Errorf("a part of generation %d in %d", r.Generation, c.s.generation)
	}
	c.part = string(reply.Assignment)
	if err := c.checkPart(r.Member); err != nil {
		c.s.problem = err
	}
}

// checkPart sees that the part is this member's, or its former self's, in the
// present generation, and nobody else's.
func (c *client) checkPart(id string) error {
	if c.part == "" { // of a member that the leader was not told of
		return errors.New("a member got no part")
	}
	mine := c.part == string(part(id, c.s.generation))
	owner := id
	if c.request.Instance != "" {
		mine = strings.HasPrefix(c.part, "part of "+c.request.Instance+"-") && strings.HasSuffix(c.part, fmt.Sprintf("generation %d", c.s.generation))
		owner = c.request.Instance
	}
	if !mine {
		return fmt.Errorf("%s got %q in generation %d", id, c.part, c.s.generation)
	}
	if by, ok := c.s.parts[c.part]; ok && by != owner {
		return fmt.Errorf("%q was given to %s and to %s", c.part, by, owner)
	}
	c.s.parts[c.part] = owner
	return nil
}

// alive sends a heartbeat. One that is accepted is of the present generation.
func (c *client) alive() {
	err := c.s.Heartbeat(theGroup, c.request.Member, c.request.Instance, c.reply.Generation)
	if err == nil && c.reply.Generation != c.s.generation {
		c.s.problem = fmt.Errorf("a heartbeat of generation %d in %d", c.reply.Generation, c.s.generation)
	}
	c.member = c.member && err == nil
	if errors.Is(err, coordinator.ErrUnknownMember) || errors.Is(err, coordinator.ErrFenced) {
		if c.joining == 0 {
			c.request.Member = ""
		}
	}
}

func (c *client) commit() {
	end, err := c.s.BeginCommit(coordinator.Committer{
		Group: theGroup, Member: c.request.Member, Instance: c.request.Instance, Generation: c.reply.Generation,
	})
	if err != nil {
		return
	}
	if c.reply.Generation != c.s.generation {
		c.s.problem = fmt.Errorf("a commit of generation %d in %d", c.reply.Generation, c.s.generation)
	}
	end()
}

func (c *client) leave() {
	c.s.Leave(theGroup, []coordinator.Leaver{{Member: c.request.Member, Instance: c.request.Instance}})
	c.request.Member, c.member = "", false
}

// restart is a new process: it knows nothing of the old one.
func (c *client) restart() {
	c.request.Member, c.reply, c.member, c.part = "", coordinator.JoinReply{}, false, ""
}

// goOn does what a client in good order does next.
func (c *client) goOn() {
	switch {
	case c.joining > 0 || c.syncing > 0:
	case !c.member:
		c.join()
	case c.part == "":
		c.sync()
	default:
		c.alive()
	}
}

// check compares the group with the replies to the clients.
func (s *simulation) check() error {
	if s.problem != nil {
		return s.problem
	}
	d, err := s.Describe(theGroup)
	if errors.Is(err, coordinator.ErrUnknownGroup) {
		s.forget()
		if s.claims != 0 || coordinator.Used(s.Coordinator) != 0 || len(s.clock.timers) != 0 {
			return fmt.Errorf("no group, but %d claims, %d bytes, %d timers", s.claims, coordinator.Used(s.Coordinator), len(s.clock.timers))
		}
		return nil
	}
	seen := make(map[string]bool)
	for _, m := range d.Members {
		if seen[m.Member] || m.Instance != "" && seen[m.Instance] {
			return fmt.Errorf("%s %s is there twice", m.Member, m.Instance)
		}
		seen[m.Member], seen[m.Instance] = true, true
	}
	switch n := len(d.Members); {
	case (n == 0) != (d.State == coordinator.Empty):
		return fmt.Errorf("%s with %d members", d.State, n)
	case n > s.limit:
		return fmt.Errorf("%d members, the limit is %d", n, s.limit)
	case s.claims > 1 || n > 0 && s.claims == 0:
		return fmt.Errorf("%d members and %d claims", n, s.claims)
	case len(s.clock.timers) == 0:
		return errors.New("nothing will ever happen")
	}
	return nil
}

// behave has some clients keep to the protocol until all have their parts.
func (s *simulation) behave() error {
	s.busy = nil
	var good []*client
	for i := range 3 {
		c := s.newClient()
		if c.request.Instance != "" {
			c.request.Instance = fmt.Sprintf("good%d", i)
		}
		good = append(good, c)
	}
	for range 200 { // ten minutes
		for _, c := range good {
			c.goOn()
		}
		if err := s.check(); err != nil {
			return err
		}
		s.clock.advance(3 * time.Second)
		if s.together(good) {
			return s.check()
		}
	}
	return errors.New("not all have their parts")
}

// together says whether these clients, and nobody else, make up the group.
func (s *simulation) together(good []*client) bool {
	d, _ := s.Describe(theGroup)
	for _, c := range good {
		if !c.member || c.part == "" || c.reply.Generation != s.generation {
			return false
		}
	}
	return d.State == coordinator.Stable && len(d.Members) == len(good)
}

// end has all fall silent: everything is answered and forgotten.
func (s *simulation) end() error {
	s.clock.advance(2 * time.Hour)
	for _, c := range s.clients {
		if c.joining != 0 || c.syncing != 0 {
			return fmt.Errorf("%d joins and %d syncs were never answered", c.joining, c.syncing)
		}
	}
	if _, err := s.Describe(theGroup); !errors.Is(err, coordinator.ErrUnknownGroup) {
		return fmt.Errorf("the group is still there: %v", err)
	}
	return s.check()
}
