package commitlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"mbus/internal/batch"
	"mbus/internal/message"
	"mbus/internal/store"
	"mbus/internal/vfs"
)

// An unusable topic is one of which something is missing or damaged that the store
// can't do without. Its name stays taken, and what depends on it is kept, until it is
// put right or deleted.
type unusable struct {
	id  [16]byte // zero if it is not known
	err error    // wraps store.ErrUnusable and says what to do
}

// Reasons why a directory in topics/ can't be opened as a topic.
var (
	errNoTopic = errors.New("it is no topic's directory")
	errAbsent  = errors.New("its directory is missing or empty: perhaps a disk is not mounted there")
)

// openTopics opens all topics there are, and compares them with the catalog.
func (s *Store) openTopics() error {
	s.catalog = newCatalog(s.fs, s.path(catalogName))
	exists, bad, err := s.catalog.load()
	if noFiles(err) {
		return err
	}
	if err != nil {
		s.opts.Log.Error("the catalog of topics can't be read: a topic of which there is no directory is forgotten", "file", s.catalog.name, "reason", err)
		s.catalog.stale = true
	}
	s.catalog.report(s.opts.Log, bad)
	s.epochs = s.catalog.epochs
	entries, err := s.fs.ReadDir(s.path(topicsName))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := s.openEntry(e, exists); err != nil {
			return err
		}
	}
	if !exists && len(s.topics)+len(s.unusable) > 0 {
		s.opts.Log.Warn("there is no catalog of topics, and it is made from the directories that are there: a topic without a directory is forgotten", "file", s.catalog.name)
	}
	for name, t := range s.catalog.made {
		if s.topics[name] == nil && s.unusable[name] == nil {
			s.epochs = max(s.epochs, epochsEnd(t))
			s.setUnusable(name, errAbsent)
		}
	}
	s.writeCatalog()
	return nil
}

// writeCatalog writes the whole catalog if that is due. That it can't be written, on a full
// disk or for what has its name, is no reason not to start: it is written with the next change,
// and until then no topic is made or deleted.
func (s *Store) writeCatalog() {
	if !s.catalog.stale && !s.catalog.isWasteful() {
		return
	}
	if err := s.catalog.rewrite(); err != nil {
		s.opts.Log.Warn("the catalog of topics can't be written now", "file", s.catalog.name, "reason", err)
	}
}

// openEntry opens what is in topics/ under a name.
func (s *Store) openEntry(e vfs.Entry, catalogued bool) error {
	if !e.Dir {
		return nil
	}
	t, err := s.openTopic(e.Name)
	switch {
	case noFiles(err):
		return err
	case errors.Is(err, errNoTopic):
		if !isForeign(e.Name) {
			s.opts.Log.Warn("ignoring a directory that is no topic", "directory", s.path(topicsName, e.Name))
		}
		return nil
	case err != nil:
		s.setUnusable(e.Name, err)
		return nil
	}
	s.topics[e.Name] = t
	s.epochs = max(s.epochs, epochsEnd(t.Topic))
	unknown, deleted := s.catalog.know(t.Topic)
	if unknown && catalogued { // a process that was killed may not have come to sync it
		if err := s.fs.SyncDir(s.path(topicsName, t.Name)); err != nil {
			return err
		}
	}
	switch {
	case deleted:
		s.opts.Log.Warn("a topic that was being deleted, or was deleted, is there, and is used again: delete it once more if it is to go",
			"topic", t.Name, "id", formatID(t.ID))
	case unknown && catalogued:
		s.opts.Log.Info("a topic that the catalog does not know is used", "topic", t.Name, "id", formatID(t.ID))
	}
	return nil
}

