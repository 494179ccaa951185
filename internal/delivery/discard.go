package delivery

import (
	"errors"
	"time"

	"mbus/internal/broker"
)

// Discard consumes messages on behalf of a client that does not want them, and returns how many, when
// that is durable. The error, after which some may be consumed, is as those of Redrive.
func (h *Hub) Discard(o Options) (n int64, err error) {
	d := new(discarded)
	s := h.NewSession(o, d)
	defer s.Close(Stopping)
	ended := s.Drain()
	if ended != nil && !errors.Is(ended, ErrGap) && !errors.Is(ended, ErrDamaged) {
		return 0, forClient(ended)
	}
	if err := s.Close(Complete); err != nil {
		return 0, forClient(err)
	}
	if err := h.broker.AwaitPositions(); err != nil {
		return 0, forClient(err)
	}
	if d.n > 0 {
		auditDiscard(o, uint64(d.n))
	}
	return d.n, forClient(ended)
}

func auditDiscard(o Options, n uint64) {
	broker.AuditChange(o.View, "discard", broker.TopicResource, o.Topic, "group", o.Group, "discarded", n)
}

// Discarded is a sink that counts.
type discarded struct {
	nowhere
	n int64
}

func (d *discarded) Append(m *Messages) (int64, bool, error) {
	it, err := m.Records()
	if err != nil {
		return m.From, false, err
	}
	for it.Next() {
		switch o := it.Record().Offset; {
		case o >= m.To:
			return m.To, false, nil
		case o >= m.From:
			d.n++
		}
	}
	return m.To, false, it.Err()
}

// A nowhere has the methods of a Sink that writes nothing.
type nowhere struct{}

func (nowhere) Flush(time.Duration, func()) error { return nil }
func (nowhere) Confirm(uint64, []Range)           {}
func (nowhere) Cut()                              {}
func (nowhere) ReleaseBuffers()                   {}
func (nowhere) TakesBatches() bool                { return false }
func (nowhere) Written() int64                    { return 0 }
func (nowhere) Received() (int64, error)          { return 0, nil }
