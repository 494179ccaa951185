package bus

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
)

// lines speaks mbus's line protocol with plain lines.
type lines struct{ mbus }

// OpenLines prepares to speak to an mbus that runs, at its addresses for producers
// and for consumers.
func OpenLines(producers, consumers string) Bus { return &lines{mbus{producers, consumers}} }

// A lineConn is a connection that messages are written to as lines.
type lineConn struct {
	conn    *net.TCPConn
	w       *bufio.Writer
	answers *bufio.Reader
	sent    int
	acked   int
}

func dialLines(address, request string) (*lineConn, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	c := &lineConn{
		conn: conn.(*net.TCPConn), w: bufio.NewWriterSize(conn, bufferBytes),
		answers: bufio.NewReaderSize(conn, bufferBytes),
	}
	_, err = c.w.WriteString(request + "\n")
	return c, err
}

// Add gives errors late: those of the writer stay until Flush.
func (c *lineConn) Add(message []byte) error {
	_, _ = c.w.Write(message)
	c.sent++
	return c.w.WriteByte('\n')
}

func (c *lineConn) Flush() error { return c.w.Flush() }

func (c *lineConn) readAnswer() error {
	line, err := c.answers.ReadSlice('\n')
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(string(line[1 : len(line)-1]))
	if line[0] != '+' || err != nil {
		return fmt.Errorf("the broker answered %q", line)
	}
	c.acked = n
	return nil
}

func (l *lines) Publisher(topic string, _ bool) (Publisher, error) {
	conn, err := dialLines(l.producers, topic)
	if err != nil {
		return nil, err
	}
	p := &linePublisher{conn, make(chan error, 1)}
	go func() { p.ended <- p.readAnswers() }()
	return p, nil
}

type linePublisher struct {
	*lineConn
	ended chan error
}

func (p *linePublisher) readAnswers() error {
	for {
		if err := p.readAnswer(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (p *linePublisher) Close() error {
	defer p.conn.Close()
	if err := p.Flush(); err != nil {
		return err
	}
	if err := p.conn.CloseWrite(); err != nil {
		return err
	}
	if err := <-p.ended; err != nil {
		return err
	}
	if p.acked != p.sent {
		return fmt.Errorf("%d of %d messages acknowledged", p.acked, p.sent)
	}
	return nil
}

type lineSender struct{ *lineConn }

func (s lineSender) Send(message []byte) error {
	if err := s.Add(message); err != nil {
		return err
	}
	if err := s.Flush(); err != nil {
		return err
	}
	return s.readAnswer()
}

func (s lineSender) Close() { s.conn.Close() }

func (l *lines) Consume(ctx context.Context, r Reading, take func([]byte)) error {
	request := r.Topic + "?group=" + r.Group
	if !r.Drain {
		request += "&follow&ack&window=" + strconv.Itoa(window)
	}
	c, err := dialLines(l.consumers, request)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	if !r.Drain { // which ends by itself
		defer context.AfterFunc(ctx, func() { c.conn.Close() })()
	}
	if err := c.Flush(); err != nil {
		return err
	}
	for n, said := 0, 0; ; {
		line, err := c.answers.ReadSlice('\n')
		if r.Drain && err == io.EOF {
			return nil // and the closing says that all was read
		}
		if err != nil {
			return endedBy(ctx, err)
		}
		take(line[:len(line)-1])
		n++
		if r.Drain {
			continue
		}
		if c.answers.Buffered() == 0 || n-said >= ackEvery {
			if _, err := fmt.Fprintf(c.conn, "+%d\n", n); err != nil {
				return endedBy(ctx, err)
			}
			said = n
		}
	}
}
