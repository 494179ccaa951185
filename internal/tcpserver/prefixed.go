package tcpserver

// A prefixed connection has been read from: its server begins with what was read.
type prefixed struct {
	Conn
	bytes []byte
}

// Prefixed is a connection whose server reads some bytes first, which were read from it before.
func Prefixed(c Conn, bytes []byte) Conn {
	if len(bytes) == 0 {
		return c
	}
	return &prefixed{c, bytes}
}

func (c *prefixed) Read(p []byte) (int, error) {
	if len(c.bytes) > 0 && !c.IsInterrupted() {
		return c.take(p), nil
	}
	return c.Conn.Read(p)
}

func (c *prefixed) ReadInto(b Buffer) (int, error) {
	if len(c.bytes) > 0 && !c.IsInterrupted() {
		p := b.Space()
		if p == nil {
			return 0, ErrNoSpace
		}
		return c.take(p), nil
	}
	return c.Conn.ReadInto(b)
}

func (c *prefixed) take(p []byte) int {
	n := copy(p, c.bytes)
	if c.bytes = c.bytes[n:]; len(c.bytes) == 0 {
		c.bytes = nil
	}
	return n
}

func (c *prefixed) PeerClosed() (bool, error) {
	c.bytes = nil
	return c.Conn.PeerClosed()
}
