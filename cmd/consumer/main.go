// Command consumer prints the messages of a topic of an mbus broker, gives them
// to a command, or writes them to a file. It acknowledges only what it has
// written out. Without -follow and -exec the connection is set to be reset until
// then, whatever ends the program, and the messages come again; with them it
// sends acknowledgements, and what was not acknowledged comes again.
//
// SIGINT and SIGTERM end a program that only drains as they end any other. With
// -follow, -exec and -out it first acknowledges what it has done. SIGPIPE, which
// the Go runtime raises for standard output like the C library's tools have it,
// always ends it: `consumer | head -1` ends without a word, a shell sees 141, and
// what was not written is not consumed.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"mbus/internal/consumer"
	"mbus/internal/flags"
	"mbus/internal/record"
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
	if opts.command == "" && opts.file == "" {
		if err := flags.CheckOutput(os.Stdout); err != nil {
			return fail(err)
		}
	}
	if r := opts.request; r.Attempts != "" && r.Attempts != "0" && strings.HasSuffix(r.Topic, record.DeadLetters) {
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
	done, err := consumer.Redrive(opts.addr, opts.request.Topic, opts.request.Group, opts.to)
	for _, why := range done.Stay {
		say("%s", why)
	}
	if err != nil {
		return fail(fmt.Errorf("%d messages moved: %w", done.Moved, err))
	}
	say("%d messages moved", done.Moved)
	if len(done.Stay) > 0 {
		return exitError
	}
	return 0
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
		e := newExecutor(opts, stop, kill)
		s.sink = e
		err = e.outcome(s.run(stop), opts.request.Follow)
	case opts.file != "":
		f, err := openFile(opts.file, s.topic, opts.format)
		if err != nil {
			return 0, err
		}
		defer f.close()
		s.sink, s.next = f, f.next
		return s.total, s.run(stop)
	default:
		s.sink = &output{w: os.Stdout, format: opts.format}
		err = s.run(stop)
	}
	return s.total, err
}
