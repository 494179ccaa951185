package commitlog

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

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
	end, err := s.begin(name)
	if err != nil {
		return store.Topic{}, err
	}
	defer end()
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
			_ = l.close() // nothing was appended
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
	err = s.together(len(more), func(i int) error {
		l := s.newPartition(t.Topic, had+i)
		if kept[had+i] {
			if err := l.recover(); err != nil {
				return err
			}
		} else if err := s.anew(l); err != nil {
			return err
		}
		more[i] = l
		return nil
	})
	for _, l := range more {
		if l != nil && err == nil {
			t.partitions = append(t.partitions, l)
		} else if l != nil {
			_ = l.close()
		}
	}
	if err != nil {
		return err
	}
	return s.fs.SyncDir(s.path(topicsName, t.Name))
}

// grow has t count total partitions, and says which of them hold messages already:
// those keep their leader epochs.
func (s *Store) grow(t *topic, total int) (kept map[int]bool, err error) {
	beyond, err := s.beyond(t.Topic)
	if err != nil {
		return nil, err
	}
	kept = make(map[int]bool)
	own := t.EpochsEnd() // those that were added later are higher
	first, err := s.takeEpochs(total - t.Partitions)
	if err != nil {
		return nil, err
	}
	for number := t.Partitions; number < total; number++ {
		epoch := first
		if b, ok := beyond[number]; ok {
			if !b.known || b.epoch < own {
				return nil, fmt.Errorf("%w: the directory %q holds messages that can't be told to be its own: move it away to add the partition",
					store.ErrUnusable, s.path(topicsName, t.Name, strconv.Itoa(number)))
			}
			epoch, kept[number] = b.epoch, true
			s.passEpoch(epoch)
		} else {
			first++
		}
		t.Grow(number+1, epoch)
	}
	return kept, nil
}

// anew makes an empty partition in place of what an attempt that failed has left.
func (s *Store) anew(l *partition) error {
	if err := removeAll(s.fs, l.dir); err != nil {
		return err
	}
	if err := s.fs.Mkdir(l.dir); err != nil {
		return err
	}
	return s.beginLog(l)
}

// Configure implements store.Store.
func (s *Store) Configure(name, config string) error {
	end, err := s.begin(name)
	if err != nil {
		return err
	}
	defer end()
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
	t, err = s.find(name)
	if err != nil || !t.unsure {
		return t, false, err
	}
	t, err = s.settle(t)
	return t, true, noRoom(err)
}

// settle makes durable what an attempt to replace topic.json has left, and goes on
// with that, be it the old or the new.
func (s *Store) settle(old *topic) (*topic, error) {
	if err := s.fs.SyncDir(s.path(topicsName, old.Name)); err != nil {
		return nil, err
	}
	t, err := s.readTopic(old.Name)
	if err != nil {
		return nil, err
	}
	t.partitions = slices.Clone(old.partitions)
	if err := s.recoverLogs(t); err != nil {
		return nil, err
	}
	s.put(t)
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
	marker := s.path(stageName, t.Name+alteredSuffix)
	f, err := s.fs.Create(marker)
	if err == nil {
		err = f.Close()
	}
	if err != nil && !isExist(err) {
		return err
	}
	if err := vfs.WriteFile(s.fs, s.path(topicsName, t.Name, topicName), content); err != nil {
		old.unsure = true
		return err
	}
	_ = s.fs.Remove(marker) // or at the next start
	s.put(t)
	return nil
}

// syncAltered makes durable what a process has left that was altering topics: of all of them,
// where it can't be read which ones.
func (s *Store) syncAltered() error {
	entries, err := s.fs.ReadDir(s.path(stageName))
	var names []string
	for _, e := range entries {
		if name, altered := strings.CutSuffix(e.Name, alteredSuffix); altered && !e.Dir {
			names = append(names, name)
		}
	}
	if err != nil && !isNotExist(err) && !noFiles(err) {
		entries, err = s.fs.ReadDir(s.path(topicsName))
		for _, e := range entries {
			if e.Dir {
				names = append(names, e.Name)
			}
		}
	}
	if err != nil && !isNotExist(err) {
		return err
	}
	for _, name := range names {
		if err := s.fs.SyncDir(s.path(topicsName, name)); err != nil && !isNotExist(err) {
			return err
		}
	}
	return nil
}
