package delivery

import (
	"errors"
	"slices"
	"time"

	"mbus/internal/broker"
	"mbus/internal/group"
	"mbus/internal/units"
)

// A subscription is what a session or a redrive gets messages of: a topic's partitions, each
// with a position, the group's or that of a replay, and the leases on them.
type subscription struct {
	broker     *broker.Broker
	options    *Options
	topic      *broker.Topic
	partitions []partition
	member     group.Member
	waiter     *group.Waiter // nil for one that waits for nothing
	missing    missing
	early      bool   // the topic was made after the request came
	next       int    // number of the partition that is looked at next, or of one before it; may be one too many
	leave      func() // the group; nil without one
}

// A partition is one partition of a subscription.
type partition struct {
	number int
	pos    *group.Position
	log    *broker.Partition
	end    int64 // nothing from here on is sent
}

// deleted is the error if the topic was deleted, and nil otherwise. It is for sessions that
// find nothing more to send.
func (s *subscription) deleted() error {
	if s.topic.Deleted() {
		return errorf(broker.ErrDeleted, "the topic %q was deleted", s.topic.Name)
	}
	return nil
}

// join makes the subscription a member of its group. yield may end it when others want the
// group, see group.Groups.JoinUntil; nil for one that stays.
func (s *subscription) join(yield func() bool) (err error) {
	if s.options.From != nil {
		return nil
	}
	use := broker.UseLine
	if s.options.Ordered {
		use = broker.UseOrdered
	}
	use.Topic, use.Client = s.options.Topic, s.options.Client
	s.member.SetClient(s.options.Client)
	s.leave, err = s.options.View.UseGroupUntil(s.options.Group, use, yield)
	return forClient(err)
}

// begin finds the positions in the topic, and notes the ends of its partitions.
func (s *subscription) begin() error {
	logs := s.topic.Partitions()
	if f := s.options.From; f != nil {
		if err := CheckFrom(f, len(logs)); err != nil {
			return err
		}
	}
	if n := len(s.options.Partitions); n > 0 && s.options.Partitions[n-1] >= len(logs) {
		return noPartition(s.options.Partitions[n-1], len(logs))
	}
	for i, log := range logs {
		if s.options.Partitions != nil && !slices.Contains(s.options.Partitions, i) {
			continue
		}
		if err := log.Available(); err != nil {
			return forClient(err)
		}
		pos, err := s.position(i, log)
		if err != nil {
			return err
		}
		_, end := log.Offsets()
		if to := s.options.To; to != nil {
			end = min(end, to[i])
		}
		s.partitions = append(s.partitions, partition{i, pos, log, end})
	}
	if s.options.N > 0 || s.options.Follow || s.options.Ack {
		s.next = s.partitions[0].pos.Turn()
	}
	return nil
}

// extend adds new partitions of the topic, from their first message on: all messages are later
// than the session.
func (s *subscription) extend() error {
	if s.options.Partitions != nil {
		return nil
	}
	logs := s.topic.Partitions()
	for i := len(s.partitions); i < len(logs); i++ {
		if err := logs[i].Available(); err != nil {
			return forClient(err)
		}
		start, _ := logs[i].Offsets()
		pos := group.NewPosition(start)
		if s.options.From == nil {
			var err error
			if pos, err = s.options.View.Position(s.options.Group, s.topic, i); err != nil {
				return forClient(err)
			}
			pos.Start(start, false)
		}
		s.partitions = append(s.partitions, partition{i, pos, logs[i], units.End})
		s.watch(&s.partitions[i])
	}
	return nil
}

// watch has a partition wake the session when it has more.
func (s *subscription) watch(p *partition) { s.waiter.Watch(p.pos, p.log) }

// firstTurn is the index of the partition behind the one that was served last, by this session
// or, at first, by another of its group: no partition waits until another one is empty.
func (s *subscription) firstTurn() int {
	for i := range s.partitions {
		if s.partitions[i].number >= s.next {
			return i
		}
	}
	return 0
}

// turn is the partition at an index, which may be once around.
func (s *subscription) turn(i int) *partition { return &s.partitions[i%len(s.partitions)] }

