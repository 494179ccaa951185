package producer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
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
	answered := false
	for {
		line, err := r.ReadSlice('\n')
		if err == nil {
			err = c.answer(string(line[:len(line)-1]))
		} else {
			err = c.end(line, err, answered)
		}
		if err != nil || errors.Is(err, io.EOF) {
			c.err = err
			return
		}
		answered = true
	}
}
