package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"mbus/internal/client"
	"mbus/internal/flags"
	"mbus/internal/message"
)

const usage = `
Usage: consumer -topic TOPIC [flags]

Prints the messages of a topic that its group has not consumed yet, up to the
end of the topic, or with -follow all that come until ^C. They count as consumed
when they have been printed; if anything goes wrong before, they come again.
Groups are independent of each other; consumers of one group share its messages.

  consumer -topic orders
  consumer -topic orders -group billing -n 10 -f '%o %k=%s\n'
  consumer -topic orders -group billing -follow
  consumer -topic orders -group mail -follow -exec ./send-mail
  consumer -topic orders -from 2h
  consumer -topic orders -follow -json -out orders.json
  consumer -topic orders.dlq -redrive

A message is printed as "2024/06/10 11:00:01 [orders] first order", where the
time is that of the machine's time zone (TZ), or as -f says:

  %s payload   %S its length in bytes, -1 for null   %t topic
  %k key       %K its length in bytes, -1 for null   %p partition   %o offset
  %h headers, as name=value,name=value               %% percent sign
  %T time in milliseconds since 1970                 %a attempt, with -follow
  \n \t \r \\ \0 \xNN: newline, tab, carriage return, backslash, NUL, any byte

-from looks at messages without consuming them. It takes beginning, end, an
offset, -10 (the last ten of each partition), 2h or 7d (as long ago), a time
such as 2026-11-22, 2026-11-22 10:00 or 2026-11-22T10:00:00Z, or 0:17,1:20 (an
offset for each partition).

-exec runs a line of shell for each message, with the message on its standard
input. Its environment says which message it is: MBUS_MSG_TOPIC, _PARTITION,
_OFFSET, _TIMESTAMP, _SIZE, _ATTEMPT (counted from 1), _GROUP, _KEY, _KEY_SIZE
and _HEADERS (JSON), or _KEY_BASE64 and _HEADERS_BASE64 of what is not text.
Exit code 0 acknowledges the message. With any other it is delivered again after
a while, and at last goes to the topic TOPIC.dlq, from which -redrive moves
messages back. A command that the shell can't run (126, 127) ends the consumer.

-out appends to a file in which each message is exactly once, even after
crashes: FILE.position, which belongs to it, says which messages it holds.

Exit codes: 0 done, 1 error, 2 wrong usage, 3 no message (with -fail-empty),
4 some messages failed (with -exec).`

// Windows, in messages.
const (
	followWindow  = 100_000 // as fast as without acknowledgements
	pipeWindow    = 1000    // its reader may be slow with each: others get the rest
	commandWindow = 1       // what one is slow with, others may do
)

type options struct {
	broker    client.Broker
	timeout   time.Duration // for a broker that says nothing; 0 is none
	request   client.ConsumeRequest
	format    format
	failEmpty bool
	command   string        // for each message
	limit     time.Duration // of a command; 0 is none
	grace     time.Duration // that a command has to end by itself
	retries   retries
	file      string // in which each message is once
	prints    bool   // to standard output
	looks     bool   // at dead letters, without consuming them
	redrive   bool
	to        string
}

// settings are the flags that options are made from.
type settings struct {
	*flags.Set
	options
	in     client.Flags
	host   string
	port   int
	layout string
	asJSON bool
}

func parse(args []string) (opts options, code int, ok bool) {
	s := &settings{Set: flags.New("consumer", usage)}
	s.define()
	if code, ok := s.Parse(args); !ok {
		return opts, code, false
	}
	if s.request.From == "stored" { // kcat's word for a group's position
		s.request.From = ""
	}
	for _, check := range []func() error{s.checkValues, s.checkTogether, s.complete} {
		if err := check(); err != nil {
			return opts, s.Fail("%v", err), false
		}
	}
	return s.options, 0, true
}

// define makes the flags.
func (s *settings) define() {
	r := &s.request
	s.StringVar(&s.host, "host", "127.0.0.1", "`HOST`: the broker's machine, by its name or address")
	s.IntVar(&s.port, "port", 9991, "`PORT`: the broker's port for consumers")
	s.DurationVar(&s.timeout, "timeout", 30*time.Second, "`TIME`: how long the broker may take to be reached, and for each answer; 0 is no limit")
	s.Group("Where the broker is", "host", "port", "timeout")
	s.Places("host", "port")
	s.in.Define(s.Set)

	s.StringVar(&r.Topic, "topic", "", "`TOPIC`: the topic to consume (required)")
	s.StringVar(&r.Group, "group", "default", "`GROUP`: the group to consume for; each has a position of its own")
	s.BoolVar(&r.Follow, "follow", false, "print new messages as they come, until ^C; connect again when the broker is lost")
	s.Int64Var(&r.N, "n", 0, "end after `N` messages; 0 is no limit")
	s.PositionVar(&r.From, "from", "look at the messages from `POSITION` on, without consuming them")
	s.StringVar(&r.Start, "start", "", "`WHERE`: where a group begins that has no position yet: beginning (as without the flag) or end")
	s.Group("What is consumed", "topic", "group", "follow", "n", "from", "start")

	s.StringVar(&s.layout, "f", "", "print messages in this `FORMAT`")
	s.MayBeEmpty("f")
	s.BoolVar(&s.asJSON, "json", false, "print a JSON object a line, as kcat -J does and the format=json of PROTOCOL.md")
	s.StringVar(&s.file, "out", "", "append messages to `FILE`, each exactly once")
	s.BoolVar(&s.failEmpty, "fail-empty", false, "exit with 3 if there was no message")
	s.Group("How it is printed", "f", "json", "out", "fail-empty")

	s.StringVar(&s.command, "exec", "", "run `COMMAND` for each message instead of printing it")
	s.IntVar(&r.Window, "window", 0, "with -follow or -exec: at most `N` messages unacknowledged; 0 is 100000, 1000 into a pipe, 1 with -exec")
	s.DurationVar(&r.AckTimeout, "ack-timeout", 0, "`TIME`: with -follow: how long an acknowledgement may take; with -exec: how long COMMAND may, then it is ended and its message has failed; 0 is no limit")
	s.DurationVar(&s.grace, "grace", 5*time.Second, "`TIME`: with -exec: how long COMMAND may go on after ^C or SIGTERM before it is ended")
	s.DurationVar(&r.Retry, "retry", 0, "`TIME`: with -exec: how long a message that failed stays away at first; 0 leaves it to the broker (1s)")
	s.StringVar(&r.Attempts, "attempts", "", "with -exec: a message is delivered `N` times before it goes to TOPIC.dlq; 0 is no limit (by default 5)")
	s.BoolVar(&r.Ordered, "ordered", false, "with -follow or -exec: of messages with the same key at most one at a time is under way in the group")
	s.Group("Work on each message", "exec", "window", "ack-timeout", "grace", "retry", "attempts", "ordered")

	s.BoolVar(&s.redrive, "redrive", false, "give the messages of a dead-letter topic back to the groups that failed them; exit code 1 if some have to stay, with the reason")
	s.StringVar(&s.to, "to", "", "`WHO`: with -redrive: group, that failed a message, as without the flag; or all: publish it again, for all groups")
	s.Group("Something else", "redrive", "to", "version")
}

