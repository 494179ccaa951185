package store

// A Source is what a store puts behind a Chunk.
type Source interface {
	// Load reads n bytes at pos, batches of which the first has base offset
	// first, into buf, growing it as needed, and checks them. If not all are
	// sound it returns those before the damage, or a *DamageError when the
	// first one is bad.
	Load(buf []byte, pos int64, n int, first int64) ([]byte, error)
	// Release says that the chunk needs the source no longer.
	Release()
}

// A Sender is a Source that can have the system send a chunk's bytes, without
// their passing through the program.
type Sender interface {
	// Sendable says whether the n bytes at pos can be sent unread: they are what
	// was once checked, as far as this process knows.
	Sendable(pos int64, n int) bool
	// SendTo sends the n bytes at pos. Fewer are sent only with an error; none with
	// errors.ErrUnsupported, after which they may be loaded and sent.
	SendTo(conn RawWriter, pos int64, n int) error
}

// A RawWriter is the part of syscall.RawConn that sending takes.
type RawWriter interface {
	// Write calls f until it returns true, whenever the connection can be
	// written to.
	Write(f func(fd uintptr) (done bool)) error
}

// A Chunk is a run of whole batches, found but not yet read. The zero value is
// empty. Only its owner may use it, one goroutine at a time.
type Chunk struct {
	First, Next int64 // offsets: of the first record, and after the last

	// For the store's use.
	Source Source
	Pos    int64
	N      int
	Lost   bool // Load met damage: where the batches end is not certain
}

// Len is the size of the batches in bytes, 0 for an empty chunk.
func (c *Chunk) Len() int { return c.N }

// Load reads the batches into buf, grown if it is too small, and checks each
// one's header and CRC-32C. It returns the sound ones before the first damage;
// when there are none, a *DamageError.
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

// SendTo sends the batches of a Sendable chunk, as they are stored. After an error
// part of them may have been sent.
func (c *Chunk) SendTo(conn RawWriter) error {
	return c.Source.(Sender).SendTo(conn, c.Pos, c.N)
}

// Clear makes the chunk empty but remembers its end, to go on from there.
func (c *Chunk) Clear() {
	c.Pos, c.N, c.First = c.Pos+int64(c.N), 0, c.Next
}

// Release makes the chunk empty and lets go of what it holds of the store. It
// may be called more than once.
func (c *Chunk) Release() {
	if c.Source != nil {
		c.Source.Release()
	}
	*c = Chunk{}
}
