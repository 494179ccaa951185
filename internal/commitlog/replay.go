package commitlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"

	"mbus/internal/vfs"
)

// A start writes what the journal holds into the segments, before each log is recovered. When all of it
// is synced the journal's files get other names, by which their frames are none any more. A crash
// before that leads to another replay, which writes the same.
//
// Frames of a log that can't be opened now stay in their file, which is kept: the topic may be on a disk
// that is not mounted.

// keptSuffix ends the name of a journal file that is kept.
const keptSuffix = ".kept"

// maxJournalFile is the size of the largest journal file that is read, in bytes.
const maxJournalFile = 1 << 30

// A replay is what the files of a journal hold.
type replay struct {
	dir    *dataDir
	files  []replayFile // by generation
	frames map[frameKey][]*storedFrame
	sound  bool // all files are there and could be read, and none is damaged or kept
	kept   bool // the start is over, and has kept a file

	missing bool // a file is missing
}

// A frameKey names a log.
type frameKey struct {
	topic  [16]byte
	number int32
}

// A replayFile is a file of the journal.
type replayFile struct {
	name    string
	named   journalName
	size    int64 // in bytes
	kept    bool  // by an earlier start
	unread  error
	content journalContent
}

// readJournal reads the journal. Without files there is nothing to replay, and with a format that says
// so only those that were kept count.
func (d *dataDir) readJournal() (*replay, error) { return d.readFrames(d.isJournalled()) }

// readFrames reads all files of the journal, or those that were kept.
func (d *dataDir) readFrames(all bool) (*replay, error) {
	r := &replay{dir: d, frames: make(map[frameKey][]*storedFrame)}
	entries, err := d.fs.ReadDir(d.path(journalDir))
	if err != nil {
		r.missing = all && isNotExist(err)
		return r, ignoreNotExist(err)
	}
	for _, e := range entries {
		text, kept := strings.CutSuffix(e.Name, keptSuffix)
		named, ok := parseJournalName(text)
		if !ok || e.Dir {
			if !isForeign(e.Name) {
				d.log.Warn("ignoring a file that is not the journal's: move it away", "file", d.path(journalDir, e.Name))
			}
			continue
		}
		if all || kept {
			r.files = append(r.files, replayFile{name: d.path(journalDir, e.Name), named: named, size: e.Size, kept: kept})
		}
	}
	slices.SortFunc(r.files, func(a, b replayFile) int { return strings.Compare(a.named.String(), b.named.String()) })
	for i := range r.files {
		if err := r.read(&r.files[i]); err != nil {
			return r, err
		}
	}
	if all {
		r.checkWhole()
	}
	r.collect()
	r.sound = !r.missing && !slices.ContainsFunc(r.files, func(f replayFile) bool { return f.kept || f.unread != nil || len(f.content.damage) > 0 })
	return r, nil
}

// checkWhole notes missing files, and missing parts of files. An empty file is a missing one. Both are there,
// and of one size, before the first frame is written (journalFiles.makeBoth), unless some are kept.
func (r *replay) checkWhole() {
	if slices.ContainsFunc(r.files, func(f replayFile) bool { return f.kept }) {
		return
	}
	there, size := 0, int64(0)
	for _, f := range r.files {
		if f.size > 0 {
			there++
		}
		size = max(size, f.size)
	}
	r.missing = there < 2
	for i := range r.files {
		if f := &r.files[i]; f.size < size {
			f.content.damage = append(f.content.damage, span{f.size, size})
		}
	}
}

// read reads a file. It fails only if no descriptor is free.
func (r *replay) read(file *replayFile) error {
	p, err := readJournalFile(r.dir, file.name, file.named.salt)
	if noFiles(err) {
		return err
	}
	file.unread, file.content = err, scanJournal(p, file.named.salt)
	return nil
}

// readJournalFile reads a file as far as it can have frames. Sectors that can't be read hold filling.
func readJournalFile(d *dataDir, name string, salt uint64) ([]byte, error) {
	l := &partition{settings: settings{fs: d.fs, log: d.log}, topic: journalDir}
	s := newSegment(l, 0)
	s.file.name = name
	r, err := s.reader()
	if err != nil {
		return nil, err
	}
	defer r.close()
	size, err := r.f.Size()
	if err == nil && size > maxJournalFile {
		err = fmt.Errorf("it has %d bytes, the limit is %d", size, int64(maxJournalFile))
	}
	if err != nil {
		return nil, err
	}
	end, err := journalEnd(r, size, salt)
	if err != nil {
		return nil, err
	}
	p := make([]byte, end)
	n, err := r.ReadAt(p, 0)
	return p[:n], ignoreEOF(err)
}

