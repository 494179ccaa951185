package commitlog

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"mbus/internal/store"
	"mbus/internal/vfs"
)

// The catalog lists the topics that exist and those that were deleted, to tell a topic whose
// directory is missing from a deleted one. It is a text file. Each change appends a line and syncs
// it:
//
//	CRC made "NAME" TOPIC.JSON    the topic was created, altered, or found again
//	CRC deleted ID                it was deleted
//	CRC epochs N                  all leader epochs so far are below N
//
// CRC is the checksum of the rest of the line, in hexadecimal. The last line of an id counts. Empty
// lines mean nothing: some are allocated behind the end, so that a topic can be deleted while the
// disk is full. A damaged line does not affect others.
const catalogName = "catalog"

const (
	// catalogAhead is the number of bytes that are allocated behind the last line, at least.
	catalogAhead = 16 << 10

	// maxTombstones is the number of deleted topics that are kept, the latest ones. A tombstone
	// is needed until the positions in its topic are deleted: at once, or at the next start.
	maxTombstones = 10_000

	// catalogSlack is the number of obsolete lines that are not worth rewriting the catalog.
	catalogSlack = 100
)

// A catalog is the file of that name, and its content.
type catalog struct {
	dir    *dataDir
	name   string
	writes groupSync

	mu      sync.Mutex // guards what follows
	made    map[string]store.Topic
	names   map[[16]byte]string // in made, by id
	deleted map[[16]byte]bool
	graves  [][16]byte // ids of deleted topics, in the order of the lines; some are not in deleted any more
	epochs  int32
	waiting []catalogLine // lines to be written
	lines   int           // in the file
	end     int64         // of the last line, in bytes
	size    int64         // of the file, in bytes
	stale   bool          // the file differs, and has to be rewritten
}

// A catalogLine is a change: a topic exists, or was deleted.
type catalogLine struct {
	topic   store.Topic
	deleted bool // the topic has only an id
}

func newCatalog(d *dataDir) *catalog {
	return &catalog{
		dir: d, name: d.path(catalogName), made: make(map[string]store.Topic), names: make(map[[16]byte]string),
		deleted: make(map[[16]byte]bool),
	}
}

// A badLine is a line of the catalog that is not what was written.
type badLine struct {
	number int // from 1
	pos    int64
	torn   bool // no intact line follows: the write may have been cut short
}

// load reads the file. It reports false if there is none.
func (c *catalog) load() (exists bool, bad []badLine, err error) {
	content, err := readAround(c.dir.fs, c.name)
	if isNotExist(err) {
		c.stale = true
		return false, nil, nil
	}
	if err != nil {
		return false, nil, err
	}
	c.size = int64(len(content))
	pos := 0
	for number := 1; pos < len(content); number++ {
		text, _, _ := bytes.Cut(content[pos:], []byte("\n"))
		line := bytes.Trim(text, "\x00 \r")
		switch {
		case len(line) == 0:
		case c.parse(string(line)):
			c.lines++
			c.end = int64(pos + len(text) + 1)
			for i := range bad {
				bad[i].torn = false
			}
		default:
			bad = append(bad, badLine{number, int64(pos), true})
		}
		pos += len(text) + 1
	}
	c.stale = len(bad) > 0 || c.end > c.size
	return true, bad, nil
}

// isWasteful says whether more than half of the lines, and catalogSlack, are obsolete.
func (c *catalog) isWasteful() bool {
	return c.lines > 2*(len(c.made)+min(len(c.deleted), maxTombstones))+catalogSlack
}

// readAround reads a whole file. Sectors that can't be read are zeros but for one byte.
func readAround(fs vfs.FS, name string) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	p := make([]byte, size)
	if n, err := f.ReadAt(p, 0); err == nil || errors.Is(err, io.EOF) {
		return p[:n], nil
	}
	clear(p)
	for at := 0; at < len(p); at += 512 {
		sector := p[at:min(at+512, len(p))]
		if _, err := f.ReadAt(sector, int64(at)); ignoreEOF(err) != nil {
			clear(sector)
			sector[0] = '?' // the line must not look empty
		}
	}
	return p, nil
}

// parse applies a line of the file. It returns false if the line is not what was written.
func (c *catalog) parse(line string) bool {
	sum, rest, _ := strings.Cut(line, " ")
	if sum != checksum(rest) {
		return false
	}
	kind, rest, _ := strings.Cut(rest, " ")
	switch kind {
	case "made":
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return false
		}
		name, err := strconv.Unquote(quoted)
		if err != nil {
			return false
		}
		t, ok := decodeTopic(name, strings.TrimPrefix(rest[len(quoted):], " "))
		if ok {
			c.apply(catalogLine{topic: t})
		}
		return ok
	case "deleted":
		id, ok := parseID(rest)
		if ok {
			c.apply(catalogLine{store.Topic{ID: id}, true})
		}
		return ok
	case "epochs":
		n, err := strconv.ParseInt(rest, 10, 32)
		c.epochs = max(c.epochs, int32(n))
		return err == nil
	}
	return true // of a later version
}

func checksum(text string) string { return hexSum([]byte(text)) }

// parseID reads the result of formatID.
func parseID(s string) (id [16]byte, ok bool) {
	p, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	copy(id[:], p)
	return id, err == nil && formatID(id) == s
}

