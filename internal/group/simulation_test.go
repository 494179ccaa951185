package group_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"mbus/internal/group"
)

var (
	seed  = flag.Uint64("seed", 0, "simulate only this seed")
	seeds = flag.Uint64("seeds", 12_000, "how many seeds to simulate")
)

// Clients lease, acknowledge, fail, give back and vanish at random; topics and
// groups are deleted and made again; the positions log takes its time, or fails; the
// broker is killed and started again. After each step every position is
// compared with a model.
func TestSimulatedClientsLoseNothingAndShareNothing(t *testing.T) {
	const shares = 8
	if *seed != 0 {
		simulate(t, *seed, new(tally))
		return
	}
	last := *seeds
	if testing.Short() {
		last /= 10
	}
	var all tally
	t.Run("seeds", func(seeds *testing.T) {
		for share := range uint64(shares) {
			seeds.Run(fmt.Sprint(share), func(t *testing.T) {
				t.Parallel()
				for n := 1 + share; n <= last && !seeds.Failed(); n += shares { // one failure ends all
					simulate(t, n, &all)
				}
			})
		}
	})
	if !t.Failed() {
		all.check(t, last)
	}
}

func simulate(t *testing.T, seed uint64, all *tally) {
	s := newSimulation(seed, all)
	if err := s.run(); err != nil {
		t.Errorf("seed %d: %v\nagain: go test ./internal/group -run Simulated -seed %d", seed, err, seed)
	}
}

// A tally counts how often the things have happened that the simulation is for.
type tally struct {
	delivered, acked, some, failed, lost, buried, queued, confirmed, restarts, badWrites, deleted, commits, rests, wakes, reopened, holes atomic.Int64
}

func (a *tally) check(t *testing.T, seeds uint64) {
	for name, n := range map[string]*atomic.Int64{
		"delivered": &a.delivered, "acknowledged": &a.acked, "acknowledged out of turn": &a.some, "failed": &a.failed, "lost": &a.lost, "buried": &a.buried,
		"queued": &a.queued, "confirmed": &a.confirmed, "restarts": &a.restarts, "failed writes": &a.badWrites,
		"deleted": &a.deleted, "commits": &a.commits, "rests": &a.rests, "wakes": &a.wakes, "reopened": &a.reopened, "holes": &a.holes,
	} {
		t.Logf("%s: %d", name, n.Load())
		if uint64(n.Load()) < seeds/2 {
			t.Errorf("%s: only %d in %d simulations", name, n.Load(), seeds)
		}
	}
}

const (
	maxMessages = 40 // of a topic
	maxClients  = 5
	steps       = 150
)

var (
	topicNames = []string{"orders", "stock"}
	groupNames = []string{"plain", "ordered"}
)

// A simulation is a broker's groups and what the model knows of them.
type simulation struct {
	*life
	rng     *rand.Rand
	tally   *tally
	now     time.Time
	clock   simulatedClock
	disk    disk
	logs    map[string]*log // nil for a topic that does not exist
	going   map[string]bool // topics deleted, which may come back when that is durable
	models  map[group.Key]*model
	clients []*client
	letters []letter
	commits []*committing
}

// A committing is a call of Groups.Commit that has not been answered.
type committing struct {
	*model
	state group.State
	begun bool // in the write under way
}

// A letter is a dead message on its way to where those are kept.
type letter struct {
	*model
	offset int64
}

func newSimulation(seed uint64, all *tally) *simulation {
	s := &simulation{
		rng: rand.New(rand.NewPCG(seed, 1)), tally: all, now: time.UnixMilli(0), disk: make(disk),
		logs: make(map[string]*log), going: make(map[string]bool), models: make(map[group.Key]*model),
	}
	for _, name := range topicNames {
		s.logs[name] = &log{topic: name}
	}
	s.life = newLife()
	s.clock.time = s.now
	s.groups.Clock = &s.clock
	s.prod()
	return s
}

// truth is what the disk must hold when all is written.
func (s *simulation) truth() disk {
	d := make(disk)
	for k, p := range s.models {
		if !p.unsaved {
			d[k] = string(p.state().AppendValue(nil, 0))
		}
	}
	for _, c := range s.commits {
		if !c.gone {
			d[c.key] = string(c.state.AppendValue(nil, 0))
		}
	}
	return d
}

func (s *simulation) run() error {
	if err := s.begin(s.truth()); err != nil {
		return err
	}
	for i := range steps {
		what, err := s.step()
		if err == nil {
			s.tell()
			err = s.check()
		}
		if err != nil {
			return fmt.Errorf("step %d, %s: %w", i, what, err)
		}
	}
	if err := s.finish(); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	return nil
}

// An action is a step that may happen, weight times as often as one of weight 1.
type action struct {
	name   string
	weight int
	do     func(*simulation) error
}

