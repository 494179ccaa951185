package commitlog

import (
	"errors"
	"fmt"
	"strings"
)

// The file "boot" says in which boot of the system a store was opened last, and how that
// process has synced and ended. One that dies may leave in the system's memory what is not
// on the disk, or can't be written there any more, and the next one reads it all the same.
// After another boot what is read has come from the disk.

const bootName = "boot"

// Words behind the boot in its file.
const (
	bootInterval = " interval" // logs were synced some time after the answers
	bootClosed   = " closed"
)

// bootSize is the size of the file, filled up with spaces, so that each text replaces the
// one before as a whole.
const bootSize = 64

// A booted file system knows the boot of the system that has it in its memory: a text
// that no other boot has, empty if it can't tell.
type booted interface{ Boot() string }

func (s *Store) boot() string {
	if b, ok := s.fs.(booted); ok {
		return b.Boot()
	}
	return ""
}

// readBoot finds out how the process before has ended: whether what is read may not be on
// the disk (doubt), or else whether the power has gone while logs were synced at intervals
// (late). It returns what the file holds without its end.
func (s *Store) readBoot() (last string) {
	id := s.boot()
	content, err := s.readFile(bootName)
	last, closed := strings.CutSuffix(strings.TrimSpace(string(content)), bootClosed)
	was, interval := strings.CutSuffix(last, bootInterval)
	s.doubt = err != nil || id == "" || was == id && !closed
	s.late = !s.doubt && interval
	return last
}

// enterBoot notes this boot for the next process, and that what is there was synced as
// before.
func (s *Store) enterBoot() error {
	last := s.readBoot()
	id := s.boot()
	if strings.HasSuffix(last, bootInterval) {
		id += bootInterval
	}
	return s.noteBoot(id, last != id)
}

// stayInBoot notes how logs are synced from now on.
func (s *Store) stayInBoot() error {
	return s.noteBoot(s.bootNow(), strings.HasSuffix(s.noted, bootInterval) != (s.opts.SyncEvery > 0))
}

func (s *Store) bootNow() string {
	if s.opts.SyncEvery > 0 {
		return s.boot() + bootInterval
	}
	return s.boot()
}

// leaveBoot is for a store that is closed and has everything on the disk.
func (s *Store) leaveBoot() { _ = s.noteBoot(s.bootNow()+bootClosed, false) } // else the next process doubts

// noteBoot has the file hold a text, durably if it has to last. Where there is no boot to
// go by, or no space, there is no file: then the next process doubts.
func (s *Store) noteBoot(text string, lasts bool) error {
	if text == s.noted {
		return nil
	}
	err := errors.ErrUnsupported
	if s.boot() != "" {
		err = s.overwrite(bootName, fmt.Appendf(nil, "%-*s\n", bootSize-1, text), lasts)
	}
	if err == nil {
		s.noted = text
		return nil
	}
	s.noted = ""
	if err := s.fs.Remove(s.path(bootName)); err != nil && !isNotExist(err) {
		return err
	}
	return nil
}

// overwrite writes over a small file of as many bytes, which takes no space.
func (s *Store) overwrite(name string, content []byte, lasts bool) error {
	f, err := s.fs.Open(s.path(name))
	if isNotExist(err) {
		f, err = s.fs.Create(s.path(name))
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(content, 0); err != nil || !lasts {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return s.fs.SyncDir(s.dir)
}
