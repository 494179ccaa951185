package client

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"mbus/internal/units"
)

// A Redriven is what has become of dead letters.
type Redriven struct {
	Moved int64
	Stay  []string // why some stay where they are, for people
}

// Redrive has the broker give the messages of a dead-letter topic back to the groups
// that failed them, or, if to is "all", publish them again. group is the one that
// takes the letters; "" for the broker's usual one. The timeout is for connecting, and for
// each answer; 0 is 10 seconds and without end. An error means that there may be more: those
// that were not moved are still there.
func Redrive(b Broker, topic, group, to string, timeout time.Duration) (done Redriven, err error) {
	request := units.NewRequest(topic)
	request.Word("redrive")
	if group != "" {
		request.Option("group", group)
	}
	if to != "" {
		request.Option("to", to)
	}
	conn, err := b.connect(request.String(), connectOptions{timeout: timeout, unacknowledged: maxUnacknowledged})
	if err != nil {
		return done, err
	}
	defer conn.Close()
	source := &source{conn: conn, timeout: timeout}
	r := bufio.NewReaderSize(source, maxLine)
	for answered := false; ; answered = true {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return done, notBatches(string(line[:64]))
		case errors.Is(err, io.EOF) && answered && len(line) == 0:
			return done, nil
		case err != nil:
			return done, fmt.Errorf("%w: %w", ErrLost, err)
		}
		text := string(line[:len(line)-1])
		if note, ok := strings.CutPrefix(text, "# "); ok {
			done.Stay = append(done.Stay, note)
		} else if done.Moved, err = count(text, done.Moved); err != nil {
			return done, err
		}
	}
}

// count reads an answer to a redrive after n messages: a larger count, or an
// error.
func count(line string, n int64) (int64, error) {
	if text, failed := strings.CutPrefix(line, "-"); failed {
		return n, parseError(text)
	}
	digits, plus := strings.CutPrefix(line, "+")
	more, err := strconv.ParseInt(digits, 10, 64)
	if !plus || err != nil || more < n {
		return n, notBatches(line)
	}
	return more, nil
}
