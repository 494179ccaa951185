package producer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxAnswer is the longest line that a broker may answer, in bytes: far more
// than any error it has words for.
const maxAnswer = 16 << 10

// readAnswers counts acknowledgements until the broker's side ends. Closing
// the connection then releases a write that waits.
func (c *Conn) readAnswers() {
	defer close(c.done)
	defer c.tcp.Close()
	r := bufio.NewReaderSize(c.tcp, maxAnswer)
	for silent := true; ; silent = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			c.err = c.end(line, err, silent)
			return
		}
		if err := c.answer(string(line[:len(line)-1])); err != nil {
			c.err = c.ended(err)
			return
		}
	}
}

// answer takes one line: an acknowledgement or an error.
func (c *Conn) answer(line string) error {
	if strings.HasPrefix(line, "-") {
		return fmt.Errorf("the broker answered %s", line)
	}
	count, plus := strings.CutPrefix(line, "+")
	n, err := strconv.ParseInt(count, 10, 64)
	if !plus || err != nil || n < c.Acked() || n > c.Sent() {
		return unexpected(line)
	}
	c.acked.Store(n)
	return nil
}

func unexpected(answer string) error {
	return fmt.Errorf("unexpected answer %q, which is not a broker's", answer)
}

// end is the error for a connection that could be read no further, nil where
// that is as it should be. rest is what came after the last line; silent says
// that there was none.
func (c *Conn) end(rest []byte, err error, silent bool) error {
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return c.ended(unexpected(string(rest[:64])))
	case !errors.Is(err, io.EOF):
		return c.ended(fmt.Errorf("connection lost: %w", err))
	case len(rest) == 0 && !silent && c.closing.Load() && c.Acked() == c.Sent():
		return nil
	}
	return c.ended(errors.New("connection lost: the broker closed it"))
}
