package commitlog

import (
	"fmt"
	"slices"
	"strconv"

	"mbus/internal/store"
	"mbus/internal/vfs"
)

// A topic is altered by replacing its topic.json. A process that is killed between the rename and
// the sync of the directory leaves a file that a power cut may take back: the next process must
// sync the directory before it appends to the topic. A marker in tmp/ names each topic that is
// being altered, so that a start does not have to sync all topics.

// alteredSuffix ends the name of a marker, behind the name of the topic. No topic of the broker's
// has such a name.
const alteredSuffix = "~"

// AddPartitions implements store.Store. It creates the partitions beside the others; they are not
// used before topic.json counts them. The next attempt removes the remains of a crash. A directory
// with messages, which is there if an older topic.json was restored, becomes a partition again.
func (s *Store) AddPartitions(name string, total int) (store.Topic, error) {
	unlock, err := s.registry.lock(name)
	if err != nil {
		return store.Topic{}, err
	}
	defer unlock()
	old, reread, err := s.topicToAlter(name)
	if err != nil {
		return store.Topic{}, err
	}
	if reread && total == old.Partitions { // the attempt that seemed to fail
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

// addLogs adds partitions to t, total in the end, durably with their names.
func (s *Store) addLogs(t *topic, total int) error {
	had := t.Partitions
	kept, err := s.grow(t, total)
	if err != nil {
		return err
	}
	more := make([]*partition, total-had)
	err = parallel(len(more), maxSyncs, func(i int) error {
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

// grow makes t count total partitions. Those in kept hold messages already, and keep their leader
// epochs.
func (s *Store) grow(t *topic, total int) (kept map[int]bool, err error) {
	beyond, err := s.topics.beyond(t.Topic)
	if err != nil {
		return nil, err
	}
	kept = make(map[int]bool)
	own := t.EpochsEnd() // partitions that were added later have higher epochs
	first, err := s.registry.takeEpochs(total-t.Partitions, s.now())
	if err != nil {
		return nil, err
	}
	for number := t.Partitions; number < total; number++ {
		epoch := first
		if b, ok := beyond[number]; ok {
			if !b.known || b.epoch < own {
				return nil, fmt.Errorf("%w: the directory %q holds messages that may be another topic's: move it away to add the partition",
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
	old, _, err := s.topicToAlter(name)
	if err != nil {
		return err
	}
	t := &topic{Topic: old.Topic, partitions: old.partitions}
	t.Config = config
	return noRoom(s.replace(old, t))
}

// topicToAlter finds a topic. reread says that an earlier attempt to alter it left its topic.json
// uncertain, and that it was read again. The caller has locked the name.
func (s *Store) topicToAlter(name string) (t *topic, reread bool, err error) {
	t, err = s.registry.find(name)
	if err != nil || !t.unsure {
		return t, false, err
	}
	t, err = s.reread(t)
	return t, true, noRoom(err)
}

// reread makes topic.json durable, the old one or the new one, and uses the topic as it says.
func (s *Store) reread(old *topic) (*topic, error) {
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

// replace makes t durable in place of old. It writes the catalog first, so that the catalog is
// never older than topic.json. The caller has locked the name.
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
	_ = s.dir.fs.Remove(marker) // else the next start removes it
	s.registry.register(t)
	return nil
}
