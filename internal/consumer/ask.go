package consumer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

const (
	// answerTimeout is for a broker that does not answer: deleting a large topic
	// takes the longest.
	answerTimeout = 5 * time.Minute

	// maxAnswer bounds what is kept of an answer, in bytes: more than 100,000
	// topics and their groups take.
	maxAnswer = 256 << 20
)

// Ask sends the broker at addr a request of administration, a line with its LF,
// and returns the lines of the answer, each with its LF. The error is an *Error
// if it is the broker's.
func Ask(addr, request string) (answer []string, err error) {
	tcp, err := dial(addr, false, request)
	if err != nil {
		return nil, err
	}
	defer tcp.Close()
	if err := tcp.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return nil, err
	}
	r := bufio.NewReader(io.LimitReader(tcp, maxAnswer))
	for size := 0; ; {
		line, err := r.ReadString('\n')
		size += len(line)
		switch {
		case size == maxAnswer:
			return nil, fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
		case errors.Is(err, io.EOF) && line == "":
			return answer, nil
		case errors.Is(err, io.EOF):
			return nil, errors.New("connection lost in the middle of the answer")
		case err != nil:
			return nil, fmt.Errorf("connection lost: %w", err)
		case line[0] == '-':
			code, text, _ := strings.Cut(strings.TrimSuffix(line[1:], "\n"), " ")
			return nil, &Error{Code: code, Text: text}
		}
		answer = append(answer, line)
	}
}
