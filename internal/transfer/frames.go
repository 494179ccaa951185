package transfer

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"mbus/internal/batch"
)

// An export is a stream of frames behind a line:
//
//	size
//	  1   kind
//	  4   length of the rest, in bytes
//	  …   what the kind says
//
// A topic is followed by its batches, partition by partition, and by what they are all together. It may come again,
// because its log start has moved while it was read: then the batches before are void. Topics of the broker come first,
// so that no position is behind the end of its log.
const magic = "mbus export 1\n"

// Kinds of frames.
const (
	frameTopic   = 'T' // Topic as JSON, without bytes and sums of its logs
	frameBatches = 'B' // 4 bytes with the partition, and whole batches
	frameDone    = 'F' // Topic as JSON: all its batches were there
	frameDeleted = 'D' // Topic as JSON: it was deleted meanwhile
	frameNote    = 'N' // that of Store.Note
	frameEnd     = 'E' // Totals as JSON: the export is whole
)

// maxFrame bounds a frame, in bytes: more than the largest batch has.
const maxFrame = 64 << 20

// ErrCut says that an export ends before its end.
var ErrCut = errors.New("the export was cut off")

// A frameWriter writes frames. Its first error stays.
type frameWriter struct {
	to  io.Writer
	err error
}

// write writes a frame of parts.
func (w *frameWriter) write(kind byte, parts ...[]byte) error {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	head := binary.BigEndian.AppendUint32([]byte{kind}, uint32(n))
	for _, p := range append([][]byte{head}, parts...) {
		if w.err == nil && len(p) > 0 {
			_, w.err = w.to.Write(p)
		}
	}
	return w.err
}

func (w *frameWriter) json(kind byte, v any) error {
	p, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.write(kind, p)
}

// A frameReader reads frames.
type frameReader struct {
	from *bufio.Reader
	buf  []byte
}

func newFrameReader(r io.Reader) (*frameReader, error) {
	f := &frameReader{from: bufio.NewReaderSize(r, 1<<16)}
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(f.from, head); err != nil {
		return nil, cut(err)
	}
	if string(head) != magic {
		return nil, fmt.Errorf("it is no export: it begins with %q", head)
	}
	return f, nil
}

// next reads a frame, which is valid until the next one is read.
func (f *frameReader) next() (kind byte, p []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(f.from, head[:]); err != nil {
		return 0, nil, cut(err)
	}
	n := int(binary.BigEndian.Uint32(head[1:]))
	if n > maxFrame {
		return 0, nil, fmt.Errorf("the export has a frame of %d bytes, and %d are the most", n, maxFrame)
	}
	f.buf = f.buf[:0]
	for len(f.buf) < n { // what is said to come need not come
		more := min(n-len(f.buf), 1<<20)
		at := len(f.buf)
		f.buf = append(f.buf, make([]byte, more)...)
		if _, err := io.ReadFull(f.from, f.buf[at:]); err != nil {
			return 0, nil, cut(err)
		}
	}
	return head[0], f.buf, nil
}

func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrCut
	}
	return fmt.Errorf("%w: %w", ErrCut, err)
}

// parseTopic reads a topic of a frame.
func parseTopic(p []byte) (t Topic, err error) {
	if err := json.Unmarshal(p, &t); err != nil {
		return t, fmt.Errorf("a topic of the export can't be read: %w", err)
	}
	if t.Name == "" || t.Partitions < 1 || len(t.Logs) != t.Partitions {
		return t, fmt.Errorf("topic %q of the export has %d partitions, and %d logs", t.Name, t.Partitions, len(t.Logs))
	}
	for i, l := range t.Logs {
		if l.First < 0 || l.Start < l.First || l.End < l.Start {
			return t, fmt.Errorf("topic %q of the export: partition %d has the offsets %d, %d and %d", t.Name, i, l.First, l.Start, l.End)
		}
	}
	return t, nil
}

// eachBatch calls f with each batch of a frame, which is checked.
func eachBatch(p []byte, f func(partition int, b batch.Batch) error) error {
	if len(p) < 4 {
		return errors.New("a frame of the export has no partition")
	}
	number := int(binary.BigEndian.Uint32(p))
	for p = p[4:]; len(p) > 0; {
		b, rest, err := batch.Next(p)
		if err == nil {
			err = b.CheckCRC()
		}
		if err != nil {
			return fmt.Errorf("a batch of the export: %w", err)
		}
		if err := f(number, b); err != nil {
			return err
		}
		p = rest
	}
	return nil
}
