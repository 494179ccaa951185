package commitlog

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"mbus/internal/store"
	"mbus/internal/vfs"
)

// begin holds the name of a topic that is to be made, altered or deleted, until end.
func (s *Store) begin(name string) (end func(), err error) {
	s.altered.RLock()
	unlock := s.names.Lock(name)
	end = func() {
		unlock()
		s.altered.RUnlock()
	}
	if _, err := s.find(name); errors.Is(err, store.ErrClosed) {
		end()
		return nil, err
	}
	return end, nil
}

// CreateTopic implements store.Store. The topic is made beside the others and
// moved to its place complete, so that a crash leaves all of it or nothing.
func (s *Store) CreateTopic(name string, partitions int, config string) (store.Topic, error) {
	if filepath.Base(name) != name || !filepath.IsLocal(name) || name == "." || partitions < 1 {
		return store.Topic{}, fmt.Errorf("no topic %q of %d partitions can be made", name, partitions)
	}
	end, err := s.begin(name)
	if err != nil {
		return store.Topic{}, err
	}
	defer end()
	if _, err := s.find(name); err == nil {
		return store.Topic{}, store.ErrTopicExists
	} else if !errors.Is(err, store.ErrUnknownTopic) {
		return store.Topic{}, err
	}
	first, err := s.takeEpochs(partitions)
	if err != nil {
		return store.Topic{}, err
	}
	t := &topic{Topic: store.Topic{Name: name, ID: newID(), Partitions: partitions, Epoch: first, Config: config}}
	if err := s.create(t); err != nil {
		return store.Topic{}, noRoom(err)
	}
	s.put(t)
	return t.Topic, nil
}

// create makes a topic durable. The caller holds the name.
func (s *Store) create(t *topic) error {
	stage := s.path(stageName, formatID(t.ID))
	if err := s.stage(stage, t); err != nil {
		_ = removeAll(s.fs, stage) // or at the next start
		return err
	}
	if err := s.moveIn(stage, t); err != nil {
		_ = removeAll(s.fs, stage)
		return err
	}
	err := s.checkName(t.Name)
	if err == nil {
		err = s.syncTopics()
	}
	if err == nil {
		err = s.catalog.put(t.Topic)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.attempts, t.Name)
	if err != nil {
		s.attempts[t.Name] = t.ID
	}
	return err
}

// stage makes a topic's directory, durable but for its own name. Nothing in it is
// needed before all of it is there, so that it is synced at once.
func (s *Store) stage(dir string, t *topic) error {
	if err := s.fs.Mkdir(dir); err != nil {
		return err
	}
	if err := s.makeLogs(dir, t); err != nil {
		return err
	}
	return s.together(t.Partitions+1, func(i int) error {
		if i == t.Partitions {
			return s.describe(dir, t)
		}
		return s.beginLog(t.partitions[i])
	})
}

// makeLogs makes the directories of the partitions of t, in dir.
func (s *Store) makeLogs(dir string, t *topic) error {
	t.partitions = nil
	for i := range t.Partitions {
		l := s.newPartition(t.Topic, i)
		l.dir = filepath.Join(dir, strconv.Itoa(i))
		if err := s.fs.Mkdir(l.dir); err != nil {
			return err
		}
		t.partitions = append(t.partitions, l)
	}
	return nil
}

// describe writes topic.json and makes it durable with all names in dir.
func (s *Store) describe(dir string, t *topic) error {
	content, err := encodeTopic(t.Topic)
	if err != nil {
		return err
	}
	s.makings <- struct{}{}
	defer func() { <-s.makings }()
	return vfs.WriteFile(s.fs, filepath.Join(dir, topicName), content)
}

// beginLog makes the first segment of a partition, durable.
func (s *Store) beginLog(l *partition) error {
	s.makings <- struct{}{}
	defer func() { <-s.makings }()
	return l.begin(mark{}, 0)
}

// together calls f with the numbers below n, several at a time, as file systems sync
// many files about as quickly as one.
func (s *Store) together(n int, f func(i int) error) error {
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		errs  []error
		next  int
	)
	work := func() {
		for {
			mu.Lock()
			i := next
			next++
			failed := len(errs) > 0
			mu.Unlock()
			if i >= n || failed {
				return
			}
			if err := f(i); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		}
	}
	for range min(n, maxSyncs) - 1 {
		group.Go(work)
	}
	work()
	group.Wait()
	return errors.Join(errs...)
}

