// Package machine measures what a broker runs on: disk, loopback, processor
// time and memory of processes. Linux only.
package machine

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"mbus/bench/measure"
)

// DiskRate writes a file under dir in pieces of 1 MiB with fdatasync after
// each, and gives bytes a second.
func DiskRate(dir string, total int) (float64, error) {
	piece := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	times, err := writeAndSync(dir, piece, total/len(piece))
	return float64(len(piece)) / measure.Mean(times).Seconds(), err
}

// SyncTimes are the times, ascending, that it takes to write a record of so many
// bytes and sync it.
func SyncTimes(dir string, size, pairs int) ([]time.Duration, error) {
	times, err := writeAndSync(dir, make([]byte, size), pairs)
	slices.Sort(times)
	return times, err
}

func writeAndSync(dir string, piece []byte, pairs int) ([]time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "machine"))
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	times := make([]time.Duration, 0, pairs)
	for range pairs {
		begun := time.Now()
		if _, err := f.Write(piece); err != nil {
			return nil, err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return nil, err
		}
		times = append(times, time.Since(begun))
	}
	return times, nil
}

// Describe names the processor, the number of cores and the kernel.
func Describe() string {
	info, _ := os.ReadFile("/proc/cpuinfo") // for people; empty where there is none
	model, cores := "unknown processor", 0
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
			cores++
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%s, %d cores, Linux %s", model, cores, strings.TrimSpace(string(kernel)))
}

// Busy is the load average from which on figures are worth little.
const Busy = 2

// Load is the average number of tasks that ran or waited in the last minute; 0
// where it is not known.
func Load() float64 {
	text, _ := os.ReadFile("/proc/loadavg")
	var load float64
	_, _ = fmt.Sscan(string(text), &load)
	return load
}