var actions = []action{
	{"messages come", 12, (*simulation).publish},
	{"join", 8, (*simulation).join},
	{"leave", 4, (*simulation).leave},
	{"lease", 30, withClient((*simulation).lease)},
	{"ack", 26, withClient((*simulation).ack)},
	{"ack some", 8, withClient((*simulation).ackSome)},
	{"fail", 26, withClient((*simulation).fail)},
	{"act", 40, withClient((*simulation).act)},
	{"settle", 12, (*simulation).settle},
	{"lose", 6, withClient((*simulation).lose)},
	{"release", 3, withClient((*simulation).release)},
	{"others", 3, withClient((*simulation).others)},
	{"letter", 30, (*simulation).letterArrives},
	{"reopen", 8, (*simulation).reopen},
	{"time", 6, (*simulation).time},
	{"sync", 6, (*simulation).startSync},
	{"write", 12, (*simulation).endWrite},
	{"commit", 2, (*simulation).commit},
	{"delete positions", 1, (*simulation).deletePositions},
	{"delete topic", 1, (*simulation).deleteTopic},
	{"make topic", 6, (*simulation).makeTopic},
	{"restart", 2, (*simulation).restart},
}

func (s *simulation) step() (string, error) {
	sum := 0
	for _, a := range actions {
		sum += a.weight
	}
	n := s.rng.IntN(sum)
	for _, a := range actions {
		if n -= a.weight; n < 0 {
			return a.name, a.do(s)
		}
	}
	return "", nil
}

func withClient(do func(*simulation, *client) error) func(*simulation) error {
	return func(s *simulation) error {
		if len(s.clients) == 0 {
			return s.join()
		}
		return do(s, pick(s.rng, s.clients))
	}
}

func pick[T any](rng *rand.Rand, from []T) T { return from[rng.IntN(len(from))] }

// publish has messages come to a topic, of which its followers learn by its
// log.
func (s *simulation) publish() error {
	l := s.logs[pick(s.rng, topicNames)]
	if l == nil || l.end() >= maxMessages {
		return nil
	}
	for range 1 + s.rng.IntN(6) {
		l.publish(s.rng.Uint64N(3))
		for s.rng.IntN(4) == 0 {
			l.publish(hole)
		}
	}
	return nil
}

func (s *simulation) time() error {
	s.now = s.now.Add(time.Duration(s.rng.IntN(30)) * time.Millisecond)
	s.clock.set(s.now)
	return nil
}

// letterArrives ends what has become of a dead message.
func (s *simulation) letterArrives() error {
	if len(s.letters) == 0 {
		return nil
	}
	i := s.rng.IntN(len(s.letters))
	l := s.letters[i]
	s.letters = append(s.letters[:i:i], s.letters[i+1:]...)
	if s.rng.IntN(3) > 0 {
		s.tally.buried.Add(1)
		l.buried++
		l.pos.Bury(l.offset)
		l.settle(l.offset)
		return nil
	}
	m := l.at(l.offset)
	m.fate, m.due = failed, s.now.Add(time.Duration(s.rng.IntN(30))*time.Millisecond)
	l.pos.Unbury(l.offset, m.due)
	return nil
}

// startSync asks when all that is acknowledged is durable.
func (s *simulation) startSync() error {
	s.sync(s.snapshot())
	return nil
}

func (s *simulation) snapshot() *syncing {
	y := &syncing{gone: slices.Collect(maps.Keys(s.going))}
	for _, p := range s.models {
		for o := range p.log.end() {
			switch m := p.at(o); {
			case p.log.isHole(o):
			case m.fate == acked:
				y.acked = append(y.acked, m)
			case m.reopened:
				y.reopened = append(y.reopened, m)
			}
		}
	}
	return y
}

// endWrite has the positions log's write succeed or fail; another one begins.
func (s *simulation) endWrite() error {
	if s.rng.IntN(4) == 0 {
		s.tally.badWrites.Add(1)
		s.dropCommits()
		err := s.life.fail(s.disk, s.rng.IntN(2) == 0, len(s.commits) > 0, s.truth())
		s.begun()
		return err
	}
	s.applyCommits()
	confirmed, err := s.succeed(s.disk, s.truth())
	for k, p := range s.models {
		if p.written {
			p.known, p.uncertain = s.disk[k], false
		}
	}
	s.begun()
	for _, y := range confirmed {
		s.tally.confirmed.Add(1)
		for _, name := range y.gone {
			delete(s.going, name)
		}
		for _, m := range y.acked {
			m.confirmed = true
		}
		for _, m := range y.reopened {
			m.promised = true
		}
	}
	return err
}

