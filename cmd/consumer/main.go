// Command consumer prints the messages of a topic of an mbus broker, gives them
// to a command, or writes them to a file. It acknowledges only what it has
// written out. Without -follow and -exec the connection is set to be reset until
// then, whatever ends the program, and the messages come again; with them it
// sends acknowledgements, and what was not acknowledged comes again.
//
// SIGINT and SIGTERM end a program that only drains as they end any other. With
// -follow, -exec and -out it first acknowledges what it has done. A pipe without a
// reader ends it as SIGPIPE does: `consumer | head -1` ends without a word, a shell sees
// 141, and what the reader has not taken is not consumed, of a drain nothing.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"mbus/internal/client"
	"mbus/internal/flags"
	"mbus/internal/message"
)

// Exit codes other than those of the flags.
const (
	exitError  = 1
	exitEmpty  = 3
	exitFailed = 4
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	opts, code, ok := parse(args)
	if !ok {
		return code
	}
	if opts.redrive {
		return redrive(opts)
	}
	if r := opts.request; r.Attempts != "" && r.Attempts != "0" && strings.HasSuffix(r.Topic, message.DeadLetters) {
		say("-attempts has no effect: what fails in a topic of dead letters is tried without end")
	}
	taken, err := consume(opts)
	switch {
	case errors.Is(err, errReaderLeft):
		endOfPipe()
		return fail(err)
	case errors.Is(err, errFailed):
		return exitFailed // each has been said
	case err != nil:
		return fail(err)
	case taken == 0 && opts.failEmpty:
		return exitEmpty
	}
	return 0
}

func fail(err error) int {
	say("%v", err)
	return exitError
}

// say writes a line for people.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "consumer: "+format+"\n", args...)
}

func redrive(opts options) int {
	done, err := client.Redrive(opts.broker, opts.request.Topic, opts.request.Group, opts.to, opts.timeout)
	for _, why := range done.Stay {
		say("%s", why)
	}
	if err != nil {
		return fail(fmt.Errorf("%s: %w", moved(done.Moved), err))
	}
	say("%s", moved(done.Moved))
	if len(done.Stay) > 0 {
		return exitError
	}
	if done.Moved == 0 { // a hint: where the broker can't be asked, there is none
		if _, exists, err := client.Look(opts.broker, opts.request.Topic, opts.timeout); err == nil && !exists {
			say("topic %q does not exist", opts.request.Topic)
		}
	}
	return 0
}

// moved says how many messages a redrive has moved.
func moved(n int64) string {
	if n == 1 {
		return "1 message moved"
	}
	return fmt.Sprintf("%d messages moved", n)
}

// consume brings the messages to where the options say, and returns how many
// there were.
func consume(opts options) (taken int64, err error) {
	stop, kill := context.Background(), context.Background()
	if opts.request.Follow || opts.command != "" || opts.file != "" {
		stop, kill = signals(opts.command != "")
	}
	s := newSession(opts)
	switch {
	case opts.command != "":
		err = s.execute(stop, kill)
	case opts.file != "":
		err = s.fill(stop)
	default:
		err = s.print(stop)
	}
	return s.total, err
}

// execute runs the command for each message.
func (s *session) execute(stop, kill context.Context) error {
	e, err := newExecutor(s.opts, stop, kill)
	if err != nil {
		return err
	}
	s.sink = e
	return e.outcome(s.run(stop), s.opts.request.Follow)
}

// fill writes the messages to the file.
func (s *session) fill(stop context.Context) error {
	f, err := openFile(s.opts.file, s.topic, s.opts.format)
	if err != nil {
		return err
	}
	defer f.close()
	s.sink, s.next = f, f.next
	return s.run(stop)
}

// print prints the messages.
func (s *session) print(stop context.Context) error {
	if s.opts.prints {
		if err := flags.CheckOutput(os.Stdout); err != nil {
			return err
		}
	}
	if s.opts.looks && flags.Terminal(unix.Stderr) {
		say("dead letters are shown and not consumed; -redrive moves them back, -group GROUP consumes them")
	}
	o := &output{w: os.Stdout, format: s.opts.format, stop: stop}
	if s.opts.request.Group != "" { // else nothing is consumed
		o.pipe = outputPipe(s.opts.request.Follow)
	}
	s.sink = o
	err := s.run(stop)
	if err == nil && o.pipe.left() {
		err = errReaderLeft
	}
	return err
}
