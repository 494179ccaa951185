package jetstream

import (
	"fmt"
	"slices"

	"mbus/internal/store"
)

var _ store.Restorer = (*Store)(nil)

// Restore implements store.Restorer. The catalog keeps the offsets at which the logs begin, which counts as long as a
// partition has no messages: the first one says it again.
func (s *Store) Restore(t store.Topic, firsts []int64) error {
	if t.Name == "" || t.Partitions < 1 || len(firsts) != t.Partitions || slices.Min(firsts) < 0 {
		return fmt.Errorf("no topic %q of %d partitions can be restored that begin at %d", t.Name, t.Partitions, firsts)
	}
	if err := checkConfig(t.Config); err != nil {
		return err
	}
	unlock, err := lockNew(s, t.Name)
	if err != nil {
		return err
	}
	defer unlock()
	made := &topic{Topic: t, firsts: firsts}
	s.mu.Lock()
	s.epochs = max(s.epochs, t.EpochsEnd())
	made.register(s)
	s.mu.Unlock()
	made.dead = slices.DeleteFunc(slices.Clone(made.dead), func(id string) bool { return id == formatID(t.ID) })
	if err := s.deleteStreams(&t); err != nil { // of the same topic, before it was deleted
		return s.explain(err)
	}
	return made.create(s)
}
