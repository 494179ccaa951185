package client

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

const (
	// answerTimeout is for a broker that does not answer: deleting a large topic
	// takes the longest.
	answerTimeout = 5 * time.Minute

	// maxResponse bounds a response, in bytes: more than 100,000 topics and their groups
	// take.
	maxResponse = 256 << 20
)

// Ask sends the broker a request of administration, a line with its LF,
// and returns the lines of the answer, each with its LF. The timeout is for connecting,
// and for the whole answer; 0 is five minutes. The error is an *Error if it is the
// broker's, and wraps ErrUnreachable or ErrLost where there is no answer.
func Ask(b Broker, request string, timeout time.Duration) (answer []string, err error) {
	conn, err := b.connect(request, connectOptions{timeout: timeout, unacknowledged: maxUnacknowledged})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if timeout == 0 {
		timeout = answerTimeout
	}
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	r := bufio.NewReader(io.LimitReader(conn, maxResponse))
	for size := 0; ; {
		line, err := r.ReadString('\n')
		size += len(line)
		switch {
		case size == maxResponse:
			return nil, fmt.Errorf("the answer is longer than %d bytes", maxResponse)
		case errors.Is(err, io.EOF) && line == "":
			return answer, nil
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("%w: it ends in the middle of the answer", ErrLost)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, fmt.Errorf("%w: %w", ErrLost, silence(timeout))
		case err != nil:
			return nil, fmt.Errorf("%w: %w", ErrLost, err)
		case line[0] == '-':
			return nil, parseError(strings.TrimSuffix(line[1:], "\n"))
		}
		answer = append(answer, line)
	}
}
