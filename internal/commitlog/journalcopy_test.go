package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"strings"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// A snapshot is the files of a data directory at one moment, by name.
type snapshot map[string][]byte

func takeSnapshot(t *testing.T, disk *crashfs.FS, dir string) snapshot {
	t.Helper()
	files := make(snapshot)
	entries, err := disk.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name)
		if e.Dir {
			files[name+"/"] = nil
			for n, content := range takeSnapshot(t, disk, name) {
				files[n] = content
			}
			continue
		}
		p, err := readAround(disk, name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = p
	}
	return files
}

// copyOf is a data directory with the journal of one snapshot and the rest of another.
func copyOf(t *testing.T, journal, rest snapshot) *crashfs.FS {
	t.Helper()
	disk := crashfs.New()
	for i, files := range []snapshot{journal, rest} {
		for name, content := range files {
			if strings.HasPrefix(name, "/data/"+journalDir) == (i == 0) {
				putFile(t, disk, name, content)
			}
		}
	}
	return disk
}

// putFile makes a file with the directories that it is in; a name with a slash at its end is a directory.
func putFile(t *testing.T, disk *crashfs.FS, name string, content []byte) {
	t.Helper()
	for at := 1; at < len(name); at++ {
		if name[at] == '/' {
			_ = disk.Mkdir(name[:at]) // or it is there
		}
	}
	if strings.HasSuffix(name, "/") {
		return
	}
	f, err := disk.Create(name)
	if err == nil && len(content) > 0 {
		_, err = f.WriteAt(content, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

// A logCopy is what a log had when a snapshot was taken.
type logCopy struct {
	topic  store.Topic
	number int
	start  int64
	values []string // of the records, by offset
}

// copies are those of a rig's topics.
type copies struct {
	*journalRig
	values map[leaderEpoch][]string
}

// publish has logs append some records in rounds.
func (c *copies) publish(rounds int, size int, logs ...*partition) {
	c.Helper()
	for range rounds {
		value := fmt.Sprintf("%d %s", len(c.values[logs[0].epoch]), strings.Repeat("x", size))
		for _, l := range logs {
			c.values[l.epoch] = append(c.values[l.epoch], l.topic+" "+value)
		}
		c.mustAcknowledge(c.round(value, logs...))
	}
}

func (c *copies) log(topic string, number int) *partition {
	c.Helper()
	p, err := c.store.Partition(topic, number)
	if err != nil {
		c.Fatal(err)
	}
	return p.(*partition)
}

// take takes a snapshot of the files, and notes what the logs have.
func (c *copies) take() (files snapshot, logs []logCopy) {
	c.Helper()
	for _, t := range c.store.Topics() {
		for n := range t.Partitions {
			l := c.log(t.Name, n)
			start, high := l.Offsets()
			logs = append(logs, logCopy{t, n, start, c.values[l.epoch][:high]})
		}
	}
	return takeSnapshot(c.T, c.disk, "/data"), logs
}

// A copy may have the journal as it was before the segments were copied, or as it was afterwards. No
// message is served in the place of another, the messages that the segments have are there, and missing
// ones are reported.
func TestCopyWithAJournalOfAnotherMoment(t *testing.T) {
	for name, between := range map[string]func(c *copies){
		"a few rounds":                 func(c *copies) { c.publish(5, 100, c.logs[1:]...) },
		"a checkpoint":                 func(c *copies) { c.publish(12, 9000, c.logs[1:]...) },
		"checkpoints, and then little": func(c *copies) { c.publish(40, 9000, c.logs[1:]...); c.publish(3, 100, c.logs[1:]...) },
		"a topic is made again": func(c *copies) {
			if err := c.store.DeleteTopic("topic-2"); err != nil {
				c.Fatal(err)
			}
			if _, err := c.store.CreateTopic("topic-2", 1, ""); err != nil {
				c.Fatal(err)
			}
			c.publish(5, 100, c.logs[1], c.log("topic-2", 0), c.logs[3])
		},
		"a topic is trimmed": func(c *copies) {
			if err := c.logs[2].Trim(6); err != nil {
				c.Fatal(err)
			}
			c.publish(5, 100, c.logs[1:]...)
		},
		"a topic grows": func(c *copies) {
			if _, err := c.store.AddPartitions("topic-2", 3); err != nil {
				c.Fatal(err)
			}
			c.publish(5, 100, c.logs[1], c.log("topic-2", 1), c.log("topic-2", 2))
		},
		"a segment begins": func(c *copies) {
			if err := c.logs[2].appends.rollNow(); err != nil {
				c.Fatal(err)
			}
			c.publish(5, 100, c.logs[1:]...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := &copies{newJournalRig(t, 4), make(map[leaderEpoch][]string)}
			c.publish(8, 100, c.logs[1:]...)
			older, before := c.take()
			between(c)
			newer, after := c.take()
			c.check("the journal is older", copyOf(t, older, newer), after, true)
			c.check("the journal is newer", copyOf(t, newer, older), before, false)
		})
	}
}

// check opens a copy, which has at least what the logs had. If whole is set, there is nothing else, and
// nothing is missing.
func (c *copies) check(name string, disk *crashfs.FS, logs []logCopy, whole bool) {
	c.Helper()
	sum, err := Verify("/data", Options{FS: disk}, func(f Finding) {
		if whole && !f.Harmless {
			c.Errorf("%s: -verify says %v", name, f)
		}
	})
	if err != nil {
		c.Fatal(err)
	}
	lines := new(brokertest.LogBook)
	o := Options{FS: disk, JournalBytes: journalSize, Log: slog.New(slog.NewTextHandler(lines, nil))}
	for range 2 {
		s, err := Open("/data", o)
		if err != nil {
			c.Fatal(err)
		}
		missing := 0
		for _, l := range logs {
			missing += c.checkLog(name, s, l, whole)
		}
		if missing > 0 && (sum.Damaged == 0 || len(lines.Lines("level=ERROR")) == 0) {
			c.Errorf("%s: %d messages are missing, -verify finds %d, logged was %q", name, missing, sum.Damaged, lines.Lines())
		}
		if err := s.Close(); err != nil {
			c.Error(err)
		}
		o.FS = o.FS.(*crashfs.FS).KillClone()
	}
}

// checkLog returns how many messages are missing between others.
func (c *copies) checkLog(name string, s *Store, l logCopy, whole bool) (missing int) {
	c.Helper()
	p, err := s.Partition(l.topic.Name, l.number)
	if err != nil {
		c.Errorf("%s: %s/%d: %v", name, l.topic.Name, l.number, err)
		return 0
	}
	values := c.values[epochOf(l.topic, l.number)]
	offset, high := p.Offsets()
	if n := int64(len(l.values)); offset > l.start || high < n || whole && (offset < l.start || high > n) {
		c.Errorf("%s: %s/%d is from %d to %d, it was from %d to %d", name, l.topic.Name, l.number, offset, high, l.start, n)
	}
	for offset < high {
		next, ok := c.readAt(name, p, offset, values)
		if !ok && offset < int64(len(l.values)) {
			c.Errorf("%s: %s/%d lacks %d, which was in its segment", name, l.topic.Name, l.number, offset)
		}
		if !ok {
			missing += int(next - offset)
		}
		offset = next
	}
	return missing
}

// readAt reads one batch, of one record, and compares it. ok is false if it is missing.
func (c *copies) readAt(name string, p store.Partition, offset int64, values []string) (next int64, ok bool) {
	c.Helper()
	var chunk store.Chunk
	defer chunk.Release()
	err := p.Read(offset, 1, &chunk)
	if e, is := errors.AsType[*store.DamageError](err); is {
		return e.Next, false
	}
	if e, is := errors.AsType[*store.GapError](err); is {
		return e.Next, false
	}
	buf, loaded := chunk.Load(nil)
	if err = errors.Join(err, loaded); err != nil {
		c.Fatal(err)
	}
	if !bytes.Contains(buf, []byte(values[offset])) {
		c.Errorf("%s: %s has %.60q at %d, want %.60q", name, p.(*partition).topic, buf, offset, values[offset])
	}
	return batch.Batch(buf).NextOffset(), true
}

// The segments lack everything that is in the journal. Damage of any byte or sector of it costs the messages
// that it touches, and is reported, except in the last round.
func TestDamageOfAJournalCostsTheMessagesThatItTouches(t *testing.T) {
	c := &copies{newJournalRig(t, 4), make(map[leaderEpoch][]string)}
	before, logs := c.take()
	for i := range 4 {
		c.publish(1, 100*i, c.logs[1:]...)
	}
	after, _ := c.take()
	name := fmt.Sprintf("/data/%s/%s", journalDir, c.store.journal.files.current.name)
	content := after[name]
	frames := scanJournal(content, c.store.journal.files.current.name.salt).frames
	if len(frames) != 12 {
		t.Fatalf("there are %d frames", len(frames))
	}
	used := roundUp(frames[11].end(), roundAlign)
	damage := func(from, to int, with func(byte) byte) {
		damaged := bytes.Clone(content)
		for i := from; i < to; i++ {
			damaged[i] = with(damaged[i])
		}
		after[name] = damaged
		c.checkDamaged(fmt.Sprintf("bytes %d to %d damaged", from, to), copyOf(t, after, before), logs, frames, from, to)
	}
	for at := 0; at < used; at++ {
		inFrame := at%roundAlign < 1<<10
		if inFrame && at%5 == 0 || at%500 == 0 {
			damage(at, at+1, func(b byte) byte { return b ^ 1<<(at%8) })
		}
	}
	for at := 0; at < used; at += sectorBytes {
		damage(at, at+sectorBytes, func(byte) byte { return 0 })
	}
}

// checkDamaged opens a directory whose journal is damaged between two positions.
func (c *copies) checkDamaged(name string, disk *crashfs.FS, logs []logCopy, frames []storedFrame, from, to int) {
	c.Helper()
	lines := new(brokertest.LogBook)
	sum, err := Verify("/data", Options{FS: disk}, func(Finding) {})
	if err != nil {
		c.Fatal(err)
	}
	s, err := Open("/data", Options{FS: disk, JournalBytes: journalSize, Log: slog.New(slog.NewTextHandler(lines, nil))})
	if err != nil {
		c.Fatal(err)
	}
	defer s.Close()
	acknowledged, missing := 0, 0
	for _, f := range frames {
		l := c.logOf(logs, f.topic)
		p, err := s.Partition(l.topic.Name, 0)
		if err != nil {
			c.Fatal(err)
		}
		touched := f.at+frameHeader+f.size > from && f.at < to
		if touched && f.round < frames[len(frames)-1].round {
			acknowledged++
		}
		ok := false
		if _, high := p.Offsets(); f.first < high {
			_, ok = c.readAt(name, p, f.first, c.values[epochOf(l.topic, 0)])
		}
		if !ok {
			missing++
		}
		if ok == touched {
			c.Errorf("%s: message %d of %s, whose frame is from %d to %d, is there: %v", name, f.first, l.topic.Name, f.at, f.end(), ok)
		}
	}
	if reported := len(lines.Lines("level=ERROR")) > 0; reported != (acknowledged > 0) || (sum.Damaged > 0) != reported {
		c.Errorf("%s: %d messages missing, %d of them acknowledged; -verify finds %d, logged was %q", name, missing, acknowledged, sum.Damaged, lines.Lines())
	}
}

func (c *copies) logOf(logs []logCopy, id [16]byte) logCopy {
	for _, l := range logs {
		if l.topic.ID == id {
			return l
		}
	}
	c.Fatal("a frame of an unknown topic")
	return logCopy{}
}

// After a crash the journal is made again with another size. A crash meanwhile is no damage.
func TestCrashWhileAJournalIsMadeAgainIsNoDamage(t *testing.T) {
	c := &copies{newJournalRig(t, 4), make(map[leaderEpoch][]string)}
	c.publish(4, 100, c.logs[1:]...)
	_, logs := c.take()
	killed := c.disk.KillClone()
	for n, died := 1, true; died && !t.Failed(); n++ {
		disk, calls := killed.KillClone(), 0
		o := Options{FS: disk, JournalBytes: 2 * journalSize}
		s, err := Open("/data", o)
		if err != nil {
			t.Fatal(err)
		}
		disk.SetHook(func(crashfs.Call) error {
			if calls++; calls == n {
				disk.Kill()
				return crashfs.ErrDead
			}
			return nil
		})
		_ = s.journal.files.make() // it fails if it is cut
		died = calls >= n
		for seed := range uint64(5) {
			c.check(fmt.Sprintf("killed before call %d, outcome %d", n, seed), disk.Crash(crashfs.Some(seed)), logs, true)
		}
	}
}
