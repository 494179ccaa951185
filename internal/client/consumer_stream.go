package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"mbus/internal/batch"
)

const (
	// maxBatch is the largest batch taken, in bytes. What a batch expands to is
	// bounded by 64 MiB, so an honest one is no larger than that and its header
	// and fields.
	maxBatch = batch.DefaultMaxExpanded + 64<<10
)

// errCutShort says that the connection ended before the stream's last line: some messages
// are missing.
var errCutShort = fmt.Errorf("%w before the end of the topic", ErrLost)

// ErrInterrupted says that Interrupt was called.
var ErrInterrupted = errors.New("interrupted")

// Skips reports whether the position may move past the messages that the error names: those
// before them were sent, and they are gone.
func (e *Error) Skips() bool { return e.Code == "GAP" || e.Code == "DAMAGED" }

// Missing returns the partition that an error that Skips is about, and the offset
// where it goes on. ok is false if it does not say so.
func (e *Error) Missing() (partition int, next int64, ok bool) {
	switch e.Code {
	case "GAP":
		n, err := fmt.Sscanf(e.Text, "first=%d partition=%d", &next, &partition)
		return partition, next, n == 2 && err == nil
	case "DAMAGED":
		var first int64
		_, rest, _ := strings.Cut(e.Text, "/") // no topic's name has one
		n, err := fmt.Sscanf(rest, "%d: offsets %d to %d", &partition, &first, &next)
		return partition, next + 1, n == 3 && err == nil
	}
	return 0, 0, false
}

// A stream takes apart what the broker sends with format=batch:
//
//	*( "@" partition LF *batch ) ( "." LF | "-" code [ " " text ] LF )
//
// with lines "+" count LF anywhere between batches.
type stream struct {
	src       io.Reader
	idle      func() error // called before every read, which may take long
	buf       []byte
	r, w      int   // buf[r:w] was read from src and not yet taken
	partition int   // of the batches that follow; -1 before the first
	confirmed int64 // acknowledgements that are durable
	err       error
}

func newStream(src io.Reader, idle func() error) *stream {
	return &stream{src: src, idle: idle, buf: make([]byte, readSize), partition: -1}
}

// next returns the next batch, whole and with the CRC it should have; it is
// valid until the following call. At the end the error is io.EOF, or an *Error;
// an error that wraps ErrLost or batch.ErrCorrupt says that the stream is broken, and
// errors of idle are returned as they are. All errors are final, but that after
// ErrInterrupted the stream can be read on.
func (s *stream) next() (batch.Batch, error) {
	for s.err == nil {
		if s.r == s.w {
			s.err = s.fill()
			continue
		}
		switch s.buf[s.r] {
		case '@':
			s.err = s.takePartition()
		case '+':
			s.err = s.takeConfirmation()
		case '.', '-':
			s.err = s.takeEnd()
		default:
			var b batch.Batch
			if b, s.err = s.takeBatch(); s.err == nil {
				return b, nil
			}
		}
	}
	return nil, s.err
}

func (s *stream) takePartition() error {
	line, err := s.takeLine()
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(line[1:], 10, 31)
	if err != nil {
		return notBatches(line)
	}
	s.partition = int(n)
	return nil
}

func (s *stream) takeConfirmation() error {
	line, err := s.takeLine()
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(line[1:], 10, 63)
	if err != nil || int64(n) < s.confirmed {
		return notBatches(line)
	}
	s.confirmed = int64(n)
	return nil
}

func (s *stream) takeEnd() error {
	line, err := s.takeLine()
	if err != nil {
		return err
	}
	if line == "." {
		return io.EOF
	}
	if err := parseError(line[1:]); line[0] == '-' && err.Code != "" {
		return err
	}
	return notBatches(line)
}

// takeLine takes a line and returns it without its LF.
func (s *stream) takeLine() (string, error) {
	for scanned := 0; ; {
		p := s.buf[s.r:s.w]
		i := bytes.IndexByte(p[scanned:], '\n')
		if i >= 0 && scanned+i <= maxLine {
			s.r += scanned + i + 1
			return string(p[:scanned+i]), nil
		}
		if scanned = len(p); scanned > maxLine {
			return "", notBatches(string(p[:64]))
		}
		if err := s.fill(); err != nil {
			return "", err
		}
	}
}

func (s *stream) takeBatch() (batch.Batch, error) {
	for s.w-s.r < batch.HeaderSize {
		if err := s.fill(); err != nil {
			return nil, err
		}
	}
	if s.partition < 0 {
		return nil, notBatches(string(s.buf[s.r : s.r+batch.HeaderSize]))
	}
	size, err := batch.Size(s.buf[s.r:s.w], maxBatch)
	if err != nil {
		return nil, s.broken(err)
	}
	for s.w-s.r < size {
		if err := s.fill(); err != nil {
			return nil, err
		}
	}
	b := batch.Batch(s.buf[s.r : s.r+size : s.r+size])
	s.r += size
	if err := b.CheckCRC(); err != nil {
		return nil, s.broken(err)
	}
	return b, nil
}

func (s *stream) broken(err error) error {
	return fmt.Errorf("partition %d: %w", s.partition, err)
}

func notBatches(start string) error {
	return fmt.Errorf("unexpected answer %q, which is not a broker's", start)
}

// fill reads more from src.
func (s *stream) fill() error {
	had := s.w - s.r
	if err := s.idle(); err != nil {
		return err
	}
	if s.w-s.r > had { // idle has peeked
		return nil
	}
	s.makeSpace()
	n, err := s.src.Read(s.buf[s.w:])
	s.w += n
	switch {
	case n > 0 || err == nil:
		return nil // if there is an error, it comes again
	case errors.Is(err, io.EOF):
		return errCutShort
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrInterrupted
	}
	return fmt.Errorf("%w: %w", errCutShort, err)
}

// peek reports whether something has come, without waiting for it.
func (s *stream) peek(c *conn) bool {
	s.makeSpace()
	n, some := c.peek(s.buf[s.w:])
	s.w += n
	return some
}

// makeSpace moves the bytes that were not taken yet to the beginning of the buffer. The
// buffer grows only when half of it is in use, so it depends on the bytes that have
// arrived, never on a length that was claimed.
func (s *stream) makeSpace() {
	p := s.buf[s.r:s.w]
	if len(p) > len(s.buf)/2 && len(s.buf) < maxBatch {
		s.buf = make([]byte, min(2*len(s.buf), maxBatch))
	}
	s.r, s.w = 0, copy(s.buf, p)
}