// complete fills in what follows from the flags.
func (s *settings) complete() (err error) {
	r := &s.request
	addr, err := flags.Address(s.host, s.port)
	if err != nil {
		return fmt.Errorf("-host: %w", err)
	}
	if s.broker, err = s.in.Broker(s.Set, addr); err != nil {
		return err
	}
	if s.file != "" {
		r.From = "beginning"
	}
	if s.looksAtLetters() {
		r.From, s.looks = "beginning", true
	}
	if r.From != "" || s.redrive && !s.Given("group") {
		r.Group = ""
	}
	if s.command != "" {
		if err := checkShell(s.command); err != nil {
			return fmt.Errorf("-exec: %w", err)
		}
		s.completeCommand()
	}
	if r.Ack = s.acknowledges(); r.Ack && r.Window == 0 {
		r.Window = followWindow
		if outputIsPipe() {
			r.Window = pipeWindow
		}
	}
	if s.to != "" && s.to != "all" && s.to != "group" {
		return fmt.Errorf("-to is %q: it takes all or group", s.to)
	}
	prints := s.file == "" && s.command == "" && !s.redrive
	s.format, err = chooseFormat(r.Topic, s.layout, s.Given("f"), s.asJSON, prints && flags.Terminal(unix.Stdout))
	if err != nil {
		return fmt.Errorf("-f: %w", err)
	}
	s.prints = prints && len(s.format) > 0
	return nil
}

// completeCommand fills in what -exec needs. The time-out of acknowledgements is ours to
// keep: what the broker gets is for a program that is gone.
func (s *settings) completeCommand() {
	r := &s.request
	if r.Window == 0 {
		r.Window = commandWindow
	}
	s.limit, r.AckTimeout, r.Risky = r.AckTimeout, ackTimeout, true
	s.retries = retries{pause: r.Retry, attempts: defaultAttempts}
	if r.Attempts != "" {
		s.retries.attempts, _ = strconv.Atoi(r.Attempts) // checked
	}
}

// looksAtLetters says whether somebody wants to see dead letters, not to consume them:
// -redrive would not find them any more.
func (s *settings) looksAtLetters() bool {
	for _, name := range []string{"group", "from", "start", "exec", "out", "redrive"} {
		if s.Given(name) {
			return false
		}
	}
	for _, a := range acknowledging {
		if s.Given(a.flag) {
			return false
		}
	}
	return strings.HasSuffix(s.request.Topic, message.DeadLetters)
}

// acknowledges says whether messages are acknowledged one by one.
func (s *settings) acknowledges() bool {
	return s.command != "" || s.request.Follow && s.request.From == "" && s.file == ""
}

// checkValues reports the first setting that is missing or not allowed.
func (s *settings) checkValues() error {
	r := &s.request
	attempts, err := strconv.Atoi(r.Attempts)
	switch {
	case r.Topic == "":
		return errors.New("-topic is missing")
	case s.port < 1 || s.port > 65535:
		return fmt.Errorf("-port is %d, not 1 to 65535", s.port)
	case r.N < 0:
		return fmt.Errorf("-n is %d, less than 0", r.N)
	case r.Window < 0:
		return fmt.Errorf("-window is %d, less than 0", r.Window)
	case r.Attempts != "" && (err != nil || attempts < 0):
		return fmt.Errorf("-attempts is %q, not a number from 0", r.Attempts)
	case r.Start != "" && r.Start != "beginning" && r.Start != "end":
		return fmt.Errorf("-start is %q, not beginning or end", r.Start)
	}
	if err := message.CheckName("topic", r.Topic); err != nil {
		return err
	}
	return message.CheckName("group", r.Group)
}

// chooseFormat is the format of the flags -f, where it was given, and -json, for a
// terminal or for anything else.
func chooseFormat(topic, layout string, given, asJSON, terminal bool) (format, error) {
	contents := asItIs
	switch {
	case asJSON && terminal:
		return jsonFormat(harmlessJSON), nil
	case asJSON:
		return jsonFormat(asItIs), nil
	case terminal:
		contents = harmless
	}
	if given {
		return parseFormat(layout, contents)
	}
	return defaultFormat(topic, contents), nil
}
