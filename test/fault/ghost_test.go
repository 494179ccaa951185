package fault

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/store"
)

// ghostTopic is a topic that only delayed messages come to, and that is deleted and made
// again. Each of its incarnations has messages with its own id.
const ghostTopic = "ghost"

// A ghost is an incarnation of that topic to which a delayed message was acknowledged, and
// which nobody has tried to delete since. The zero value is none.
type ghost [16]byte

func ghostText(id [16]byte) string { return fmt.Sprintf("the ghost of %x", id) }

// haunt makes the topic, if need be, and has a message come a moment later.
func (p *pledges) haunt(s *simulated) error {
	t, err := s.MakeTopic(ghostTopic)
	if err != nil {
		return err
	}
	var b batch.Builder
	due := strconv.AppendInt(nil, time.Now().Add(time.Millisecond).UnixMilli(), 10)
	b.Add(1_700_000_000_000, nil, []byte(ghostText(t.ID)), batch.Header{Key: broker.HeaderDeliverAt, Value: due})
	b.Close(0)
	if _, err := t.Partitions()[0].AppendAndWait(b.Bytes()); err != nil {
		return err
	}
	p.ghost = t.ID
	return nil
}

// appear waits until the ghost's message has come.
func (p *pledges) appear(s *simulated) error {
	t, err := s.Topic(ghostTopic)
	if err != nil {
		return err
	}
	return s.await(t.Partitions()[0])
}

// await waits until a log has a message, as long as the disk lives.
func (s *simulated) await(log *broker.Partition) error {
	there := make(chan struct{})
	cancel := log.Wake(0, func(broker.Reason) { close(there) })
	defer cancel()
	for range 1000 {
		select {
		case <-there:
			return nil
		case <-time.After(10 * time.Millisecond):
			if _, err := s.fs.FS.ReadDir("/data"); err != nil {
				return err // the disk is gone
			}
		}
	}
	return errors.New("a delayed message that was acknowledged is not delivered")
}

// exorcise deletes the topic, and what waits for it.
func (p *pledges) exorcise(s *simulated) error {
	p.ghost = ghost{}
	return s.DeleteTopic(ghostTopic)
}

// haunted says whether the ghost that was promised has come, and no other. It returns the
// one that was seen.
func (p *pledges) haunted(s *simulated) (seen ghost, err error) {
	t, err := s.Topic(ghostTopic)
	switch {
	case errors.Is(err, store.ErrUnknownTopic) && p.ghost == ghost{}:
		return ghost{}, nil
	case err != nil:
		return ghost{}, fmt.Errorf("topic %q: %w", ghostTopic, err)
	case p.ghost != ghost{}:
		if t.ID != p.ghost {
			return ghost{}, fmt.Errorf("topic %q has the id %x, not %x", ghostTopic, t.ID, p.ghost)
		}
		if err := s.await(t.Partitions()[0]); err != nil {
			return ghost{}, err
		}
	}
	texts, err := s.texts(ghostTopic)
	if err != nil {
		return ghost{}, err
	}
	if i := slices.IndexFunc(texts, func(text string) bool { return text != ghostText(t.ID) }); i >= 0 {
		return ghost{}, fmt.Errorf("%q came to the topic %x", texts[i], t.ID)
	}
	if len(texts) == 0 {
		return ghost{}, nil
	}
	return t.ID, nil
}
