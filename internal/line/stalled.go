package line

import (
	"errors"
	"os"
	"time"

	"mbus/internal/broker"
	"mbus/internal/publish"
)

// freePart is the size of the largest part of a message whose buffer takes nothing from the
// budget, in bytes.
const freePart = broker.FirstBuffer / publish.SizeStep

// fill waits for more bytes, as publish.Input does. When a client has sent a part of a message
// and nothing more for WriteTime, and memory is short, the part is dropped and the client gets
// an error. While there is enough memory a message may take any time.
func (p *publisher) fill(want int) error {
	for {
		if heavy := len(p.in.Bytes()) > freePart; heavy || p.limited {
			p.setDeadline(heavy)
		}
		err := p.in.Fill(p.net, want)
		if !p.limited || !errors.Is(err, os.ErrDeadlineExceeded) || p.net.IsInterrupted() {
			return err
		}
		if p.broker.Budget.IsShort() {
			n := len(p.in.Bytes())
			p.in.Free() // now, not when the client has read the error
			return errorLinef("TIMEOUT", "a message of which %d bytes have come did not go on within %v, and others need the memory: send it again", n, p.broker.Limits.WriteTime)
		}
	}
}

// setDeadline sets the deadline for more bytes, or removes it.
func (p *publisher) setDeadline(isLimited bool) {
	var deadline time.Time
	if p.limited = isLimited; isLimited {
		deadline = time.Now().Add(p.broker.Limits.WriteTime)
	}
	p.net.SetReadDeadline(deadline)
}