// moveIn moves a staged topic to its place. It never removes what may hold messages.
func (s *Store) moveIn(stage string, t *topic) error {
	place := s.path(topicsName, t.Name)
	err := s.fs.Rename(stage, place)
	if err != nil && (inTheWay(err) || elsewhere(err)) {
		s.inPlace.Lock() // on some file systems two names are one
		defer s.inPlace.Unlock()
		if err := s.makeWay(t.Name); err != nil {
			return err
		}
		if err = s.fs.Rename(stage, place); err != nil && (inTheWay(err) || elsewhere(err)) {
			return s.createInPlace(place, t)
		}
	}
	if err != nil {
		return err
	}
	for _, l := range t.partitions {
		l.moved(filepath.Join(place, filepath.Base(l.dir)))
	}
	return nil
}

// inTheWay says that a rename has failed because of what has the name.
func inTheWay(err error) bool {
	return isExist(err) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EBUSY)
}

// elsewhere says that a rename has failed because a directory can't be moved from
// where it is to there: one of them is a mount of its own, or in a lower layer of an
// overlay, or has a quota of its own.
func elsewhere(err error) bool {
	return errors.Is(err, syscall.EXDEV) || errors.Is(err, syscall.EBUSY)
}

// createInPlace makes a topic where it is to be, after makeWay: in a mount point, or
// behind a link, or where nothing is. Without topic.json, which comes last, it is nothing.
func (s *Store) createInPlace(place string, t *topic) error {
	if err := s.fs.Mkdir(place); err != nil && !isExist(err) {
		return err
	}
	err := s.makeLogs(place, t)
	if err == nil {
		err = s.together(t.Partitions, func(i int) error { return s.beginLog(t.partitions[i]) })
	}
	if err == nil {
		err = s.fs.SyncDir(place)
	}
	if err == nil {
		err = s.describe(place, t)
	}
	if err != nil {
		s.undo(place, t)
	}
	return err
}

// undo removes what a failed attempt to make a topic in its place has left. On some file systems
// two names are one, so that another topic may have come there meanwhile.
func (s *Store) undo(place string, t *topic) {
	vacant, _ := s.vacant(place)
	there, err := s.readTopic(t.Name)
	if vacant || err == nil && there.ID == t.ID {
		_ = removeOurs(s.fs, place)
	}
}

// makeWay sees to it that nothing is in the way of a topic that is to be made. What
// an attempt to make it has left is removed, and what one to delete it has left;
// the error says what else is there.
func (s *Store) makeWay(name string) error {
	place := s.path(topicsName, name)
	vacant, err := s.vacant(place)
	switch {
	case isNotExist(err):
		return nil
	case errors.Is(err, syscall.ENOTDIR):
		return s.occupied(name)
	case err != nil:
		return err
	}
	if vacant || s.isBeingDeleted(name) {
		return removeOurs(s.fs, place)
	}
	s.mu.RLock()
	id, failed := s.attempts[name]
	s.mu.RUnlock()
	if t, err := s.readTopic(name); !failed || err != nil || t.ID != id {
		return s.occupied(name)
	}
	if err := s.catalog.bury(id); err != nil {
		return err
	}
	_, err = s.removeOr(name, id, func(place string) (bool, error) { return s.removeInPlace(place, id) }) // inPlace is held
	return err
}

// occupied is the error for a topic whose place something else has.
func (s *Store) occupied(name string) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for other := range s.topics {
		if strings.EqualFold(other, name) {
			return fmt.Errorf("%w: the file system of the data directory takes the name %q for %q, which is another topic", store.ErrUnusable, name, other)
		}
	}
	return fmt.Errorf("%w: something else is in the place of %q: if %q is a topic that was put back there, restart the broker to use it; else move it away",
		store.ErrUnusable, name, s.path(topicsName, name))
}

