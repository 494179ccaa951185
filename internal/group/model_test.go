package group_test

import (
	"math"
	"time"

	"mbus/internal/group"
)

// A fate is what has become of a message in a group.
type fate byte

const (
	free   fate = iota
	leased      // to a client
	failed      // waits for its due time
	dead        // failed for the last time, waits to be buried or not
	queued      // waits for another one with the same key
	acked
)

// A message is what the model knows of one.
type message struct {
	fate
	by        *client   // of a leased one
	due       time.Time // of a failed one
	attempts  int
	confirmed bool // that its acknowledgement is durable
	reopened  bool // it was acknowledged before
	promised  bool // that its reopening is durable
}

// A log is the messages of a topic, of which a group only needs the keys. At some offsets
// there is no message.
type log struct {
	simulatedLog
	topic string
	keys  []uint64
}

func (l *log) end() int64 { return int64(len(l.keys)) }

func (l *log) publish(key uint64) {
	l.keys = append(l.keys, key)
	l.high = l.end()
}

// hole stands for the key where there is no message.
const hole = math.MaxUint64

func (l *log) isHole(o int64) bool { return l.keys[o] == hole }

// holeBehind is where the hole ends that begins behind offset o, below end.
func (l *log) holeBehind(o, end int64) int64 {
	for o++; o < end && l.isHole(o); o++ {
	}
	return o
}

// A model is what a position must be.
type model struct {
	key       group.Key
	pos       *group.Position
	log       *log
	ordered   bool
	messages  []*message
	epoch     int32
	unset     int64 // negative: what a Kafka client has committed in place of an offset
	metadata  string
	unsaved   bool   // nothing is kept
	gone      bool   // deleted
	users     int    // clients, and commits under way
	pending   int    // commits under way
	uncertain bool   // a commit has failed, and may be on the disk
	written   bool   // there was a position when the write under way began
	known     string // what has been written of it, and is known to be
	lowest    int64  // that the committed offset may be
	returned  int64  // deliveries that come again
	buried    int64
	inMemory  *group.Numbers // counted before; nil until the model is checked
}

func newModel(k group.Key, l *log, ordered bool) *model {
	return &model{key: k, log: l, ordered: ordered, epoch: group.NoEpoch, unsaved: true}
}

// load makes the model of what the positions log has kept.
func (p *model) load(s group.State) {
	p.unsaved, p.epoch, p.metadata, p.unset = false, s.Epoch, s.Metadata, min(s.Offset, 0)
	p.reset(max(s.Offset, 0))
	for _, b := range s.AckedAhead {
		for o := b.From; o < b.To; o++ {
			p.at(o).fate = acked
		}
	}
	for _, f := range s.Failed {
		p.at(f.Offset).attempts = f.Attempts
	}
}

// at is the message at an offset.
func (p *model) at(o int64) *message {
	for int64(len(p.messages)) <= max(o, p.log.end()-1) {
		p.messages = append(p.messages, new(message))
	}
	return p.messages[o]
}

// reset has the position begin at offset, with all after it free.
func (p *model) reset(offset int64) {
	for o := range p.log.end() {
		if p.at(o).fate, p.messages[o].attempts = acked, 0; o >= offset {
			p.messages[o] = new(message)
		}
	}
	p.lowest = offset
}

func (p *model) committed() int64 {
	for o := range p.log.end() {
		if p.at(o).fate != acked {
			return o
		}
	}
	return p.log.end()
}

// held says whether anything above the committed offset is not free.
func (p *model) held() bool {
	for o := p.committed(); o < p.log.end(); o++ {
		if p.at(o).fate != free {
			return true
		}
	}
	return false
}

// start is Position.Start.
func (p *model) start(offset int64, keep bool) {
	if p.unsaved && !p.held() {
		p.reset(offset)
		p.unsaved = !keep
	}
}

