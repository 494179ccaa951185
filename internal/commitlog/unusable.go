package commitlog

import (
	"errors"
	"fmt"
	"strconv"

	"mbus/internal/message"
	"mbus/internal/store"
	"mbus/internal/vfs"
)

// openTopics opens all topics, and compares them with the catalog.
func (s *Store) openTopics() error {
	exists, bad, err := s.catalog.load()
	if noFiles(err) {
		return err
	}
	if err != nil {
		s.log.Error("the catalog of topics can't be read: topics without a directory are forgotten", "file", s.catalog.name, "reason", err)
		s.catalog.stale = true
	}
	s.catalog.report(s.log, bad)
	s.registry.epochs = s.catalog.epochs
	entries, err := s.dir.fs.ReadDir(s.dir.path(topicsName))
	if err != nil {
		return err
	}
	if err := s.openEntries(entries, exists); err != nil {
		return err
	}
	if !exists && len(s.registry.topics)+len(s.registry.unusable) > 0 {
		s.log.Warn("the catalog of topics is missing, and is written from the directories: topics without a directory are forgotten", "file", s.catalog.name)
	}
	for name, t := range s.catalog.made {
		if !s.registry.isKnown(name) {
			s.registry.passEpoch(epochsEnd(t) - 1)
			s.setUnusable(name, errAbsent)
		}
	}
	s.writeCatalog()
	return nil
}

// writeCatalog rewrites the catalog if that is due. The store starts even if that fails, because
// the disk is full or something else has the name: the next change writes it, and until then no
// topic is created or deleted.
func (s *Store) writeCatalog() {
	if !s.catalog.stale && !s.catalog.isWasteful() {
		return
	}
	if err := s.catalog.rewrite(); err != nil {
		s.log.Warn("the catalog of topics can't be written: until it can, no topic is created or deleted", "file", s.catalog.name, "reason", err)
	}
}

// openEntries opens the entries of topics/ in parallel, because each costs a few system calls, and reads
// of the disk after a boot. What they are is taken note of in the order of their names.
func (s *Store) openEntries(entries []vfs.Entry, catalogued bool) error {
	topics, errs := make([]*topic, len(entries)), make([]error, len(entries))
	err := spread(len(entries), func(i int) error {
		if !entries[i].Dir {
			return nil
		}
		if topics[i], errs[i] = s.topics.open(entries[i].Name); noFiles(errs[i]) {
			return errs[i]
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, e := range entries {
		if e.Dir {
			if err := s.admit(e.Name, topics[i], errs[i], catalogued); err != nil {
				return err
			}
		}
	}
	return nil
}

// admit registers the topic that was opened in an entry of topics/, or reports why none was.
func (s *Store) admit(name string, t *topic, err error, catalogued bool) error {
	switch {
	case errors.Is(err, errNoTopic):
		if !isForeign(name) {
			s.log.Warn("ignoring a directory that is no topic: move it out of topics/", "directory", s.dir.path(topicsName, name))
		}
		return nil
	case err != nil:
		s.setUnusable(name, err)
		return nil
	}
	s.registry.register(t)
	unknown, deleted := s.catalog.know(t.Topic)
	if unknown && catalogued { // a process that was killed may not have synced it
		if err := s.dir.fs.SyncDir(s.dir.path(topicsName, t.Name)); err != nil {
			return err
		}
	}
	switch {
	case deleted:
		s.log.Warn("a deleted topic has a directory, and is used again: delete it again to remove it",
			"topic", t.Name, "id", formatID(t.ID))
	case unknown && catalogued:
		s.log.Info("a topic is used that the catalog does not have", "topic", t.Name, "id", formatID(t.ID))
	}
	return nil
}

// setUnusable reports that a topic can't be used, and keeps its name taken.
func (s *Store) setUnusable(name string, reason error) {
	u := &unusable{}
	if t, ok := s.catalog.topic(name); ok {
		u.id = t.ID
	} else if t, err := s.topics.read(name); err == nil {
		u.id = t.ID
	}
	dir := s.dir.path(topicsName, name)
	do := "put " + strconv.Quote(dir) + " back as it was and restart the broker, or delete the topic"
	switch {
	case isFull(reason): // nothing is lost
		do = "make space on the disk, and restart the broker"
	case message.IsInternal(name): // a topic of the broker's own can't be deleted
		do = fmt.Sprintf("put %q back as it was; or, to begin without what it holds, move it away and remove the topic's line from %q, while the broker is stopped",
			dir, s.catalog.name)
	}
	u.err = fmt.Errorf("%w: topic %q: %w; %s", store.ErrUnusable, name, reason, do)
	s.log.Error("a topic can't be used", "topic", name, "id", formatID(u.id), "reason", reason, "do", do)
	s.registry.setUnusable(name, u)
}