// checkName sees to it that a topic's name is kept as it is: some file systems drop
// a dot at its end.
func (s *Store) checkName(name string) error {
	if !strings.HasSuffix(name, ".") {
		return nil
	}
	entries, err := s.fs.ReadDir(s.path(topicsName))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name == name {
			return nil
		}
	}
	return fmt.Errorf("%w: the file system of the data directory does not keep the dot at the end of %q", store.ErrUnusable, name)
}

// DeleteTopic implements store.Store. The tombstone in the catalog is durable before
// anything of the topic is touched: whoever finds the topic gone later can be certain
// that it was deleted. Then the directory is moved away; the space is freed after
// that, at the next start at the latest.
func (s *Store) DeleteTopic(name string) error {
	end, err := s.begin(name)
	if err != nil {
		return err
	}
	defer end()
	t, err := s.find(name)
	if errors.Is(err, store.ErrUnusable) {
		return noRoom(s.deleteUnusable(name))
	}
	if err != nil {
		return err
	}
	if err := s.catalog.bury(t.ID); err != nil {
		return noRoom(err)
	}
	s.mu.Lock()
	delete(s.topics, name)
	s.mu.Unlock()
	for _, l := range t.partitions {
		_ = l.close() // what can't be synced is deleted all the same
	}
	moved, err := s.remove(name, t.ID)
	if err == nil || moved {
		return err
	}
	return errors.Join(noRoom(err), s.goOn(t.Topic, errors.Is(err, errMarked)))
}

// errMarked says that a topic could not be deleted where it is, and that it may be
// marked as one that is being deleted.
var errMarked = errors.New("it may be removed at the next start")

// goOn has a topic used again that could not be deleted. One that is marked must not
// be before it is certain that the catalog does not say the same.
func (s *Store) goOn(t store.Topic, marked bool) error {
	err := s.catalog.restore(t)
	if err != nil && marked {
		s.setUnusable(t.Name, fmt.Errorf("it could not be deleted: %w", err))
		return err
	}
	return errors.Join(err, s.admit(t.Name))
}

// remove moves a topic's directory away and deletes what is in it. moved says that
// it is gone, though something of it may be left until the next start.
func (s *Store) remove(name string, id [16]byte) (moved bool, err error) {
	return s.removeOr(name, id, func(place string) (bool, error) {
		s.inPlace.Lock() // nobody makes another one there meanwhile, on file systems where two names are one
		defer s.inPlace.Unlock()
		return s.removeInPlace(place, id)
	})
}

// removeOr is remove; where a directory can't be moved it calls inPlace.
func (s *Store) removeOr(name string, id [16]byte, inPlace func(place string) (bool, error)) (moved bool, err error) {
	place, grave := s.path(topicsName, name), s.path(stageName, formatID(id))
	switch err = s.fs.Rename(place, grave); {
	case isNotExist(err): // somebody else has removed it
		return true, s.syncTopics()
	case elsewhere(err):
		return inPlace(place)
	case err != nil:
		return false, err
	}
	if err := s.syncTopics(); err != nil {
		return true, err
	}
	return true, s.empty(grave)
}

// empty deletes what has been moved into the stage. That a link was moved only the
// stage says.
func (s *Store) empty(grave string) error {
	entries, err := s.fs.ReadDir(s.path(stageName))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Link && e.Name == filepath.Base(grave) {
			return removeLinked(s.fs, grave)
		}
	}
	return removeAll(s.fs, grave)
}

// removeInPlace deletes a topic whose directory can't be moved. A file in it says so,
// until all else is gone.
func (s *Store) removeInPlace(place string, id [16]byte) (begun bool, err error) {
	if err := vfs.WriteFile(s.fs, filepath.Join(place, graveName), []byte(formatID(id))); err != nil {
		_ = s.fs.Remove(filepath.Join(place, graveName))
		return false, fmt.Errorf("%w: %w", errMarked, err)
	}
	if err := removeTopic(s.fs, place); err != nil {
		return true, err
	}
	return true, s.syncTopics()
}

// admit opens a topic that is in its place and puts it on the list.
func (s *Store) admit(name string) error {
	t, err := s.openTopic(name)
	if err != nil {
		s.setUnusable(name, err)
		return err
	}
	s.put(t)
	return nil
}