// commit is what a Kafka client or an administrator does, with a group that has
// no members.
func (s *simulation) commit() error {
	k := group.Key{Group: pick(s.rng, groupNames), Topic: pick(s.rng, topicNames)}
	l := s.logs[k.Topic]
	if l == nil {
		return nil
	}
	for i := len(s.clients) - 1; i >= 0; i-- {
		if s.clients[i].group == k.Group {
			s.leaves(i)
		}
	}
	state := group.State{Offset: s.rng.Int64N(l.end() + 1), Epoch: int32(s.rng.IntN(5)), Metadata: "of a client"}
	if s.rng.IntN(8) == 0 { // kafkajs does: no position
		state.Offset = -1 - s.rng.Int64N(2)
	}
	s.groups.Commit([]group.Set{{Position: position(s.groups, k), State: state}}, func(error) {})
	p := s.model(k)
	p.users++
	p.pending++
	s.commits = append(s.commits, &committing{model: p, state: state})
	return nil
}

// begun notes that a write has begun, and with it all commits.
func (s *simulation) begun() {
	for _, c := range s.commits {
		c.begun = true
	}
	for _, p := range s.models {
		p.written = true
	}
}

// applyCommits does what the commits in the write under way have asked for.
func (s *simulation) applyCommits() {
	s.commits = slices.DeleteFunc(s.commits, func(c *committing) bool {
		if c.begun {
			c.leave()
			c.pending--
			c.load(c.state)
			s.letters = slices.DeleteFunc(s.letters, func(l letter) bool { return l.model == c.model })
			s.tally.commits.Add(1)
		}
		return c.begun
	})
}

// dropCommits forgets the commits of the write under way, which fails.
func (s *simulation) dropCommits() {
	s.commits = slices.DeleteFunc(s.commits, func(c *committing) bool {
		if c.begun {
			c.leave()
			c.pending--
			c.uncertain = true
			if c.users == 0 && c.unsaved && !c.gone {
				delete(s.models, c.key)
			}
		}
		return c.begun
	})
}

// committed says whether a group has a commit under way: nobody may join it.
func (s *simulation) committing(name string) bool {
	return slices.ContainsFunc(s.commits, func(c *committing) bool { return c.key.Group == name && !c.gone })
}

// model is the one of the position that k names; there may be a new one.
func (s *simulation) model(k group.Key) *model {
	p := s.models[k]
	if p == nil {
		p = newModel(k, s.logs[k.Topic], k.Group == "ordered")
		s.models[k] = p
	}
	return p
}

func (s *simulation) deletePositions() error {
	name, topic := pick(s.rng, groupNames), pick(s.rng, append(topicNames[:2:2], ""))
	s.forget(func(k group.Key) bool { return k.Group == name && (topic == "" || k.Topic == topic) })
	return nil
}

func (s *simulation) deleteTopic() error {
	name := pick(s.rng, topicNames)
	if s.logs[name] == nil {
		return nil
	}
	delete(s.logs, name)
	s.going[name] = true
	s.forget(func(k group.Key) bool { return k.Topic == name })
	s.sync(s.snapshot())
	return nil
}

func (s *simulation) forget(match func(group.Key) bool) {
	s.groups.DeleteAll(match)
	for k, p := range s.models {
		if match(k) {
			p.gone = true
			delete(s.models, k)
			s.tally.deleted.Add(1)
		}
	}
}

func (s *simulation) makeTopic() error {
	for _, name := range topicNames {
		if s.logs[name] == nil && !s.going[name] {
			s.logs[name] = &log{topic: name}
		}
	}
	return nil
}

// restart kills the broker. What is being written is kept, perhaps. What is
// kept of topics that do not exist is deleted.
func (s *simulation) restart() error {
	s.tally.restarts.Add(1)
	if err := s.kill(s.disk, s.rng.IntN(2) == 0); err != nil {
		return err
	}
	old := s.models
	s.life, s.models, s.clients, s.letters, s.commits = newLife(), make(map[group.Key]*model), nil, nil, nil
	s.clock = simulatedClock{time: s.now}
	s.groups.Clock = &s.clock
	for _, l := range s.logs {
		l.wakes = nil
	}
	for k, value := range s.disk {
		state, err := group.ParseValue([]byte(value))
		if err != nil {
			return err
		}
		s.groups.Load(k, state)
		if s.logs[k.Topic] == nil {
			continue
		}
		p := s.model(k)
		p.load(state)
		p.known = value
		if err := p.remember(old[k]); err != nil {
			return err
		}
	}
	for k, p := range old {
		if s.models[k] == nil && p.remembers() {
			return fmt.Errorf("%+v is lost", k)
		}
	}
	s.prod()
	if err := s.begin(maps.Clone(s.disk)); err != nil {
		return err
	}
	s.begun()
	if len(s.going) > 0 || len(s.logs) < len(topicNames) {
		s.groups.DeleteAll(func(k group.Key) bool { return k != prodKey && s.logs[k.Topic] == nil })
		for _, name := range topicNames {
			if s.logs[name] == nil {
				s.going[name] = true
			}
		}
		s.sync(s.snapshot())
	}
	return nil
}
