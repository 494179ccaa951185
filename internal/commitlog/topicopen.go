package commitlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"mbus/internal/batch"
	"mbus/internal/store"
	"mbus/internal/vfs"
)

// Reasons why a directory in topics/ can't be opened as a topic.
var (
	errNoTopic = errors.New("it is not the directory of a topic")
	errAbsent  = errors.New("its directory is missing or empty: perhaps a disk is not mounted there")
)

// open opens the topic in a directory, which it lists once. It fails with errNoTopic if there is none.
func (d *topicDirs) open(name string) (*topic, error) {
	entries, unlisted := d.fs.ReadDir(d.path(topicsName, name))
	if (unlisted != nil || holds(entries, graveName)) && d.isBeingDeleted(name) {
		dir := d.path(topicsName, name)
		if err := removeTopic(d.fs, dir); err != nil {
			return nil, fmt.Errorf("it has been deleted, and can't be removed: %w", err)
		}
		return nil, errNoTopic
	}
	t, err := d.read(name)
	if err != nil {
		t, err = d.rebuild(name, err)
	}
	if err != nil {
		return nil, err
	}
	d.leaveOut(&t.Topic)
	if err := d.recover(t); err != nil {
		for _, l := range t.partitions {
			_ = l.close(store.ErrClosed) // nothing was appended
		}
		return nil, err
	}
	if unlisted != nil {
		return t, unlisted
	}
	return t, d.reportBeyond(t.Topic, entries)
}

// holds says whether a directory with these entries has one of this name.
func holds(entries []vfs.Entry, name string) bool {
	return slices.ContainsFunc(entries, func(e vfs.Entry) bool { return e.Name == name })
}

// isBeingDeleted says whether a directory is marked as a topic that is being deleted, and the
// catalog says the same. A topic that was put there since is not marked, because its id differs.
func (d *topicDirs) isBeingDeleted(name string) bool {
	content, err := d.readFile(topicsName, name, graveName)
	if err != nil {
		return false
	}
	id, ok := parseID(strings.TrimSpace(string(content)))
	t, err := d.read(name)
	return ok && d.catalog.isDeleted(id) && (err != nil || t.ID == id)
}

// rebuild writes topic.json, which can't be read, from the catalog.
func (d *topicDirs) rebuild(name string, damage error) (*topic, error) {
	if noFiles(damage) {
		return nil, damage
	}
	known, ok := d.catalog.topic(name)
	if !ok {
		return nil, d.withoutTopicFile(name, damage)
	}
	t, err := d.complete(known)
	if err != nil {
		return nil, err
	}
	content, err := encodeTopic(known)
	if err != nil {
		return nil, err
	}
	d.log.Error("topic.json can't be read, and is written from the catalog", "topic", name, "file", d.path(topicsName, name, topicName), "reason", damage)
	if err := vfs.WriteFile(d.fs, d.path(topicsName, name, topicName), content); err != nil {
		d.log.Warn("topic.json can't be written: the catalog holds the same until the next start", "topic", name, "file", d.path(topicsName, name, topicName), "reason", err)
	}
	return t, nil
}

// leaveOut removes the last partitions from a topic if they were added later and are missing: in a
// copy that was made meanwhile, topic.json may be newer than its directory. The topic is as if an
// older topic.json were there.
func (d *topicDirs) leaveOut(t *store.Topic) {
	there, had := t.Partitions, t.Partitions
	for there > 1 {
		entries, err := d.fs.ReadDir(d.path(topicsName, t.Name, strconv.Itoa(there-1)))
		if err != nil && !isNotExist(err) || len(entries) > 0 {
			break
		}
		there--
	}
	end := epochsEnd(*t)
	if there == had || !t.Shrink(there) {
		return
	}
	d.registry.passEpoch(end - 1)
	d.log.Error("partitions that were added to a topic are missing: it is used without them", "topic", t.Name,
		"first", there, "partitions", had, "do", fmt.Sprintf("put them back as they were and restart the broker, or add empty ones: give the topic %d partitions (admin grow)", had))
}

