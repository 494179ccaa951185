// Command producer publishes a message, or each line of its standard input, to
// a topic of an mbus broker. It exits with 0 when the broker has acknowledged
// every message, 1 when it has not, and 2 when it was called in a wrong way.
package main

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"mbus/internal/client"
	"mbus/internal/flags"
	"mbus/internal/message"
)

const usage = `
Usage: producer -topic TOPIC -message TEXT
       producer -topic TOPIC < FILE

Publishes TEXT, or each line of standard input, as a message, and ends when the
broker has all of them on disk. Lines are sent as they come in. The topic is
made if it does not exist.

  producer -topic orders -message "first order"
  tail -f access.log | producer -topic log
  producer -topic reminders -delay 30s -message "the oven"

With -delay or -at the messages are on disk at once, too, but consumers get them
only when they are due.

When the connection is lost, because the broker restarts for example, producer
connects again for as long as -retry says and sends again what is not
acknowledged. None of it is stored twice. It keeps up to 32 MiB, and then
reads no further. What it has read and not sent when it is killed is lost.

Exit codes: 0 all messages are on disk, 1 not all are (standard error says how
many), 2 wrong usage, 4 all are but those that -skip-bad has left out.`

// exitSkipped is the exit code where messages were left out.
const exitSkipped = 4

type options struct {
	broker  client.Broker
	request client.ProduceRequest
	message []byte // nil to read standard input
}

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	opts, code, ok := parse(args)
	if !ok {
		return code
	}
	if opts.message == nil {
		if err := flags.CheckInput(os.Stdin); err != nil {
			return fail(err)
		}
	}
	t := &talk{terminal: flags.Terminal(unix.Stderr)}
	opts.request.Say = t.say
	conn, err := client.DialProducer(opts.broker, opts.request)
	if err != nil {
		return fail(err)
	}
	if opts.message == nil && t.terminal && flags.Terminal(unix.Stdin) {
		t.say("reading lines, each is a message; ^D ends")
	}
	stop := showProgress(conn)
	err = publish(conn, opts)
	stop()
	switch {
	case err != nil:
		return fail(err)
	case t.terminal || t.said.Load():
		t.say(total(conn.Acked()))
	}
	if conn.Skipped() > 0 {
		return exitSkipped
	}
	return 0
}

// total says how many messages are on disk.
func total(n int64) string {
	if n == 1 {
		return "1 message on disk"
	}
	return fmt.Sprintf("%d messages on disk", n)
}

// A talk is what is said on standard error. At a terminal, and where something was said
// before, the end is said, too.
type talk struct {
	terminal bool
	said     atomic.Bool
}

// say may be called by any goroutine.
func (t *talk) say(text string) {
	t.said.Store(true)
	clear := ""
	if t.terminal { // the line of the progress
		clear = "\r" + clearToEnd
	}
	fmt.Fprintln(os.Stderr, clear+"producer:", text)
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, "producer:", err)
	return 1
}

func parse(args []string) (opts options, code int, ok bool) {
	fs := flags.New("producer", usage)
	host := fs.String("host", "127.0.0.1", "`HOST`: the broker's machine, by its name or address")
	port := fs.Int("port", 9990, "`PORT`: the broker's port for producers")
	fs.Group("Where the broker is", "host", "port")
	fs.Places("host", "port")
	var in client.Flags
	in.Define(fs)
	fs.StringVar(&opts.request.Topic, "topic", "", "`TOPIC`: the topic to publish to (required)")
	message := fs.String("message", "", "publish `TEXT`, which may be empty, instead of standard input")
	fs.MayBeEmpty("message")
	fs.Group("What is published", "topic", "message")
	fs.DurationVar(&opts.request.Delay, "delay", 0, "`TIME`: deliver the messages so much later: 30s, 1h30m or 7d; 0 for at once")
	fs.TimeVar(&opts.request.At, "at", "`TIME`: deliver the messages then: 2026-11-22 10:00 (local time), 2026-11-22T10:00:00Z, or milliseconds since 1970")
	fs.Group("When it is delivered", "delay", "at")
	fs.DurationVar(&opts.request.Retry, "retry", time.Minute, "`TIME`: how long to connect again after the connection was lost; 0 for not at all")
	fs.DurationVar(&opts.request.Timeout, "timeout", 30*time.Second, "`TIME`: how long the broker may take to be reached, and to acknowledge something; 0 is no limit")
	fs.BoolVar(&opts.request.SkipBad, "skip-bad", false, "leave out messages that the broker refuses, such as one that is too large, say so, and go on")
	fs.Group("When something fails", "retry", "timeout", "skip-bad")
	fs.Group("Something else", "version")
	if code, ok := fs.Parse(withoutBareRetry(args)); !ok {
		return opts, code, false
	}
	if err := opts.check(*port); err != nil {
		return opts, fs.Fail("%v", err), false
	}
	if fs.Given("message") {
		opts.message = []byte(*message)
	}
	addr, err := flags.Address(*host, *port)
	if err != nil {
		return opts, fs.Fail("-host: %v", err), false
	}
	if opts.broker, err = in.Broker(fs, addr); err != nil {
		return opts, fs.Fail("%v", err), false
	}
	return opts, 0, true
}

// withoutBareRetry leaves out a -retry that ends the command line: without a time it is the
// default, as if it had not been given.
func withoutBareRetry(args []string) []string {
	if n := len(args); n > 0 && (args[n-1] == "-retry" || args[n-1] == "--retry") && (n < 2 || args[n-2] != "-message") {
		return args[:n-1]
	}
	return args
}

// check reports the first setting that is missing or not allowed.
func (o *options) check(port int) error {
	switch {
	case o.request.Topic == "":
		return errors.New("-topic is missing")
	case port < 1 || port > 65535:
		return fmt.Errorf("-port is %d, not 1 to 65535", port)
	case o.request.Delay > 0 && o.request.At != "":
		return errors.New("-delay and -at exclude each other")
	}
	return message.CheckName("topic", o.request.Topic)
}

// publish sends everything and waits until it is acknowledged. When the
// connection ends before, it does not wait for input that may never come.
func publish(conn *client.Producer, opts options) error {
	sent := make(chan error, 1)
	go func() { sent <- send(conn, opts) }()
	select {
	case err := <-sent:
		return err
	case <-conn.Done():
		if err := conn.Wait(); err != nil {
			return err
		}
		return <-sent
	}
}

// send returns the broker's error before one of the input: the former says what
// became of the messages.
func send(conn *client.Producer, opts options) error {
	var inputErr error
	if opts.message != nil {
		inputErr = conn.SendMessage(opts.message)
	} else {
		inputErr = conn.SendLines(os.Stdin)
	}
	if err := conn.Close(); err != nil {
		return err
	}
	if inputErr != nil {
		return fmt.Errorf("%w; %s before that", inputErr, total(conn.Acked()))
	}
	return nil
}
