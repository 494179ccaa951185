package brokertest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Freeze stops the process with SIGSTOP and returns when none of its threads
// runs: each has stopped, or is within a system call that waits for the disk and
// will stop at its end.
func (p *Process) Freeze() error {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	deadline := time.Now().Add(patience)
	for {
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.Pid()))
		if err != nil {
			return err
		}
		if !anyRuns(stats) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d does not stop", p.Pid())
		}
		time.Sleep(50 * time.Microsecond)
	}
}

// anyRuns reads /proc/PID/task/TID/stat of each thread: its state is the field
// behind the name in parentheses, and S is a thread that has not noticed yet.
func anyRuns(stats []string) bool {
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		_, behind, _ := bytes.Cut(stat, []byte(") "))
		if len(behind) > 0 && !bytes.ContainsAny(behind[:1], "TtDZX") {
			return true
		}
	}
	return false
}

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.exited }

// Thaw undoes Freeze.
func (p *Process) Thaw() error { return p.cmd.Process.Signal(syscall.SIGCONT) }