// apply applies a change in memory. The caller holds mu, or is the only one.
func (c *catalog) apply(l catalogLine) {
	id := l.topic.ID
	if l.deleted {
		delete(c.made, c.names[id])
		delete(c.names, id)
		if !c.deleted[id] {
			c.deleted[id] = true
			c.graves = append(c.graves, id)
		}
		return
	}
	delete(c.deleted, id)
	if before, ok := c.made[l.topic.Name]; ok {
		delete(c.names, before.ID)
	}
	c.made[l.topic.Name], c.names[id] = l.topic, l.topic.Name
	c.epochs = max(c.epochs, epochsEnd(l.topic))
}

// text is the line in the file, with its LF.
func (l catalogLine) text() (string, error) {
	rest := "deleted " + formatID(l.topic.ID)
	if !l.deleted {
		content, err := encodeTopic(l.topic)
		if err != nil {
			return "", err
		}
		rest = fmt.Sprintf("made %q %s", l.topic.Name, content)
	}
	return checksum(rest) + " " + rest + "\n", nil
}

// know compares the catalog with a topic's directory, which counts, at the start. It returns whether
// the catalog did not have the topic, and whether it had it as deleted.
func (c *catalog) know(t store.Topic) (unknown, deleted bool) {
	before, ok := c.made[t.Name]
	unknown, deleted = !ok || before.ID != t.ID, c.deleted[t.ID]
	if !before.Equal(&t) {
		c.apply(catalogLine{topic: t})
		c.stale = true
	}
	return unknown, deleted
}

// topic returns the topic of a name.
func (c *catalog) topic(name string) (store.Topic, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.made[name]
	return t, ok
}

// isDeleted says whether there is a tombstone for an id.
func (c *catalog) isDeleted(id [16]byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deleted[id]
}

// put writes durably that a topic exists, as t.
func (c *catalog) put(t store.Topic) error { return c.add(catalogLine{topic: t}) }

// bury writes durably that a topic was deleted.
func (c *catalog) bury(id [16]byte) error { return c.add(catalogLine{store.Topic{ID: id}, true}) }

// restore takes a deletion back. If that can't be written now, it holds in memory, and is written
// with the next change, or found at the next start.
func (c *catalog) restore(t store.Topic) error {
	err := c.put(t)
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.apply(catalogLine{topic: t})
		c.stale = true
	}
	return err
}

// add writes a line durably, with lines that others add at the same time, and applies it. After an
// error it is not applied, but the file may have it until it is rewritten.
func (c *catalog) add(l catalogLine) error {
	c.mu.Lock()
	c.waiting = append(c.waiting, l)
	c.mu.Unlock()
	return c.writes.do(c.flush)
}

// flush writes the lines in waiting. One runs at a time.
func (c *catalog) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock() // readers come at the start only
	lines := c.waiting
	c.waiting = nil
	err := c.append(lines)
	if err == nil {
		for _, l := range lines {
			c.apply(l)
		}
		return nil
	}
	if !noFiles(err) {
		c.stale = true
		_ = c.rewrite() // without the lines; else the next change does it
	}
	return err
}

// append writes lines behind the last one and syncs them. The caller holds mu.
func (c *catalog) append(lines []catalogLine) error {
	if c.stale || c.isWasteful() {
		if err := c.rewrite(); err != nil && (c.stale || !isFull(err)) {
			return err
		}
	}
	var p []byte
	for _, l := range lines {
		text, err := l.text()
		if err != nil {
			return err
		}
		p = append(p, text...)
	}
	n := int64(len(p))
	if c.end+n > c.size {
		p = append(p, bytes.Repeat([]byte("\n"), catalogAhead)...)
	}
	f, err := c.dir.fs.Open(c.name)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(p, c.end); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	c.size = max(c.size, c.end+int64(len(p)))
	c.end += n
	c.lines += len(lines)
	return nil
}

// rewrite replaces the file by one without obsolete lines. The caller holds mu, or is the only
// one.
func (c *catalog) rewrite() error {
	c.graves = slices.DeleteFunc(c.graves, func(id [16]byte) bool { return !c.deleted[id] })
	for len(c.graves) > maxTombstones {
		delete(c.deleted, c.graves[0])
		c.graves = c.graves[1:]
	}
	rest := fmt.Sprintf("epochs %d", c.epochs)
	content := checksum(rest) + " " + rest + "\n"
	lines := make([]catalogLine, 0, len(c.graves)+len(c.made))
	for _, id := range c.graves {
		lines = append(lines, catalogLine{store.Topic{ID: id}, true})
	}
	for _, name := range slices.Sorted(maps.Keys(c.made)) {
		lines = append(lines, catalogLine{topic: c.made[name]})
	}
	var b strings.Builder
	b.WriteString(content)
	for _, l := range lines {
		text, err := l.text()
		if err != nil {
			return err
		}
		b.WriteString(text)
	}
	end := int64(b.Len())
	b.WriteString(strings.Repeat("\n", catalogAhead))
	if err := vfs.WriteFile(c.dir.fs, c.name, []byte(b.String())); err != nil {
		return err
	}
	c.end, c.size, c.lines, c.stale = end, int64(b.Len())+1, len(lines)+1, false
	return nil
}

// report logs the damaged lines.
func (c *catalog) report(log *slog.Logger, bad []badLine) {
	for _, b := range bad {
		if b.torn {
			log.Warn("the last line of the catalog of topics is incomplete, as after a crash: it is ignored", "file", c.name, "line", b.number)
		} else {
			log.Error("a line of the catalog of topics is damaged: a topic without a directory may be forgotten",
				"file", c.name, "line", b.number)
		}
	}
}
