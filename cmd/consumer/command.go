package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// killGrace is how long the processes of a command may take to end after SIGTERM.
const killGrace = 2 * time.Second

// A running is a line of shell that runs, with all that it has begun: a process group
// of its own, so that a terminal's ^C is for us, and what ends it is for all of them.
type running struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when the shell has ended; wait takes it away
}

// checkShell has the shell read a line, and run nothing of it. What it can't read is not
// the messages' fault.
func checkShell(line string) error {
	said, err := exec.Command("/bin/sh", "-n", "-c", line).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return nil // a shell that can't be run is found when there is a message
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(said)), "\n")
	return fmt.Errorf("the shell can't read %q: %s", line, first)
}

// execute runs a line of shell with the input, the environment, and a file on the
// descriptor 3. When this program is killed the shell is, too.
func execute(line string, input []byte, environment []string, third *os.File) (*running, error) {
	stdin, err := inputOf(input)
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, os.Stdout, os.Stderr
	cmd.Env, cmd.ExtraFiles = environment, []*os.File{third}
	cmd.SysProcAttr = ofCommand()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &running{cmd: cmd, ended: make(chan struct{})}
	go func() {
		defer close(c.ended)
		awaitEnd(cmd.Process.Pid)
	}()
	return c, nil
}

// inputOf is a file without a name that has the text. A command whose consumer is killed could
// not tell the end of a pipe that is cut off from the end of the message.
func inputOf(text []byte) (*os.File, error) {
	f, err := emptyInput()
	if err != nil {
		return nil, err
	}
	if _, err = f.Write(text); err == nil {
		_, err = f.Seek(0, 0)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// end asks the processes of the command to end, and kills those that do not within the
// grace.
func (c *running) end(grace time.Duration) {
	_ = c.signal(syscall.SIGTERM)
	select {
	case <-c.ended:
	case <-time.After(grace):
	}
	c.kill()
}

// kill ends all processes of the command at once.
func (c *running) kill() {
	_ = c.signal(syscall.SIGKILL)
	<-c.ended
}

// signal fails only where no process of the command is left.
func (c *running) signal(s syscall.Signal) error { return syscall.Kill(-c.cmd.Process.Pid, s) }

// wait says how the shell has ended. What it has left behind goes on.
func (c *running) wait() (*os.ProcessState, error) {
	<-c.ended
	err := c.cmd.Wait()
	if c.cmd.ProcessState == nil {
		return nil, err
	}
	return c.cmd.ProcessState, nil
}
