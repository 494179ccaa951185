// Command consumer prints the messages of a topic of an mbus broker. It
// acknowledges only what it has written out: until then the connection is set
// to be reset when the program ends, whatever ends it, and the messages come
// again.
//
// That is why no signal is handled. SIGINT and SIGTERM end the program as they
// end any other, and so does SIGPIPE, which the Go runtime raises for standard
// output like the C library's tools have it: `consumer | head -1` ends without a
// word, a shell sees 141, and nothing is consumed.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"mbus/internal/batch"
	"mbus/internal/consumer"
)

// Exit codes other than those of the flags.
const (
	exitError = 1
	exitEmpty = 3
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	opts, code, ok := parse(args)
	if !ok {
		return code
	}
	printed, err := consume(opts, &output{w: os.Stdout})
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "consumer:", err)
		return exitError
	case printed == 0 && opts.failEmpty:
		return exitEmpty
	}
	return 0
}

// consume prints messages to the end of the topic and then lets them count as
// consumed. It returns how many it has printed.
func consume(opts options, out *output) (printed int64, err error) {
	opts.request.Idle = out.flush
	conn, err := consumer.Dial(opts.addr, opts.request)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	printed, err = printAll(conn, opts, out)
	var broker *consumer.Error
	if errors.Is(err, io.EOF) {
		err = nil
	} else if !errors.As(err, &broker) || !broker.Skips() {
		return printed, err
	}
	if flushErr := out.flush(); flushErr != nil {
		return printed, flushErr
	}
	if commitErr := conn.Commit(); err == nil {
		err = commitErr
	}
	return printed, err
}

// printAll prints messages until the stream ends, with an error that says how.
func printAll(conn *consumer.Conn, opts options, out *output) (printed int64, err error) {
	var it batch.Iterator
	m := message{topic: opts.request.Topic}
	for {
		b, err := conn.Next()
		if err != nil {
			return printed, err
		}
		if err := it.Reset(b); err != nil {
			return printed, fmt.Errorf("partition %d, offset %d: %w", conn.Partition(), b.BaseOffset(), err)
		}
		m.partition = conn.Partition()
		for ; it.Next(); printed++ {
			m.Record = it.Record()
			if err := out.print(opts.format, &m); err != nil {
				return printed, err
			}
		}
		if err := it.Err(); err != nil {
			return printed, fmt.Errorf("partition %d, offset %d: %w", conn.Partition(), b.BaseOffset(), err)
		}
	}
}
