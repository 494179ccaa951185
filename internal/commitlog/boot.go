package commitlog

import (
	"errors"
	"fmt"
	"strings"
)

// The file "boot" names the boot of the system in which a store was opened last, and how that
// process synced and ended. A process that dies may leave in the page cache what is not on
// the disk, or can no longer be written there, and the next process reads it all the same.
// After another boot, everything that is read has come from the disk.

const bootName = "boot"

// Words behind the boot id in the file.
const (
	bootInterval = " interval" // logs were synced some time after the acknowledgement
	bootClosed   = " closed"
)

// bootSize is the size of the file, padded with spaces, so that each text replaces the one
// before completely.
const bootSize = 64

// A booted file system knows the boot id of the system that caches it: no other boot has the
// same. It is empty where the file system has none.
type booted interface{ Boot() string }

// A bootFile is the file "boot", and what it said of the process before.
type bootFile struct {
	dir       *dataDir
	interval  bool   // logs are synced at intervals
	written   string // what the file holds, without LF; empty if there is none
	uncertain bool   // what is read may not be on the disk
	late      bool   // the power went while logs were synced at intervals
}

func (d *dataDir) boot() string {
	if b, ok := d.fs.(booted); ok {
		return b.Boot()
	}
	return ""
}

// read sets uncertain and late, and returns what the file holds without bootClosed.
func (b *bootFile) read() (last string) {
	id := b.dir.boot()
	content, err := b.dir.readFile(bootName)
	last, closed := strings.CutSuffix(strings.TrimSpace(string(content)), bootClosed)
	was, interval := strings.CutSuffix(last, bootInterval)
	b.uncertain = err != nil || id == "" || was == id && !closed
	b.late = !b.uncertain && interval
	return last
}

// enter writes this boot for the next process, with the way of syncing of the process before:
// that is how the logs were written.
func (b *bootFile) enter() error {
	last := b.read()
	id := b.dir.boot()
	if strings.HasSuffix(last, bootInterval) {
		id += bootInterval
	}
	return b.write(id, last != id)
}

// stay writes how logs are synced from now on.
func (b *bootFile) stay() error {
	return b.write(b.now(), strings.HasSuffix(b.written, bootInterval) != b.interval)
}

// now is the text while this process runs.
func (b *bootFile) now() string {
	if b.interval {
		return b.dir.boot() + bootInterval
	}
	return b.dir.boot()
}

// leave writes that the store was closed with everything on the disk. If that fails, the next
// process is uncertain.
func (b *bootFile) leave() { _ = b.write(b.now()+bootClosed, false) }

// write replaces the content of the file. Without a boot id, or without space, it removes the
// file: then the next process is uncertain.
func (b *bootFile) write(text string, durably bool) error {
	if text == b.written {
		return nil
	}
	err := errors.ErrUnsupported
	if b.dir.boot() != "" {
		err = b.dir.overwrite(bootName, fmt.Appendf(nil, "%-*s\n", bootSize-1, text), durably)
	}
	if err == nil {
		b.written = text
		return nil
	}
	b.written = ""
	if err := b.dir.fs.Remove(b.dir.path(bootName)); err != nil && !isNotExist(err) {
		return err
	}
	return nil
}