// setUnusable reports that a topic can't be used, and keeps its name.
func (s *Store) setUnusable(name string, reason error) {
	u := &unusable{}
	if t, ok := s.catalog.topic(name); ok {
		u.id = t.ID
	} else if t, err := s.readTopic(name); err == nil {
		u.id = t.ID
	}
	dir := s.path(topicsName, name)
	do := "put " + strconv.Quote(dir) + " back as it was and restart the broker, or delete the topic"
	if message.IsInternal(name) { // the broker's own, which nobody can delete
		do = fmt.Sprintf("put %q back as it was; or, to begin without what it holds, move it away and remove the topic's line from %q, while the broker is stopped",
			dir, s.catalog.name)
	}
	u.err = fmt.Errorf("%w: topic %q: %w; %s", store.ErrUnusable, name, reason, do)
	s.opts.Log.Error("a topic can't be used", "topic", name, "id", formatID(u.id), "reason", reason, "do", do)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unusable[name] = u
}

// deleteUnusable deletes a topic that can't be used, with what there is of it. The
// caller holds the name.
func (s *Store) deleteUnusable(name string) error {
	s.mu.RLock()
	id := s.unusable[name].id
	s.mu.RUnlock()
	if id == [16]byte{} {
		id = newID()
	}
	known, ok := s.catalog.topic(name)
	if err := s.catalog.bury(id); err != nil {
		return err
	}
	moved, err := s.remove(name, id)
	if err != nil && !moved {
		if ok {
			err = errors.Join(err, s.catalog.restore(known))
		}
		return err
	}
	s.mu.Lock()
	delete(s.unusable, name)
	s.mu.Unlock()
	return err
}

// openTopic opens the topic in a directory. The error is errNoTopic if it is none.
func (s *Store) openTopic(name string) (*topic, error) {
	if s.isBeingDeleted(name) {
		dir := s.path(topicsName, name)
		if err := removeTopic(s.fs, dir); err != nil {
			return nil, fmt.Errorf("it has been deleted, and can't be removed: %w", err)
		}
		return nil, errNoTopic
	}
	t, err := s.readTopic(name)
	if err != nil {
		t, err = s.rebuildTopic(name, err)
	}
	if err != nil {
		return nil, err
	}
	s.leaveOut(&t.Topic)
	if err := s.recoverLogs(t); err != nil {
		for _, l := range t.partitions {
			_ = l.close() // nothing was appended
		}
		return nil, err
	}
	return t, s.reportBeyond(t.Topic)
}

// isBeingDeleted says whether a topic was being deleted where it is: a file says so, and
// so does the catalog. If another one has been put there since, that is not the one.
func (s *Store) isBeingDeleted(name string) bool {
	content, err := s.readFile(topicsName, name, graveName)
	if err != nil {
		return false
	}
	id, ok := parseID(strings.TrimSpace(string(content)))
	t, err := s.readTopic(name)
	return ok && s.catalog.isDeleted(id) && (err != nil || t.ID == id)
}

// rebuildTopic makes topic.json, which could not be read, from what the catalog knows
// of the topic.
func (s *Store) rebuildTopic(name string, damage error) (*topic, error) {
	if noFiles(damage) {
		return nil, damage
	}
	known, ok := s.catalog.topic(name)
	if !ok {
		return nil, s.withoutTopicFile(name, damage)
	}
	t, err := s.complete(known)
	if err != nil {
		return nil, err
	}
	content, err := encodeTopic(known)
	if err != nil {
		return nil, err
	}
	s.opts.Log.Error("a topic's file can't be read, and is written again from the catalog", "topic", name, "reason", damage)
	if err := vfs.WriteFile(s.fs, s.path(topicsName, name, topicName), content); err != nil {
		s.opts.Log.Warn("a topic's file can't be written now: the catalog holds the same", "topic", name, "reason", err)
	}
	return t, nil
}

// leaveOut has a topic go without its last partitions, if they were added later and are not
// there: in a copy that was made meanwhile topic.json may be newer than the names beside it. It
// is as if an older one were there.
func (s *Store) leaveOut(t *store.Topic) {
	there, had := t.Partitions, t.Partitions
	for there > 1 {
		entries, err := s.fs.ReadDir(s.path(topicsName, t.Name, strconv.Itoa(there-1)))
		if err != nil && !isNotExist(err) || len(entries) > 0 {
			break
		}
		there--
	}
	end := epochsEnd(*t)
	if there == had || !t.Shrink(there) {
		return
	}
	s.passEpoch(end - 1)
	s.opts.Log.Error("partitions that were added to a topic are not there: it is used without them", "topic", t.Name,
		"first", there, "partitions", had, "do", fmt.Sprintf("put them back as they were and restart the broker, or add empty ones: give the topic %d partitions (admin grow)", had))
}

