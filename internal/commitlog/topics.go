package commitlog

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"mbus/internal/store"
)

// CreateTopic implements store.Store.
func (s *Store) CreateTopic(name string, partitions int, config string) (store.Topic, error) {
	unlock, err := s.lockNew(name, partitions)
	if err != nil {
		return store.Topic{}, err
	}
	defer unlock()
	first, err := s.registry.takeEpochs(partitions, s.now())
	if err != nil {
		return store.Topic{}, err
	}
	t := &topic{Topic: store.Topic{Name: name, ID: newID(), Partitions: partitions, Epoch: first, Config: config}}
	if err := s.create(t); err != nil {
		return store.Topic{}, noRoom(err)
	}
	s.registry.register(t)
	return t.Topic, nil
}

// lockNew locks the name of a topic that is to be created.
func (s *Store) lockNew(name string, partitions int) (unlock func(), err error) {
	if filepath.Base(name) != name || !filepath.IsLocal(name) || name == "." || partitions < 1 {
		return nil, fmt.Errorf("no topic %q of %d partitions can be created", name, partitions)
	}
	if unlock, err = s.registry.lock(name); err != nil {
		return nil, err
	}
	if _, err = s.registry.find(name); errors.Is(err, store.ErrUnknownTopic) {
		return unlock, nil
	}
	unlock()
	if err == nil {
		err = store.ErrTopicExists
	}
	return nil, err
}

// Restore implements store.Restorer.
func (s *Store) Restore(t store.Topic, firsts []int64) error {
	if len(firsts) != t.Partitions || slices.Min(firsts) < 0 {
		return fmt.Errorf("no topic %q of %d partitions can be restored that begin at %d", t.Name, t.Partitions, firsts)
	}
	unlock, err := s.lockNew(t.Name, t.Partitions)
	if err != nil {
		return err
	}
	defer unlock()
	made := &topic{Topic: t, firsts: firsts}
	if err := s.create(made); err != nil {
		return noRoom(err)
	}
	s.registry.register(made)
	return nil
}

// create creates a topic durably. The caller has locked the name.
func (s *Store) create(t *topic) error {
	stage := s.dir.path(stageName, formatID(t.ID))
	if err := s.topics.stage(stage, t); err != nil {
		_ = removeAll(s.dir.fs, stage) // else the next start removes it
		return err
	}
	if err := s.topics.install(stage, t); err != nil {
		_ = removeAll(s.dir.fs, stage)
		return err
	}
	err := s.topics.checkName(t.Name)
	if err == nil {
		err = s.topics.sync()
	}
	if err == nil {
		err = s.catalog.put(t.Topic)
	}
	s.registry.setFailed(t.Topic, err)
	return err
}

// DeleteTopic implements store.Store. The tombstone in the catalog is durable before the topic is
// touched, so that a topic without a directory is either deleted or missing, and not both. Then
// the directory is moved to tmp/, and its space is freed, by the next start at the latest.
func (s *Store) DeleteTopic(name string) error {
	unlock, err := s.registry.lock(name)
	if err != nil {
		return err
	}
	defer unlock()
	t, err := s.registry.find(name)
	if errors.Is(err, store.ErrUnusable) {
		return noRoom(s.deleteUnusable(name))
	}
	if err != nil {
		return err
	}
	if err := s.catalog.bury(t.ID); err != nil {
		return noRoom(err)
	}
	s.registry.remove(name)
	for _, l := range t.partitions {
		_ = l.close(store.ErrDeleted) // what can't be synced is deleted all the same
	}
	moved, err := s.topics.remove(name, t.ID)
	if err == nil || moved {
		return err
	}
	return errors.Join(noRoom(err), s.reinstate(t.Topic, errors.Is(err, errMarked)))
}

// deleteUnusable deletes a topic that can't be used, with its remains. The caller has locked the
// name.
func (s *Store) deleteUnusable(name string) error {
	id := s.registry.unusableID(name)
	if id == [16]byte{} {
		id = newID()
	}
	known, ok := s.catalog.topic(name)
	if err := s.catalog.bury(id); err != nil {
		return err
	}
	moved, err := s.topics.remove(name, id)
	if err != nil && !moved {
		if ok {
			err = errors.Join(err, s.catalog.restore(known))
		}
		return err
	}
	s.registry.remove(name)
	return err
}

// errMarked says that a topic could not be deleted in its place, and that the file that marks it
// as deleted may be there.
var errMarked = errors.New("it may be removed at the next start")

// reinstate makes a topic usable again that could not be deleted. If it is marked, the catalog must
// say durably that it exists, because the next start would remove it otherwise.
func (s *Store) reinstate(t store.Topic, marked bool) error {
	err := s.catalog.restore(t)
	if err != nil && marked {
		s.setUnusable(t.Name, fmt.Errorf("it could not be deleted: %w", err))
		return err
	}
	return errors.Join(err, s.load(t.Name))
}

// load opens a topic that is in its place and registers it.
func (s *Store) load(name string) error {
	t, err := s.topics.open(name)
	if err != nil {
		s.setUnusable(name, err)
		return err
	}
	s.registry.register(t)
	return nil
}
