package line_test

import (
	"fmt"
	"slices"
)

// A promised message is what a group was promised about it, and what a client can know of
// what has become of it.
type promised struct {
	payload   string
	key       string
	partition int
	offset    int64 // -1 until it has been seen
	with      *had  // the delivery that has not ended; nil for none
	said      bool  // a client has acknowledged it, behind its latest delivery
	done      bool  // and the broker has certainly read that
	kept      bool  // and has it on disk
	least     int   // failures that count for certain
	most      int   // and those that may
	buried    bool  // it has failed for good, for certain
	missing   bool  // the log has it no more
	unknown   bool  // and perhaps had not when the group began
}

// A had message is one delivery of it.
type had struct {
	w      *worker
	m      *promised
	said   bool
	failed bool
	dead   bool // failed for good
}

// open says whether the delivery is what the next answer about it is about.
func (h *had) open() bool { return h.m.with == h && !h.said && !h.failed }

// A promise is the model of one group in one topic.
type promise struct {
	group    string
	attempts int
	ordered  bool
	messages map[string]*promised // by payload
	told     map[int]int64        // by partition: the first offset behind the gap that was reported to the group
}

func newPromise(group string, attempts int, ordered bool) *promise {
	return &promise{group, attempts, ordered, make(map[string]*promised), make(map[int]int64)}
}

func (p *promise) published(payload, key string) {
	p.messages[payload] = &promised{payload: payload, key: key, offset: -1}
}

// delivered notes that a worker got a message, and says which promise that breaks, if one.
func (p *promise) delivered(w *worker, d delivery) (*had, error) {
	m := p.messages[d.Payload]
	if m == nil {
		return nil, fmt.Errorf("%q is of another topic", d.Payload)
	}
	most := m.most
	overdue := m.with != nil && m.with.w.mayBeOverdue()
	if overdue {
		most++
	}
	switch {
	case m.offset >= 0 && (m.offset != d.Offset || m.partition != d.Partition):
		return nil, fmt.Errorf("%q is at %d/%d, and was at %d/%d", d.Payload, d.Partition, d.Offset, m.partition, m.offset)
	case m.with != nil && !m.with.failed && !overdue: // it may have failed just now
		return nil, fmt.Errorf("%q is with two workers, %v and %v", d.Payload, m.with.w, w)
	case m.done:
		return nil, fmt.Errorf("%q comes again, and was consumed", d.Payload)
	case m.buried && !m.missing:
		return nil, fmt.Errorf("%q comes again, and is a dead letter", d.Payload)
	case d.Attempt > 0 && (d.Attempt < m.least+1 || d.Attempt > most+1):
		return nil, fmt.Errorf("%q says attempt %d, and has failed %d to %d times", d.Payload, d.Attempt, m.least, m.most)
	}
	m.partition, m.offset = d.Partition, d.Offset
	if err := p.inOrder(m); err != nil {
		return nil, err
	}
	if d.Attempt > 0 {
		m.least, m.most = d.Attempt-1, d.Attempt-1
	}
	m.said, m.with = false, &had{w: w, m: m}
	return m.with, nil
}

// inOrder says whether another message with the key of m has to be done with first.
func (p *promise) inOrder(m *promised) error {
	for _, o := range p.messages {
		h := o.with
		if !p.ordered || o == m || o.missing || h == nil || h.said || o.key != m.key || o.partition != m.partition {
			continue
		}
		if !h.failed || o.offset < m.offset && !h.dead && o.most < p.attempts {
			return fmt.Errorf("%q comes while %q with the same key is unacknowledged", m.payload, o.payload)
		}
	}
	return nil
}

func (h *had) acknowledge() {
	if h.open() {
		h.said, h.m.said = true, true
	}
}

func (h *had) fail(dead bool) {
	if h.open() {
		h.failed, h.dead = true, dead
		h.m.most++
	}
}

// confirm notes that the broker has on disk what was acknowledged.
func (h *had) confirm() {
	if h.m.with == h && h.said {
		h.m.done, h.m.kept, h.m.with = true, true, nil
	}
}

// end notes that the connection of a delivery ended in good order: all that was said on it
// counts, and the rest is given back.
func (p *promise) end(h *had) {
	if h.m.with != h {
		return
	}
	h.confirm()
	if h.m.with = nil; h.failed {
		h.m.least++
		h.m.buried = h.dead || h.m.least >= p.attempts
	}
}

// lose notes that a connection ended in disorder. Its last acknowledgements may not have been
// read, and the oldest message that it had, or that was on its way to it, may have failed.
func (p *promise) lose(w *worker) {
	for _, m := range p.messages {
		switch {
		case m.with == nil, m.with.w == w:
			m.with = nil
			m.most++
		case m.with.failed: // it may have been tried again
			m.most++
		}
	}
}

// die notes that the broker was killed: only what was on disk counts. A group
// that was not begins at the log's start.
func (p *promise) die() {
	begun := make(map[int]bool)
	for _, m := range p.messages {
		begun[m.partition] = begun[m.partition] || m.kept
	}
	for _, m := range p.messages {
		m.unknown = m.unknown || m.missing && !begun[m.partition]
		m.done, m.with, m.least = m.kept, nil, 0
		m.most++
	}
}

// trimmed notes where a log begins. A group that has no position in it yet begins there.
func (p *promise) trimmed(partition int, start int64) {
	begun := false
	for _, m := range p.messages {
		begun = begun || m.partition == partition && (m.done || m.least > 0)
	}
	for _, m := range p.messages {
		if m.offset >= 0 && m.partition == partition && m.offset < start {
			m.missing, m.unknown = true, m.unknown || !begun
		}
	}
}

// broken says which promise is, when the group has consumed everything. letters are those
// of the group, by payload.
func (p *promise) broken(letters map[string]bool) error {
	var lost []string
	for _, m := range p.messages {
		told := m.missing && (m.unknown || m.offset < p.told[m.partition])
		if m.buried && !letters[m.payload] && !told {
			return fmt.Errorf("%q has failed for good, and is no dead letter", m.payload)
		}
		if !m.said && !letters[m.payload] && !told {
			lost = append(lost, fmt.Sprintf("%s at %d/%d, failed %d to %d times, missing %v", m.payload, m.partition, m.offset, m.least, m.most, m.missing))
		}
	}
	if slices.Sort(lost); len(lost) > 0 {
		return fmt.Errorf("%s: never delivered, nor told to be gone: %q", p.group, lost)
	}
	return nil
}