// settle ends the life of messages: they are acknowledged.
func (p *model) settle(o int64) {
	m := p.at(o)
	m.fate, m.by, m.attempts = acked, nil, 0
	p.unsaved, p.epoch, p.metadata, p.unset = false, group.NoEpoch, "", 0
	if !p.ordered {
		return
	}
	for next := o + 1; next < p.log.end(); next++ {
		if p.log.keys[next] == p.log.keys[o] {
			if n := p.at(next); n.fate == queued {
				n.fate = free
			}
			return
		}
	}
}

// settleAll settles a delivery, and the hole that went with it.
func (d delivery) settleAll() {
	d.settle(d.offset)
	d.skip(d.offset+1, d.end)
}

// skip notes that there are no messages in a part of a log, which counts as consumed.
func (p *model) skip(from, to int64) {
	for o := from; o < to; o++ {
		if *p.at(o) = (message{fate: acked, reopened: p.at(o).reopened}); !p.unsaved {
			p.epoch, p.metadata, p.unset = group.NoEpoch, "", 0
		}
	}
}

// before finds a message with the same key as o, below it, that is not
// acknowledged.
func (p *model) before(o int64) bool {
	for lower := range o {
		if p.log.keys[lower] == p.log.keys[o] && p.at(lower).fate != acked {
			return true
		}
	}
	return false
}

// retry frees messages that are due.
func (p *model) retry(now time.Time) {
	for _, m := range p.messages {
		if m.fate == failed && !m.due.After(now) {
			m.fate = free
		}
	}
}

// free is Position.Free.
func (p *model) free(now time.Time) (s group.Span, due time.Time) {
	p.retry(now)
	for o := range p.log.end() {
		m := p.at(o)
		if m.fate == failed && (due.IsZero() || m.due.Before(due)) {
			due = m.due
		}
		switch {
		case m.fate == free && s.To == 0:
			s = group.Span{From: o, To: o + 1}
		case m.fate == free && s.To == o:
			s.To = o + 1
		}
	}
	if s.To > 0 {
		due = time.Time{}
	}
	return s, due
}

// available says whether Free would find anything.
func (p *model) available(now time.Time) bool {
	for o := range p.log.end() {
		m := p.at(o)
		if m.fate == free || m.fate == failed && !m.due.After(now) {
			return true
		}
	}
	return false
}

// leave ends a use. With the last one the queues of keys go, unless a failed
// message waits, which those with its key must not overtake.
func (p *model) leave() {
	p.users--
	if p.users > 0 || p.count(failed)+p.count(dead) > 0 {
		return
	}
	for _, m := range p.messages {
		if m.fate == queued {
			m.fate = free
		}
	}
}

func (p *model) count(f fate) (n int64) {
	for _, m := range p.messages {
		if m.fate == f {
			n++
		}
	}
	return n
}

// state is what the positions log must keep.
func (p *model) state() group.State {
	s := group.State{Offset: p.committed(), Epoch: p.epoch, Metadata: p.metadata}
	for o := s.Offset; o < p.log.end(); o++ {
		m := p.at(o)
		if m.fate == acked {
			if i := len(s.AckedAhead) - 1; i >= 0 && s.AckedAhead[i].To == o {
				s.AckedAhead[i].To++
			} else {
				s.AckedAhead = append(s.AckedAhead, group.Span{From: o, To: o + 1})
			}
		}
		if m.attempts > 0 {
			s.Failed = append(s.Failed, group.Failure{Offset: o, Attempts: m.attempts})
		}
	}
	if p.unset < 0 {
		s.Offset = p.unset
	}
	return s
}

func (p *model) numbers() group.Numbers {
	n := group.Numbers{Key: p.key, Committed: p.committed(), Members: p.users, Returned: p.returned, Dead: p.buried}
	for o := range p.log.end() {
		if p.at(o).fate == leased && !p.log.isHole(o) {
			n.Unacknowledged++
		}
	}
	n.Waiting = p.count(failed) + p.count(dead) + p.count(queued)
	n.AckedAhead = p.count(acked) - n.Committed
	n.Attempt = 1
	for _, m := range p.messages {
		n.Attempt = max(n.Attempt, m.attempts+1)
	}
	return n
}
