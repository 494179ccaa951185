package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ThreadTime is what all living threads of a process have spent on a processor,
// in nanoseconds' precision.
func ThreadTime(pid int) (time.Duration, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(threads) == 0 {
		return 0, fmt.Errorf("no processor times of process %d", pid)
	}
	var sum time.Duration
	for _, name := range threads {
		text, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			continue // the thread has ended meanwhile
		}
		if err != nil {
			return 0, err
		}
		first, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

// tick is the unit of times in /proc/PID/stat: USER_HZ, 100 on Linux.
const tick = 10 * time.Millisecond

// ProcessorTime is what the processes have spent on a processor, in the kernel
// and outside of it, with threads that have ended; to a hundredth of a second
// each. The first must be there.
func ProcessorTime(pids []int) (time.Duration, error) {
	var sum time.Duration
	for i, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if i > 0 && errors.Is(err, fs.ErrNotExist) {
			continue // a helper that is gone
		}
		if err != nil {
			return 0, err
		}
		// The name of the program, in parentheses, may have anything in it. After
		// it utime and stime are the fields 12 and 13.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) < 13 {
			return 0, fmt.Errorf("unexpected stat of process %d", pid)
		}
		user, err1 := strconv.ParseInt(fields[11], 10, 64)
		system, err2 := strconv.ParseInt(fields[12], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return 0, err
		}
		sum += time.Duration(user+system) * tick
	}
	return sum, nil
}

// Family is a process and those that it and they have started.
func Family(pid int) []int {
	family := []int{pid}
	for i := 0; i < len(family); i++ {
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", family[i]))
		for _, name := range lists {
			text, _ := os.ReadFile(name) // a thread that has ended has none
			for _, word := range strings.Fields(string(text)) {
				if child, err := strconv.Atoi(word); err == nil {
					family = append(family, child)
				}
			}
		}
	}
	return family
}

// Memory is a process's resident memory in megabytes: now ("VmRSS") or at its
// highest ("VmHWM").
func Memory(pid int, which string) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) >= 2 && words[0] == which+":" {
			kib, err := strconv.ParseFloat(words[1], 64)
			return kib * 1024 / 1e6, err
		}
	}
	return 0, fmt.Errorf("process %d has no %s", pid, which)
}