// complete returns a topic of the catalog if all its partitions are there.
func (d *topicDirs) complete(known store.Topic) (*topic, error) {
	missing := 0
	for i := range known.Partitions {
		if entries, err := d.fs.ReadDir(d.path(topicsName, known.Name, strconv.Itoa(i))); err != nil || len(entries) == 0 {
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

// withoutTopicFile is the error for a directory that is not in the catalog and whose topic.json
// can't be read.
func (d *topicDirs) withoutTopicFile(name string, damage error) error {
	dir := d.path(topicsName, name)
	entries, err := d.fs.ReadDir(dir)
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
		logs, err := d.fs.ReadDir(filepath.Join(dir, e.Name))
		if err != nil || holdsMessages(logs) {
			return fmt.Errorf("%s: it holds messages and no %s", dir, topicName)
		}
	}
	return errNoTopic
}

// read reads topic.json. It fails with errDamaged if the content is not what was written.
func (d *topicDirs) read(name string) (*topic, error) {
	content, err := d.readFile(topicsName, name, topicName)
	if err != nil {
		return nil, err
	}
	t, ok := decodeTopic(name, strings.TrimSuffix(string(content), "\n"))
	if !ok || !strings.HasSuffix(string(content), "\n") {
		return nil, fmt.Errorf("%w: %s: this was not written for topic %q", errDamaged, d.path(topicsName, name, topicName), name)
	}
	return &topic{Topic: t}, nil
}

// recover recovers the partitions of t that are not open yet, in parallel. The error is that of the
// first one that can't be opened.
func (d *topicDirs) recover(t *topic) error {
	first := len(t.partitions)
	logs := make([]*partition, t.Partitions-first)
	errs := make([]error, len(logs))
	_ = spread(len(logs), func(i int) error {
		d.opening <- struct{}{}
		defer func() { <-d.opening }()
		logs[i] = d.newPartition(t.Topic, first+i)
		errs[i] = logs[i].recover()
		return nil
	})
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("partition %d: %w", first+i, err)
		}
		t.partitions = append(t.partitions, logs[i])
	}
	return nil
}

// A beyond is the directory of a partition that holds messages and is not counted by topic.json.
type beyond struct {
	epoch int32 // of the messages
	known bool  // epoch could be read
}

// beyond finds the partitions that an older topic.json does not count.
func (d *topicDirs) beyond(t store.Topic) (map[int]beyond, error) {
	entries, err := d.fs.ReadDir(d.path(topicsName, t.Name))
	if err != nil {
		return nil, err
	}
	return d.beyondIn(t, entries)
}

// beyondIn is beyond for a topic whose directory has these entries.
func (d *topicDirs) beyondIn(t store.Topic, entries []vfs.Entry) (map[int]beyond, error) {
	var found map[int]beyond
	for _, e := range entries {
		n, ok := partitionNumber(e)
		if !ok || n < t.Partitions {
			continue
		}
		logs, err := d.fs.ReadDir(d.path(topicsName, t.Name, e.Name))
		if err != nil {
			return nil, err
		}
		if holdsMessages(logs) {
			var b beyond
			b.epoch, b.known = d.epochIn(d.path(topicsName, t.Name, e.Name), logs)
			if found == nil {
				found = make(map[int]beyond)
			}
			found[n] = b
		}
	}
	return found, nil
}

// headSize is the size of the larger of both headers, in bytes.
const headSize = max(indexHeader, batch.HeaderSize)

// epochIn reads the leader epoch of the files in a partition's directory, from an index or from the
// first batch of a segment.
func (d *topicDirs) epochIn(dir string, entries []vfs.Entry) (int32, bool) {
	for _, e := range entries {
		p, err := readHead(d.fs, filepath.Join(dir, e.Name), headSize)
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

// reportBeyond logs the partitions that topic.json does not count.
func (d *topicDirs) reportBeyond(t store.Topic, entries []vfs.Entry) error {
	found, err := d.beyondIn(t, entries)
	for _, n := range slices.Sorted(maps.Keys(found)) {
		d.log.Error("a partition holds messages and does not belong to its topic: an older topic.json was restored",
			"topic", t.Name, "partition", n, "partitions", t.Partitions,
			"do", fmt.Sprintf("give the topic %d partitions to have it back (admin grow)", n+1))
	}
	return err
}
