package main

import (
	"fmt"
	"io"
	"os/exec"
	"syscall"
)

// watchman is a shell that reads the number of the process group that runs, or an empty
// line, and at the end of its input, which is that of this program, kills the last one.
const watchman = `g=; while read -r n; do g=$n; done; [ -z "$g" ] || kill -9 "-$g"`

// A guard kills the processes of a command when this program is killed: the system tells
// that to the shell that runs it only.
type guard struct{ notes io.WriteCloser }

func newGuard() (*guard, error) {
	cmd := exec.Command("/bin/sh", "-c", watchman)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ^C is not for it
	notes, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &guard{notes}, nil
}

// begun says that the command runs. A guard that somebody has killed is done without.
func (g *guard) begun(c *running) { _, _ = fmt.Fprintln(g.notes, c.cmd.Process.Pid) }

// ended says that no command runs whose processes are to be killed: they may have left
// others behind that go on.
func (g *guard) ended() { _, _ = fmt.Fprintln(g.notes) }