// served notes that messages of a partition are sent. The next session that waits for it is
// woken if more messages are free.
func (s *subscription) served(p *partition) {
	s.next = p.number + 1
	p.pos.Served()
	if s.waiter != nil {
		s.waiter.PassOn()
	}
}

// expect is for a topic that does not exist. All its messages will be later than the request:
// with StartEnd the group begins at the first, and that is kept.
func (s *subscription) expect() error {
	s.early = true
	if !s.options.StartEnd {
		return nil
	}
	return forClient(s.options.View.ExpectTopic(s.options.Group, s.options.Topic))
}

// position is the position in a partition, where the subscription begins.
func (s *subscription) position(i int, log *broker.Partition) (*group.Position, error) {
	start, _ := log.Offsets()
	if f := s.options.From; f != nil {
		if s.early && fromEnd(f) {
			return group.NewPosition(start), nil
		}
		offset, err := OffsetFrom(f, i, log)
		return group.NewPosition(offset), err
	}
	pos, err := s.options.View.Position(s.options.Group, s.topic, i)
	if err != nil {
		return nil, forClient(err)
	}
	switch {
	case s.options.StartEnd:
		s.broker.StartAtEnd(pos, s.topic, i)
	case s.options.Group != group.Default: // which is there from the first message on
		pos.Start(start, false)
	}
	return pos, nil
}

// anyFree says whether there is something that nobody holds, below the end of a partition.
func (s *subscription) anyFree() bool {
	now := time.Now()
	for _, p := range s.partitions {
		if free, _ := p.pos.Free(p.end, now); free.Len() > 0 {
			return true
		}
	}
	return false
}

// unreadable makes the error for a span that nobody holds and that load has failed for.
func (s *subscription) unreadable(p *partition, free group.Span, err error) error {
	if errors.Is(err, broker.ErrOutOfRange) {
		start, _ := p.log.Offsets()
		s.missing.add(p.pos, group.Span{To: start})
		return s.missing.report(p, free, start, goneBelow(start, p.number))
	}
	var gap *broker.GapError
	if errors.As(err, &gap) {
		return s.missing.report(p, free, gap.Next, goneBelow(gap.Next, p.number))
	}
	var damage *broker.DamageError
	if errors.As(err, &damage) {
		return s.missing.report(p, free, damage.Next, s.damaged(damage, free.From))
	}
	return forClient(err)
}

// undecodable deals with a batch, leased from offset at on, that can't be
// decoded; other errors stay what they are.
func (s *subscription) undecodable(p *partition, at int64, err error) error {
	var damage *broker.DamageError
	if !errors.As(err, &damage) {
		return err
	}
	s.member.GiveBack(p.pos, at)
	return s.missing.report(p, group.Span{From: at, To: damage.Next}, damage.Next, s.damaged(damage, at))
}

// damaged logs damage of the topic, and makes the error for the client, which names no offset
// below from.
func (s *subscription) damaged(e *broker.DamageError, from int64) error {
	s.broker.Log.Error("stored messages are damaged", "topic", e.Topic, "partition", e.Partition,
		"first", e.First, "next", e.Next, "file", e.File, "byte", e.Pos, "reason", e.Reason,
		"client", s.options.Client, "group", s.options.Group, "do", "look at the disk (dmesg, SMART), and run broker -verify on a copy of the data directory")
	return errorf(ErrDamaged, "%s/%d: offsets %d to %d can't be read", e.Topic, e.Partition, max(e.First, from), e.Next-1)
}

// goneBelow names the first offset that a partition still has, for programs, and then for people.
func goneBelow(first int64, partition int) error {
	return errorf(ErrGap, "first=%d partition=%d: the messages below offset %d are gone, removed by retention or lost", first, partition, first)
}

// release gives back what has not been acknowledged, and leaves the group.
func (s *subscription) release() {
	if s.options.Ack {
		s.member.Keep()
	}
	s.member.Release()
	s.missing.member.Release()
	for _, p := range s.partitions {
		p.pos.Close()
	}
	s.partitions = nil
	if s.leave != nil {
		s.leave()
		s.leave = nil
	}
}
