package commitlog

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"mbus/internal/store"
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
// them is removed the next time.
func (s *Store) AddPartitions(name string, total int) (store.Topic, error) {
	s.adminMu.Lock()
	defer s.adminMu.Unlock()
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
	s.epochs = nextEpoch(s.epochs, time.Now())
	t.Grow(total, s.epochs)
	s.epochs += int32(total - old.Partitions)
	err = s.addLogs(t)
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

// addLogs makes the partitions that t is to have and has not, durable with their
// names.
func (s *Store) addLogs(t *topic) error {
	for i := len(t.partitions); i < t.Partitions; i++ {
		l := s.newPartition(t.Topic, i)
		if err := removeAll(s.fs, l.dir); err != nil { // of an attempt that failed
			return err
		}
		if err := s.fs.Mkdir(l.dir); err != nil {
			return err
		}
		if err := l.begin(0); err != nil {
			return err
		}
		t.partitions = append(t.partitions, l)
	}
	return s.fs.SyncDir(s.path(topicsName, t.Name))
}

// Configure implements store.Store.
func (s *Store) Configure(name, config string) error {
	s.adminMu.Lock()
	defer s.adminMu.Unlock()
	old, _, err := s.existing(name)
	if err != nil {
		return err
	}
	t := &topic{Topic: old.Topic, partitions: old.partitions}
	t.Config = config
	return noRoom(s.replace(old, t))
}

// existing finds a topic to alter. settled says that it was not known before what
// its topic.json holds. The caller holds adminMu.
func (s *Store) existing(name string) (t *topic, settled bool, err error) {
	s.mu.RLock()
	t, closed := s.topics[name], s.closed
	s.mu.RUnlock()
	switch {
	case closed:
		return nil, false, store.ErrClosed
	case t == nil:
		return nil, false, store.ErrUnknownTopic
	case !t.unsure:
		return t, false, nil
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

// put makes t the topic of its name.
func (s *Store) put(t *topic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.topics[t.Name] = t
}

// replace makes t durable in place of old. The caller holds adminMu.
func (s *Store) replace(old, t *topic) error {
	content, err := encodeTopic(t.Topic)
	if err != nil {
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
	if err := writeFile(s.fs, s.path(topicsName, t.Name, topicName), content); err != nil {
		old.unsure = true
		return err
	}
	_ = s.fs.Remove(marker) // or at the next start
	s.put(t)
	return nil
}

// syncAltered makes durable what a process has left that was altering topics.
func (s *Store) syncAltered() error {
	entries, err := s.fs.ReadDir(s.path(stageName))
	if err != nil && !isNotExist(err) {
		return err
	}
	for _, e := range entries {
		name, altered := strings.CutSuffix(e.Name, alteredSuffix)
		if !altered || e.Dir {
			continue
		}
		if err := s.fs.SyncDir(s.path(topicsName, name)); err != nil && !isNotExist(err) {
			return err
		}
	}
	return nil
}
