package tcpserver

import (
	"os"
	"syscall"
)

// A stamp tells one state of a file from another, as far as the system does without reading it.
type stamp struct {
	inode          uint64
	size, modified int64 // nanoseconds since 1970
}

// look gives the stamp of each file; that of one that can't be found is zero.
func (c *Certificates) look() []stamp {
	var all []stamp
	for _, name := range c.files.names() {
		var s stamp
		if info, err := os.Stat(name); err == nil {
			s.size, s.modified = info.Size(), info.ModTime().UnixNano()
			if system, ok := info.Sys().(*syscall.Stat_t); ok {
				s.inode = system.Ino
			}
		}
		all = append(all, s)
	}
	return all
}
