package store

// A Source is the part of a Chunk that a store implements.
type Source interface {
	// Load reads the n bytes of batches at pos, the first of which has base offset first, into
	// buf, which it grows if needed, and verifies them. It returns the batches before any damage,
	// or a *DamageError if the first one is damaged.
	Load(buf []byte, pos int64, n int, first int64) ([]byte, error)
	// Release is called when the chunk does not need the source any more.
	Release()
}

// A Sender is a Source that can have the system send a chunk (sendfile), so that its bytes do not
// pass through the program.
type Sender interface {
	// Sendable says whether the n bytes at pos can be sent unread, because this process has
	// verified them before.
	Sendable(pos int64, n int) bool
	// SendTo sends the n bytes at pos, or fewer with an error. With errors.ErrUnsupported it has
	// sent none, and they may be loaded and sent.
	SendTo(conn RawWriter, pos int64, n int) error
}

// A RawWriter is the part of syscall.RawConn that SendTo needs.
type RawWriter interface {
	// Write calls f until it returns true, whenever the connection can be written to.
	Write(f func(fd uintptr) (done bool)) error
}

// A Chunk is a run of whole batches that were located and not yet read. The zero value is empty. One
// goroutine at a time may use it.
type Chunk struct {
	First, Next int64 // offsets: of the first record, and behind the last one

	// For the store's use.
	Source Source
	Pos    int64
	N      int
	Lost   bool // Load found damage: the end of the batches is uncertain
}

// Len is the size of the batches in bytes, 0 for an empty chunk.
func (c *Chunk) Len() int { return c.N }

// Load reads the batches into buf, which it grows if it is too small, and verifies the header and the
// CRC-32C of each. It returns the batches before the first damage, or a *DamageError if there are
// none.
func (c *Chunk) Load(buf []byte) ([]byte, error) {
	if c.N == 0 {
		return buf[:0], nil
	}
	p, err := c.Source.Load(buf, c.Pos, c.N, c.First)
	c.Lost = c.Lost || len(p) < c.N
	return p, err
}

// Sendable says whether SendTo can be called.
func (c *Chunk) Sendable() bool {
	s, ok := c.Source.(Sender)
	return ok && c.N > 0 && s.Sendable(c.Pos, c.N)
}

// SendTo sends the batches of a Sendable chunk as they are stored. After an error a part of them may
// have been sent.
func (c *Chunk) SendTo(conn RawWriter) error {
	return c.Source.(Sender).SendTo(conn, c.Pos, c.N)
}

// Clear makes the chunk empty, but keeps its end, to read on from there.
func (c *Chunk) Clear() {
	c.Pos, c.N, c.First = c.Pos+int64(c.N), 0, c.Next
}

// Release makes the chunk empty and releases its resources. It may be called more than once.
func (c *Chunk) Release() {
	if c.Source != nil {
		c.Source.Release()
	}
	*c = Chunk{}
}
