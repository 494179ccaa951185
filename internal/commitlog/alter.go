package commitlog

import (
	"fmt"
	"slices"
	"strconv"

	"mbus/internal/store"
	"mbus/internal/vfs"
)

// A topic is altered by replacing its topic.json. A process that is killed after
// the rename and before the sync of the directory leaves a file that is there and
// may be gone after a power cut: nothing may be appended that relies on it before
// the next process has synced the directory. So that this need not be done for
// each topic at each start, a file in tmp/ marks those that were being altered.

// alteredSuffix ends the marker's name, which begins with the topic's. Names of
// topics that the broker makes don't have it.
const alteredSuffix = "~"

// AddPartitions implements store.Store. The partitions are made beside the others,
// where nobody looks for them before topic.json counts them. What a crash leaves of
// them is removed the next time; what holds messages, because an older topic.json was
// put back, becomes a partition again.
func (s *Store) AddPartitions(name string, total int) (store.Topic, error) {
	unlock, err := s.registry.lock(name)
	if err != nil {
		return store.Topic{}, err
	}
	defer unlock()
	old, settled, err := s.existing(name)
	if err != nil {
		return store.Topic{}, err
	}
	if settled && total == old.Partitions { // the attempt that seemed to fail
		return old.Topic, nil
	}
	if total <= old.Partitions {
		return store.Topic{}, fmt.Errorf("topic %q has %d partitions already, %d are not more", name, old.Partitions, total)
	}
	t := &topic{Topic: old.Topic, partitions: slices.Clone(old.partitions)}
	err = s.addLogs(t, total)
	if err == nil {
		err = s.replace(old, t)
	}
	if err != nil {
		for _, l := range t.partitions[old.Partitions:] {
			_ = l.close(store.ErrClosed) // nothing was appended
		}
		return store.Topic{}, noRoom(err)
	}
	return t.Topic, nil
}

// addLogs gives t the partitions that it takes to have total, durable with their
// names.
func (s *Store) addLogs(t *topic, total int) error {
	had := t.Partitions
	kept, err := s.grow(t, total)
	if err != nil {
		return err
	}
	more := make([]*partition, total-had)
	err = parallel(len(more), func(i int) error {
		l := s.newPartition(t.Topic, had+i)
		if kept[had+i] {
			if err := l.recover(); err != nil {
				return err
			}
		} else if err := s.topics.recreate(l); err != nil {
			return err
		}
		more[i] = l
		return nil
	})
	for _, l := range more {
		if l != nil && err == nil {
			t.partitions = append(t.partitions, l)
		} else if l != nil {
			_ = l.close(store.ErrClosed)
		}
	}
	if err != nil {
		return err
	}
	return s.dir.fs.SyncDir(s.dir.path(topicsName, t.Name))
}

// grow has t count total partitions, and says which of them hold messages already:
// those keep their leader epochs.
func (s *Store) grow(t *topic, total int) (kept map[int]bool, err error) {
	beyond, err := s.topics.beyond(t.Topic)
	if err != nil {
		return nil, err
	}
	kept = make(map[int]bool)
	own := t.EpochsEnd() // those that were added later are higher
	first, err := s.registry.takeEpochs(total-t.Partitions, s.now())
	if err != nil {
		return nil, err
	}
	for number := t.Partitions; number < total; number++ {
		epoch := first
		if b, ok := beyond[number]; ok {
			if !b.known || b.epoch < own {
				return nil, fmt.Errorf("%w: the directory %q holds messages that can't be told to be its own: move it away to add the partition",
					store.ErrUnusable, s.dir.path(topicsName, t.Name, strconv.Itoa(number)))
			}
			epoch, kept[number] = b.epoch, true
			s.registry.passEpoch(epoch)
		} else {
			first++
		}
		t.Grow(number+1, epoch)
	}
	return kept, nil
}

// Configure implements store.Store.
func (s *Store) Configure(name, config string) error {
	unlock, err := s.registry.lock(name)
	if err != nil {
		return err
	}
	defer unlock()
	old, _, err := s.existing(name)
	if err != nil {
		return err
	}
	t := &topic{Topic: old.Topic, partitions: old.partitions}
	t.Config = config
	return noRoom(s.replace(old, t))
}

// existing finds a topic to alter. settled says that it was not known before what
// its topic.json holds. The caller holds the name.
func (s *Store) existing(name string) (t *topic, settled bool, err error) {
	t, err = s.registry.find(name)
	if err != nil || !t.unsure {
		return t, false, err
	}
	t, err = s.settle(t)
	return t, true, noRoom(err)
}

// settle makes durable what an attempt to replace topic.json has left, and goes on
// with that, be it the old or the new.
func (s *Store) settle(old *topic) (*topic, error) {
	if err := s.dir.fs.SyncDir(s.dir.path(topicsName, old.Name)); err != nil {
		return nil, err
	}
	t, err := s.topics.read(old.Name)
	if err != nil {
		return nil, err
	}
	t.partitions = slices.Clone(old.partitions)
	if err := s.topics.recover(t); err != nil {
		return nil, err
	}
	s.registry.register(t)
	return t, nil
}

// replace makes t durable in place of old. The caller holds the name. The catalog
// knows it first, so that it is never behind.
func (s *Store) replace(old, t *topic) error {
	content, err := encodeTopic(t.Topic)
	if err != nil {
		return err
	}
	if err := s.catalog.put(t.Topic); err != nil {
		return err
	}
	marker := s.dir.path(stageName, t.Name+alteredSuffix)
	f, err := s.dir.fs.Create(marker)
	if err == nil {
		err = f.Close()
	}
	if err != nil && !isExist(err) {
		return err
	}
	if err := vfs.WriteFile(s.dir.fs, s.dir.path(topicsName, t.Name, topicName), content); err != nil {
		old.unsure = true
		return err
	}
	_ = s.dir.fs.Remove(marker) // or at the next start
	s.registry.register(t)
	return nil
}
