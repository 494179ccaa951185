package line

import (
	"errors"
	"os"
	"time"

	"mbus/internal/broker"
)

// lightPart is what the beginning of a message may have, in bytes, without taking memory
// that others may need: its buffer is not one of the budget.
const lightPart = broker.FirstBuffer / sizeStep

// fill waits for more bytes, as input.fill does. A client that has sent a part of a message
// and no more for WriteTime gives up the memory for it where that is short: the error is
// told. Where there is enough it may take as long as it likes.
func (p *publisher) fill(want int) error {
	for {
		if heavy := len(p.in.bytes()) > lightPart; heavy || p.limited {
			p.setDeadline(heavy)
		}
		err := p.in.fill(p.net, want)
		if !p.limited || !errors.Is(err, os.ErrDeadlineExceeded) || p.net.IsInterrupted() {
			return err
		}
		if p.broker.Budget.IsShort() {
			n := len(p.in.bytes())
			p.in.free() // now, not when the client has read this
			return errorLinef("TIMEOUT", "a message of which %d bytes have come did not go on within %v, and others need the memory: send it again", n, p.broker.Limits.WriteTime)
		}
	}
}

// setDeadline sets the time within which more bytes are to come, or takes it back.
func (p *publisher) setDeadline(isLimited bool) {
	var deadline time.Time
	if p.limited = isLimited; isLimited {
		deadline = time.Now().Add(p.broker.Limits.WriteTime)
	}
	p.net.SetReadDeadline(deadline)
}
