package consumer

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

	// maxAnswer bounds what is kept of an answer, in bytes: more than 100,000
	// topics and their groups take.
	maxAnswer = 256 << 20
)

// errNoAnswer is an ErrLost in other words: there is no topic to read to its end.
var errNoAnswer error = noAnswer{}

type noAnswer struct{}

func (noAnswer) Error() string        { return "connection lost" }
func (noAnswer) Is(target error) bool { return target == ErrLost }

// Ask sends the broker at addr a request of administration, a line with its LF,
// and returns the lines of the answer, each with its LF. The timeout is for connecting,
// and for the whole answer; 0 is five minutes. The error is an *Error if it is the
// broker's, and wraps ErrUnreachable or ErrLost where there is no answer.
func Ask(addr, request string, timeout time.Duration) (answer []string, err error) {
	tcp, err := dial(addr, false, request, timeout)
	if err != nil {
		return nil, err
	}
	defer tcp.Close()
	if timeout == 0 {
		timeout = answerTimeout
	}
	if err := tcp.SetDeadline(time.Now().Add(timeout)); err != nil {
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
			return nil, fmt.Errorf("%w: it ends in the middle of the answer", errNoAnswer)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, fmt.Errorf("%w: %w", errNoAnswer, silence(timeout))
		case err != nil:
			return nil, fmt.Errorf("%w: %w", errNoAnswer, err)
		case line[0] == '-':
			code, text, _ := strings.Cut(strings.TrimSuffix(line[1:], "\n"), " ")
			return nil, &Error{Code: code, Text: text}
		}
		answer = append(answer, line)
	}
}
