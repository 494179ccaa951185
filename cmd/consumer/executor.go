package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"mbus/internal/consumer"
)

const (
	// maxKey is the longest key given to a command, in bytes: Linux takes
	// environment variables of 128 KiB.
	maxKey = 120 << 10

	// inputWait is for a command that has ended and left another process behind
	// that keeps its standard input open but does not read it.
	inputWait = time.Second
)

// An executor runs a command for each message. Exit 0 acknowledges it.
type executor struct {
	command string          // a line of shell
	stop    context.Context // no further command is begun
	kill    context.Context // a command that runs is killed
}

// take runs the command and says what became of it. The command that is killed
// because we are, says nothing of its message, which is neither done nor failed.
func (e *executor) take(conn *consumer.Conn, n int64, m *message) error {
	if e.stop.Err() != nil {
		return consumer.ErrInterrupted
	}
	reason, err := e.run(m)
	switch {
	case err != nil:
		return fmt.Errorf("-exec: %w", err)
	case e.kill.Err() != nil && reason != "":
		return consumer.ErrInterrupted
	case reason == "":
		conn.Ack(n)
	default:
		say("partition %d, offset %d: %s", m.partition, m.Offset, reason)
		conn.Fail(n, reason)
	}
	return nil
}

// run returns why the command failed for the message, "" if it did not. An error
// says that commands can't be run.
func (e *executor) run(m *message) (reason string, err error) {
	if len(m.Key) > maxKey || bytes.IndexByte(m.Key, 0) >= 0 {
		return "the key can't be an environment variable", nil
	}
	cmd := exec.CommandContext(e.kill, "/bin/sh", "-c", e.command)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(m.Value), os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), environment(m)...)
	// A group of its own: a terminal's ^C is for us, and what a second one ends
	// is all that the shell has begun.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = inputWait
	err = cmd.Run()
	if cmd.ProcessState == nil {
		return "", err
	}
	if cmd.ProcessState.Success() {
		return "", unlessLeftBehind(err)
	}
	return cmd.ProcessState.String(), nil
}

// unlessLeftBehind drops what Run says of a command that succeeded and left
// somebody behind.
func unlessLeftBehind(err error) error {
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	return err
}

func environment(m *message) []string {
	return []string{
		"MBUS_TOPIC=" + m.topic,
		"MBUS_PARTITION=" + strconv.Itoa(m.partition),
		"MBUS_OFFSET=" + strconv.FormatInt(m.Offset, 10),
		"MBUS_KEY=" + string(m.Key),
		"MBUS_TIMESTAMP=" + strconv.FormatInt(m.Timestamp, 10),
	}
}

// idle and settle have nothing to do: take has acknowledged every message.
func (*executor) idle(*consumer.Conn, int64) error   { return nil }
func (*executor) settle(*consumer.Conn, int64) error { return nil }