// journalEnd is the size in bytes of what a scan of a journal file looks at: the largest frame behind the
// last place that holds the salt, and the header behind that. Most of a file has no frames, and is not
// kept in memory.
func journalEnd(f io.ReaderAt, size int64, salt uint64) (int64, error) {
	last := int64(0)
	w := window{f: f, end: size, step: 256 << 10}
	for pos := int64(0); pos < size; pos += int64(w.step) {
		p, err := w.at(pos, w.step)
		if err != nil {
			return 0, err
		}
		for i := 0; i+8 <= len(p); i += frameAlign {
			if binary.BigEndian.Uint64(p[i:]) == salt {
				last = pos + int64(i)
			}
		}
	}
	return min(size, last+int64(frameSize(maxFrame))+2*roundAlign), nil
}

// collect sorts the frames by log. A file that was followed by another is complete; one that was kept may
// be of an earlier process.
func (r *replay) collect() {
	for i := range r.files {
		later := !r.files[i].kept && slices.ContainsFunc(r.files[i+1:], func(f replayFile) bool { return len(f.content.frames) > 0 })
		c := &r.files[i].content
		if later {
			c.proven()
		}
		if i+1 < len(r.files) && !r.files[i].kept {
			c.endsBefore(&r.files[i+1].content)
		}
		for k := range c.frames {
			f := &c.frames[k]
			if f.data == nil && f.round == c.lastRound() && len(c.torn) > 0 {
				continue // it proves nothing
			}
			f.proven = f.data != nil && (later || f.round < c.lastRound())
			key := frameKey{f.topic, f.partition}
			r.frames[key] = append(r.frames[key], f)
		}
	}
}

// of returns the frames of a log, in the order in which they were written.
func (r *replay) of(l *partition) (list []*storedFrame, err error) {
	if r != nil && r.kept {
		r, err = r.dir.readFrames(false)
	}
	if r == nil || err != nil {
		return nil, err
	}
	return r.frames[frameKey{l.id, int32(l.number)}], nil
}

// report logs what is wrong with the files. Offsets that are lost by it are found when the logs are
// recovered.
func (r *replay) report() {
	log := r.dir.log
	if r.missing {
		log.Error("a file of the journal is missing: messages that were acknowledged last are lost unless their segments hold them; look at the disk",
			"directory", r.dir.path(journalDir))
	}
	for _, f := range r.files {
		if f.unread != nil {
			log.Error("a file of the journal can't be read, and is kept: restart the broker when it can be read; messages in it that were acknowledged are missing until then",
				"file", strings.TrimSuffix(f.name, keptSuffix)+keptSuffix, "reason", f.unread)
		}
		for _, d := range f.content.damage {
			log.Error("the journal is damaged: messages that are lost by that are reported with their topic; look at the disk",
				"file", f.name, "position", d.from, "bytes", d.to-d.from)
		}
		if len(f.content.torn) > 0 {
			log.Warn("the last write to the journal is incomplete, as after a crash: its messages were acknowledged only if the disk has damaged it",
				"file", f.name, "position", f.content.torn[0].from)
		}
	}
}

// isWaiting says whether frames of a log have to stay in the journal.
type isWaiting func(frameKey) bool

// finish empties the journal after the replay, but for the files that stand for segments.
func (r *replay) finish(waits isWaiting, used bool, unsynced *standing) error {
	sound := r.sound
	r.sound = false // from now on
	needed := func(f replayFile) bool { return f.unread != nil || f.holds(waits) }
	if (r.missing || len(r.files) > 0 && !(used && sound)) && !slices.ContainsFunc(r.files, needed) {
		_ = r.dir.setFormat(false) // or each start after a crash says that files are missing
	}
	if len(r.files) == 0 {
		return nil
	}
	var errs []error
	generation := r.files[len(r.files)-1].named.generation
	for _, f := range r.files {
		generation++
		r.kept = r.kept || needed(f)
		if left, err := r.leave(f, needed(f), unsynced); left || err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, r.empty(f, needed(f), used, journalName{generation, rand.Uint64()}))
	}
	errs = append(errs, r.dir.fs.SyncDir(r.dir.path(journalDir)))
	if !r.kept && slices.ContainsFunc(r.files, func(f replayFile) bool { return f.kept }) {
		_ = r.dir.setFormat(false) // the other file may have been removed
	}
	r.files, r.frames = nil, nil
	return errors.Join(errs...)
}