// complete is a topic that the catalog knows, if all its partitions are there.
func (s *Store) complete(known store.Topic) (*topic, error) {
	missing := 0
	for i := range known.Partitions {
		if entries, err := s.fs.ReadDir(s.path(topicsName, known.Name, strconv.Itoa(i))); err != nil || len(entries) == 0 {
			missing++
		}
	}
	switch {
	case missing == known.Partitions:
		return nil, errAbsent
	case missing > 0:
		return nil, fmt.Errorf("%d of %d partitions are missing, and %s", missing, known.Partitions, topicName)
	}
	return &topic{Topic: known}, nil
}

// withoutTopicFile says what a directory is that the catalog does not know and whose
// topic.json can't be read.
func (s *Store) withoutTopicFile(name string, damage error) error {
	dir := s.path(topicsName, name)
	entries, err := s.fs.ReadDir(dir)
	if err != nil {
		if isForeign(name) {
			return errNoTopic
		}
		return err
	}
	if !isNotExist(damage) && !isForeign(name) {
		return damage
	}
	for _, e := range entries {
		if _, ok := partitionNumber(e); !ok {
			continue
		}
		logs, err := s.fs.ReadDir(filepath.Join(dir, e.Name))
		if err != nil || holdsMessages(logs) {
			return fmt.Errorf("%s: it holds messages and no %s", dir, topicName)
		}
	}
	return errNoTopic
}

// A beyond is a directory of a partition that topic.json does not count, and that
// holds messages.
type beyond struct {
	epoch int32 // that the messages have
	known bool  // epoch is
}

// beyond finds them: an older topic.json was put back.
func (s *Store) beyond(t store.Topic) (map[int]beyond, error) {
	entries, err := s.fs.ReadDir(s.path(topicsName, t.Name))
	if err != nil {
		return nil, err
	}
	found := make(map[int]beyond)
	for _, e := range entries {
		n, ok := partitionNumber(e)
		if !ok || n < t.Partitions {
			continue
		}
		logs, err := s.fs.ReadDir(s.path(topicsName, t.Name, e.Name))
		if err != nil {
			return nil, err
		}
		if holdsMessages(logs) {
			var b beyond
			b.epoch, b.known = s.epochIn(s.path(topicsName, t.Name, e.Name), logs)
			found[n] = b
		}
	}
	return found, nil
}

// headSize is what epochIn reads of a file: the larger of both headers.
const headSize = max(indexHeader, batch.HeaderSize)

// epochIn finds the leader epoch of what is in a partition's directory, in an index or
// in the first batch of a segment that is sound.
func (s *Store) epochIn(dir string, entries []vfs.Entry) (int32, bool) {
	for _, e := range entries {
		p, err := readHead(s.fs, filepath.Join(dir, e.Name), headSize)
		if err != nil {
			continue
		}
		if _, ok := parseBase(e.Name, indexSuffix); ok {
			if epoch, ok := indexEpoch(p); ok {
				return epoch, true
			}
		}
		if _, ok := parseBase(e.Name, logSuffix); ok && len(p) >= batch.HeaderSize && p[16] == 2 {
			return int32(binary.BigEndian.Uint32(p[12:])), true
		}
	}
	return 0, false
}

// reportBeyond reports the partitions that topic.json does not count.
func (s *Store) reportBeyond(t store.Topic) error {
	found, err := s.beyond(t)
	for n := range found {
		s.opts.Log.Error("a partition holds messages and is none of its topic's: an older "+topicName+" was put back",
			"topic", t.Name, "partition", n, "partitions", t.Partitions,
			"do", fmt.Sprintf("give the topic %d partitions to have it back (admin grow)", n+1))
	}
	return err
}

// readHead reads the first n bytes of a file, or fewer if it has no more.
func readHead(fs vfs.FS, name string, n int) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p := make([]byte, n)
	n, err = f.ReadAt(p, 0)
	return p[:n], ignoreEOF(err)
}
