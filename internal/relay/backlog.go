package relay

import (
	"bytes"
	"errors"
	"sync"

	"mbus/internal/batch"
	"mbus/internal/broker"
)

// A backlog is what a client has sent that is not acknowledged yet. Its offsets are those of the client's bytes behind the
// request.
type backlog struct {
	memory *broker.Budget
	chunks []*chunk
	begin  uint64 // of the first chunk
	start  uint64 // of the first message that is not acknowledged
	end    uint64 // of all bytes
	lent   bool   // the last chunk is being read into
	large  bool   // the next chunk is a large one
	marks  *marks // with format=batch; nil for lines
	acked  uint64 // number of the latest message that is acknowledged
}

// A chunk is a part of the bytes.
type chunk struct {
	mem   *[]byte
	n     int // bytes of it that are in use
	lines int // line ends in them that are not acknowledged
}

// Sizes of chunks. A large one is of the budget; the small one of a client that sends little is not.
const (
	smallChunk = 4 << 10
	largeChunk = 64 << 10
)

var (
	smallChunks = sync.Pool{New: func() any { return newChunk(smallChunk) }}
	largeChunks = sync.Pool{New: func() any { return newChunk(largeChunk) }}
)

func newChunk(size int) *[]byte {
	p := make([]byte, size)
	return &p
}

// isEmpty says whether everything is acknowledged.
func (b *backlog) isEmpty() bool { return b.start == b.end }

// size is how many bytes are not acknowledged.
func (b *backlog) size() int { return int(b.end - b.start) }

// hasMessage says whether a whole message is not acknowledged.
func (b *backlog) hasMessage() bool {
	if b.marks != nil {
		return len(b.marks.known) > 0
	}
	for _, c := range b.chunks {
		if c.lines > 0 {
			return true
		}
	}
	return false
}

// space lends space for bytes to come, until add or giveBack; nil if there is no memory.
func (b *backlog) space() []byte {
	last := len(b.chunks) - 1
	if last < 0 || b.chunks[last].n == len(*b.chunks[last].mem) {
		size := smallChunk
		if b.large || last >= 0 {
			size = largeChunk
		}
		if size == largeChunk && !b.memory.Take(largeChunk) {
			if last >= 0 {
				return nil
			}
			size = smallChunk
		}
		c := new(chunk)
		if size == smallChunk {
			c.mem = smallChunks.Get().(*[]byte)
		} else {
			c.mem = largeChunks.Get().(*[]byte)
		}
		b.chunks = append(b.chunks, c)
		last++
	}
	b.lent = true
	return (*b.chunks[last].mem)[b.chunks[last].n:]
}

// add says that n bytes have come into the space.
func (b *backlog) add(n int) {
	b.lent = false
	c := b.chunks[len(b.chunks)-1]
	p := (*c.mem)[c.n : c.n+n]
	c.n += n
	b.end += uint64(n)
	b.large = c.n == len(*c.mem) || len(*c.mem) == largeChunk && n > smallChunk
	if b.marks != nil {
		b.marks.add(p)
	} else {
		c.lines += bytes.Count(p, []byte("\n"))
	}
}

// put adds bytes that were read elsewhere.
func (b *backlog) put(p []byte) error {
	for len(p) > 0 {
		space := b.space()
		if space == nil {
			return ErrMemory
		}
		n := copy(space, p)
		b.add(n)
		p = p[n:]
	}
	return nil
}

// ErrMemory says that the node has no memory left for what producers send.
var ErrMemory = errors.New("the broker has no memory left for messages in flight")

// giveBack ends the use of space, and frees what is not needed.
func (b *backlog) giveBack() {
	b.lent = false
	if last := len(b.chunks) - 1; last > 0 && b.chunks[last].n == 0 {
		b.release(b.chunks[last])
		b.chunks = b.chunks[:last]
	}
	if b.isEmpty() {
		b.free()
	}
}

// free frees all chunks, and what is in them.
func (b *backlog) free() {
	for len(b.chunks) > 0 {
		b.drop()
	}
	b.begin, b.start = b.end, b.end
}

// drop drops the first chunk.
func (b *backlog) drop() {
	c := b.chunks[0]
	b.begin += uint64(c.n)
	b.chunks = append(b.chunks[:0], b.chunks[1:]...)
	b.release(c)
}

