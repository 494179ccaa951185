package docs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A conversation is one transcript being run on a connection.
type conversation struct {
	conn   *net.TCPConn
	reader *bufio.Reader
	unsent strings.Builder // lines of the client that go out together, before the next answer
	last   string          // the last answer
}

// run plays the client's lines and compares the broker's, and at the end closes
// the connection.
func (c *conversation) run(b block) error {
	defer c.conn.Close()
	if err := c.conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	for i, line := range b.lines[1:] {
		if err := c.step(line); err != nil {
			return fmt.Errorf("line %d, %q: %w", b.line+i+1, line, err)
		}
	}
	if c.unsent.Len() > 0 {
		return errors.New("the transcript ends with a line of the client")
	}
	return c.nothingLeft()
}

func (c *conversation) step(line string) error {
	switch {
	case line == ">":
		c.unsent.WriteByte('\n')
		return nil
	case strings.HasPrefix(line, "> "):
		return c.say(line[2:])
	case line == "<" || strings.HasPrefix(line, "< "):
		return c.hear(strings.TrimPrefix(line[1:], " "))
	}
	return errors.New("not a line of a transcript")
}

// say takes a line of the client: "EOF" closes the sending side, "text EOF"
// does so after text without LF.
func (c *conversation) say(line string) error {
	if line == "EOF" {
		return c.closeWrite()
	}
	text, unfinished := strings.CutSuffix(line, " EOF")
	text, err := unescape(text)
	if err != nil {
		return err
	}
	c.unsent.WriteString(text)
	if unfinished {
		return c.closeWrite()
	}
	c.unsent.WriteByte('\n')
	return nil
}

func (c *conversation) closeWrite() error {
	if err := c.send(); err != nil {
		return err
	}
	return c.conn.CloseWrite()
}

// send sends what has been collected. That the broker has closed meanwhile is
// no error here: the transcript says what it answered.
func (c *conversation) send() error {
	if c.unsent.Len() == 0 {
		return nil
	}
	_, err := io.WriteString(c.conn, c.unsent.String())
	c.unsent.Reset()
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	return err
}

// hear reads the broker's line and compares it. Counts that are less than the
// one expected are passed over, as the protocol allows the broker to send them
// or not.
func (c *conversation) hear(want string) error {
	if err := c.send(); err != nil {
		return err
	}
	if want == "EOF" {
		return c.hearEnd()
	}
	want, err := unescape(want)
	if err != nil {
		return err
	}
	for {
		got, err := c.reader.ReadString('\n')
		if err != nil {
			return fmt.Errorf("%w after %q", err, got)
		}
		c.last = strings.TrimSuffix(got, "\n")
		if c.last == want {
			return nil
		}
		if !lessCount(c.last, want) {
			return fmt.Errorf("the broker said %q", c.last)
		}
	}
}

func lessCount(got, want string) bool {
	if !strings.HasPrefix(got, "+") || !strings.HasPrefix(want, "+") {
		return false
	}
	g, err1 := strconv.Atoi(got[1:])
	w, err2 := strconv.Atoi(want[1:])
	return err1 == nil && err2 == nil && g < w
}

// hearEnd waits for the broker's close. After an error it may be a reset, as
// the broker does not read what the client still sends.
func (c *conversation) hearEnd() error {
	rest, err := io.ReadAll(c.reader)
	if len(rest) > 0 {
		return fmt.Errorf("the broker said %q", rest)
	}
	if errors.Is(err, syscall.ECONNRESET) && strings.HasPrefix(c.last, "-") {
		return nil
	}
	return err
}

// nothingLeft fails if the broker has said more than the transcript shows. What
// it may still say to a client that leaves is not waited for.
func (c *conversation) nothingLeft() error {
	if n := c.reader.Buffered(); n > 0 {
		rest, _ := c.reader.Peek(n)
		return fmt.Errorf("the broker also said %q", rest)
	}
	return nil
}

// unescape replaces Go's escapes.
func unescape(line string) (string, error) {
	var text strings.Builder
	for line != "" {
		r, multibyte, rest, err := strconv.UnquoteChar(line, 0)
		if err != nil {
			return "", fmt.Errorf("escape in %q: %w", line, err)
		}
		if r < 0x80 || multibyte {
			text.WriteRune(r)
		} else {
			text.WriteByte(byte(r))
		}
		line = rest
	}
	return text.String(), nil
}