// empty makes a file one without frames, called next. It keeps it if it is needed, and removes it if
// it is not used.
func (r *replay) empty(f replayFile, needed, used bool, next journalName) error {
	fs := r.dir.fs
	switch {
	case needed && f.kept:
		return nil
	case needed && f.unread != nil: // which has been reported
		return fs.Rename(f.name, f.name+keptSuffix)
	case needed:
		r.dir.log.Error("a file of the journal is kept, because it has messages of a topic or partition that can't be used: a start adds them when it can", "file", f.name+keptSuffix)
		return fs.Rename(f.name, f.name+keptSuffix)
	case used && !f.kept && fs.Rename(f.name, r.dir.path(journalDir, next.String())) == nil:
		return nil
	}
	return ignoreNotExist(fs.Remove(f.name))
}

// holds says whether a file has frames that have to stay.
func (f *replayFile) holds(waits isWaiting) bool {
	return slices.ContainsFunc(f.content.frames, func(f storedFrame) bool { return f.data != nil && waits(frameKey{f.topic, f.partition}) })
}

// waits returns which logs with frames are not open, but may be later. It reports topics that the
// store does not know.
func (s *Store) waits() isWaiting {
	open := make(map[[16]byte]*topic)
	for _, t := range s.registry.topics {
		open[t.ID] = t
	}
	known := make(map[[16]byte]bool)
	anonymous := false
	for _, u := range s.registry.unusable { // nobody else uses the store yet
		known[u.id] = true
		anonymous = anonymous || u.id == [16]byte{}
	}
	unknown := make(map[[16]byte]bool)
	return func(k frameKey) bool {
		if t := open[k.topic]; t != nil {
			return int(k.number) >= len(t.partitions) || len(t.partitions[k.number].appends.owed) > 0
		}
		if waits := known[k.topic] || anonymous && !s.catalog.isDeleted(k.topic); waits || unknown[k.topic] || s.catalog.isDeleted(k.topic) {
			return waits
		}
		unknown[k.topic] = true
		s.log.Warn("the journal has messages of a topic that does not exist: the data directory is an incomplete copy, or the topic was removed", "id", formatID(k.topic))
		return false
	}
}

// replayed empties the journal after all logs were recovered.
func (s *Store) replayed() error {
	return s.replay.finish(s.waits(), s.opts.JournalBytes > 0, s.standing())
}

// setFormat notes durably whether the journal may hold frames.
func (d *dataDir) setFormat(journalled bool) error {
	if !journalled && d.hasKept() {
		journalled = true
	}
	want := format
	if journalled {
		want = formatJournal
	}
	content, err := d.readFile(formatName)
	known := err == nil && knownFormat(content) == nil
	if known && strings.TrimSpace(string(content)) == want {
		return nil
	}
	err = vfs.WriteFile(d.fs, d.path(formatName), []byte(want))
	if known && isFull(err) { // or a start without the journal's files says that they are missing
		return d.overwrite(formatName, []byte(want+"\n"), true)
	}
	return err
}

// isJournalled says whether the journal may hold frames. If "format" is damaged, it may if it is there.
func (d *dataDir) isJournalled() bool {
	content, err := d.readFile(formatName)
	switch text := strings.TrimSpace(string(content)); {
	case err == nil && text == formatJournal:
		return true
	case err == nil && text == format:
		return false
	}
	return d.journalHas(func(vfs.Entry) bool { return true })
}

// hasKept says whether a journal file is kept.
func (d *dataDir) hasKept() bool {
	return d.journalHas(func(e vfs.Entry) bool { return filepath.Ext(e.Name) == keptSuffix })
}

// journalHas says whether the journal's directory has such a file.
func (d *dataDir) journalHas(is func(vfs.Entry) bool) bool {
	entries, err := d.fs.ReadDir(d.path(journalDir))
	return err == nil && slices.ContainsFunc(entries, is)
}
