package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"mbus/internal/client"
	"mbus/internal/units"
)

const (
	// ackTimeout is how long the broker waits for a word of a consumer with -exec that
	// has hung, or whose machine is gone; working is how often it says that its command
	// runs.
	ackTimeout = 30 * time.Second
	working    = 10 * time.Second
)

// Exit codes of a shell that can't run a command.
const (
	cannotRun = 126
	notFound  = 127
)

// An executor runs a command for each message. Exit 0 acknowledges it.
type executor struct {
	line    string          // of shell
	group   string          // that it consumes for
	limit   time.Duration   // of a command; 0 is none
	grace   time.Duration   // that a command has to end by itself after stop
	retries retries         // of messages that failed
	stop    context.Context // no further command is begun
	kill    context.Context // a command that runs is killed
	guard   *guard
	failed  int64 // messages
}

// errFailed says that some messages failed.
var errFailed = errors.New("some messages failed")

// A givenBack is an error after which the message that was being dealt with is given
// back: it is neither done nor failed.
type givenBack struct{ error }

func (g givenBack) Unwrap() error { return g.error }

func newExecutor(opts options, stop, kill context.Context) (*executor, error) {
	g, err := newGuard()
	if err != nil {
		return nil, fmt.Errorf("-exec: %w", err)
	}
	return &executor{
		line: opts.command, group: opts.request.Group, limit: opts.limit, grace: opts.grace,
		retries: opts.retries, stop: stop, kill: kill, guard: g,
	}, nil
}

// outcome is what the program ends with after err. A follower that ends by a signal
// does not report failed messages: they come again, or are dead letters.
func (e *executor) outcome(err error, follow bool) error {
	if err == nil && e.failed > 0 && (!follow || e.stop.Err() == nil) {
		return errFailed
	}
	return err
}

// take runs the command and says what became of it. The command that is ended because
// we are, says nothing of its message, which is neither done nor failed.
func (e *executor) take(conn *client.Consumer, n int64, m *received) error {
	if e.stop.Err() != nil {
		return client.ErrInterrupted
	}
	c, err := e.begin(m)
	if err != nil {
		return givenBack{fmt.Errorf("-exec: %w", err)}
	}
	late, ended := e.await(c, conn)
	e.guard.ended() // before another group can have the number
	state, err := c.wait()
	switch {
	case err != nil:
		return givenBack{fmt.Errorf("-exec: %w", err)}
	case state.Success() && !late:
		conn.Ack(n)
		return nil
	case ended:
		return client.ErrInterrupted
	case late:
		return e.fail(conn, n, m, fmt.Sprintf("no end within %s", units.FormatDuration(e.limit)))
	case state.ExitCode() == cannotRun, state.ExitCode() == notFound:
		return givenBack{fmt.Errorf("-exec: the shell can't run %q: %v; %s is given back", e.line, state, m.place())}
	case readerLeft():
		return givenBack{errReaderLeft}
	}
	return e.fail(conn, n, m, state.String())
}

// begin runs the command for the message, with a guard beside it.
func (e *executor) begin(m *received) (c *running, err error) {
	if e.guard.lost() {
		e.guard.close()
		if e.guard, err = newGuard(); err != nil {
			return nil, err
		}
	}
	return execute(tells+e.line, m.Value, environment(m, e.group), e.guard.notes)
}

// await waits for the command to end, and ends it when it is late, or when we are to end.
func (e *executor) await(c *running, conn *client.Consumer) (late, ended bool) {
	word := time.NewTicker(working)
	defer word.Stop()
	limit, stopped := after(e.limit), (<-chan time.Time)(nil)
	stop := e.stop.Done()
	for {
		select {
		case <-c.ended:
			return false, false
		case <-word.C:
			conn.Working()
		case <-limit:
			c.end(killGrace)
			return true, false
		case <-stop:
			stop, stopped = nil, time.After(e.grace)
		case <-stopped:
			c.end(killGrace)
			return false, true
		case <-e.kill.Done():
			c.kill()
			return false, true
		}
	}
}

// after is time.After, and for 0 never.
func after(d time.Duration) <-chan time.Time {
	if d == 0 {
		return nil
	}
	return time.After(d)
}

// fail says that the message has failed, to the broker and to people.
func (e *executor) fail(conn *client.Consumer, n int64, m *received, reason string) error {
	e.failed++
	say("%s, attempt %d: %s; %s", m.place(), m.attempt, reason, e.retries.next(m))
	conn.Fail(n, reason)
	return nil
}

// readerLeft reports whether what a command writes can't be read by anybody any more,
// which is why it may have failed.
func readerLeft() bool {
	return broken(unix.Stdout) || broken(unix.Stderr)
}

// idle and settle have nothing to do: take has acknowledged every message.
func (*executor) idle(*client.Consumer, int64) error   { return nil }
func (*executor) settle(*client.Consumer, int64) error { return nil }
