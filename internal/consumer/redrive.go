package consumer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Redrive has the broker at addr move the messages of a dead-letter topic back
// to the topics they came from, and returns how many it has moved. An error
// means that there may be more: those that were not moved are still there.
func Redrive(addr, topic, group string) (moved int64, err error) {
	line := topic + "?redrive"
	if group != "" {
		line += "&group=" + group
	}
	tcp, err := dial(addr, false, line+"\n")
	if err != nil {
		return 0, err
	}
	defer tcp.Close()
	r := bufio.NewReaderSize(tcp, maxLine)
	for answered := false; ; answered = true {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return moved, notBatches(string(line[:64]))
		case errors.Is(err, io.EOF) && answered && len(line) == 0:
			return moved, nil
		case err != nil:
			return moved, fmt.Errorf("connection lost: %w", err)
		}
		if moved, err = count(string(line[:len(line)-1]), moved); err != nil {
			return moved, err
		}
	}
}

// count reads an answer to a redrive after n messages: a larger count, or an
// error.
func count(line string, n int64) (int64, error) {
	if text, failed := strings.CutPrefix(line, "-"); failed {
		code, text, _ := strings.Cut(text, " ")
		return n, &Error{Code: code, Text: text}
	}
	digits, plus := strings.CutPrefix(line, "+")
	more, err := strconv.ParseInt(digits, 10, 64)
	if !plus || err != nil || more < n {
		return n, notBatches(line)
	}
	return more, nil
}
