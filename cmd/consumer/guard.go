package main

import (
	"os"
	"os/exec"
	"syscall"
)

// watchman is a shell that reads the number of the process group that runs, or an empty
// line, and at the end of its input, which is that of this program, kills the last one.
const watchman = `g=; while read -r n; do g=$n; done; [ -z "$g" ] || kill -9 "-$g"`

// tells begins the line of a command: its shell tells the watchman of itself, on the
// descriptor 3, before it does anything else, so that no death of ours comes between.
const tells = "echo $$ >&3; exec 3>&-; "

// A guard kills the processes of a command when this program is killed: the system tells
// that to the shell that runs it only.
type guard struct{ notes *os.File }

func newGuard() (*guard, error) {
	stdin, notes, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	cmd := exec.Command("/bin/sh", "-c", watchman)
	cmd.Stdin = stdin
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ^C is not for it
	if err := cmd.Start(); err != nil {
		notes.Close()
		return nil, err
	}
	go func() { _ = cmd.Wait() }() // somebody may kill it: then lost says so
	return &guard{notes}, nil
}

// lost reports whether the guard has ended.
func (g *guard) lost() bool { return broken(int(g.notes.Fd())) }

// ended says that no command runs whose processes are to be killed: they may have left
// others behind that go on.
func (g *guard) ended() { _, _ = g.notes.WriteString("\n") }

func (g *guard) close() { g.notes.Close() }