func (b *backlog) release(c *chunk) {
	if len(*c.mem) == smallChunk {
		smallChunks.Put(c.mem)
		return
	}
	largeChunks.Put(c.mem)
	b.memory.Give(largeChunk)
}

// from copies bytes from an offset on, as far as there are any.
func (b *backlog) from(offset uint64, p []byte) (n int) {
	at := b.begin
	for _, c := range b.chunks {
		next := at + uint64(c.n)
		if offset < next {
			some := copy(p[n:], (*c.mem)[offset-at:c.n])
			n, offset = n+some, offset+uint64(some)
		}
		if at = next; n == len(p) {
			break
		}
	}
	return n
}

// ack says that all messages up to a number are acknowledged, and frees them.
func (b *backlog) ack(number uint64) error {
	if number <= b.acked {
		return nil
	}
	messages := number - b.acked
	b.acked = number
	if b.marks != nil {
		start, err := b.marks.ack(number)
		b.start = max(b.start, start)
		b.cut()
		return err
	}
	for i := 0; messages > 0; i++ {
		if i == len(b.chunks) {
			return errNotSent
		}
		c := b.chunks[i]
		if messages > uint64(c.lines) {
			messages -= uint64(c.lines)
			c.lines = 0
			continue
		}
		at := b.begin
		for _, before := range b.chunks[:i] {
			at += uint64(before.n)
		}
		from := 0
		if b.start > at {
			from = int(b.start - at)
		}
		p := (*c.mem)[from:c.n]
		end := bytes.LastIndexByte(p, '\n') + 1
		if messages < uint64(c.lines) {
			end = 0
			for range messages {
				end += bytes.IndexByte(p[end:], '\n') + 1
			}
		}
		c.lines -= int(messages)
		messages = 0
		b.start = at + uint64(from+end)
	}
	b.cut()
	return nil
}

// errNotSent is for an owner that acknowledges what the client has not sent.
var errNotSent = errors.New("more was acknowledged than was sent")

// cut frees the chunks of which everything is acknowledged.
func (b *backlog) cut() {
	for len(b.chunks) > 0 && b.begin+uint64(b.chunks[0].n) <= b.start && (len(b.chunks) > 1 || !b.lent) {
		b.drop()
	}
}

// next is the number of the first message at start.
func (b *backlog) next() uint64 {
	if b.marks != nil {
		return b.marks.first
	}
	return b.acked + 1
}

// Marks say where batches end in what a client has sent with format=batch.
type marks struct {
	known  []mark // of whole headers, not acknowledged
	first  uint64 // number of the first message of known[0], or of the next one to come
	last   uint64 // number of the last message of all
	offset uint64 // where the next header begins
	at     uint64 // of the bytes to come
	header []byte // the part of it that has come
	wrong  bool   // what has come is no batch: its owner says so
}

// A mark is of one batch.
type mark struct{ end, last uint64 }

// add takes the next bytes.
func (m *marks) add(p []byte) {
	for len(p) > 0 && !m.wrong {
		if skip := m.offset - m.at; skip > 0 && len(m.header) == 0 { // the rest of a batch
			n := min(skip, uint64(len(p)))
			p, m.at = p[n:], m.at+n
			continue
		}
		n := min(batch.HeaderSize-len(m.header), len(p))
		m.header = append(m.header, p[:n]...)
		if p, m.at = p[n:], m.at+uint64(n); len(m.header) < batch.HeaderSize {
			return
		}
		size, err := batch.Size(m.header, maxBatch)
		count := batch.Batch(m.header).Count()
		if m.wrong = err != nil || count < 1; m.wrong {
			return
		}
		m.last += uint64(count)
		m.offset += uint64(size)
		m.known = append(m.known, mark{m.offset, m.last})
		m.header = m.header[:0]
	}
}

// maxBatch is larger than any batch that an owner takes.
const maxBatch = 1 << 30

// ack says that messages up to a number are acknowledged, and gives where the first batch begins of which one is not.
func (m *marks) ack(number uint64) (start uint64, err error) {
	if number > m.last {
		return 0, errNotSent
	}
	n := 0
	for ; n < len(m.known) && m.known[n].last <= number; n++ {
		start, m.first = m.known[n].end, m.known[n].last+1
	}
	m.known = append(m.known[:0], m.known[n:]...)
	return start, nil
}
