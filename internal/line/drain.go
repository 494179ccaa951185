package line

import (
	"errors"
	"time"

	"mbus/internal/broker"
)

// A drain is a consumer that gets what its group has not consumed, up to the end
// of the topic as it stood when the request came, and acknowledges by closing
// the connection in good order.
type drain struct{ *consumer }

func (c *conn) drain(r *request) error {
	if !c.server.finish(c) {
		return answer("SHUTDOWN", "the broker is stopping")
	}
	c.net.Observe()
	d := &drain{newConsumer(c, r)}
	c.in.free() // nothing more is expected
	defer d.release()
	return d.end(d.run())
}

// run sends what is free, and then what other members give back within the
// settling time.
func (d *drain) run() (err error) {
	d.topic, err = d.request.find(d.broker)
	none := errors.Is(err, broker.ErrUnknownTopic)
	if none && !d.request.startEnd {
		return nil
	}
	if err != nil && !none {
		return toAnswer(err)
	}
	if err := d.join(nil); err != nil {
		return err
	}
	if none {
		return d.expect()
	}
	if err := d.begin(); err != nil {
		return err
	}
	var settled <-chan time.Time
	for {
		for _, p := range d.inTurn() {
			if err := d.drainPart(p); err != nil {
				return err
			}
		}
		if err := d.flush(); err != nil || d.left == 0 {
			return err
		}
		changed := d.others()
		if d.anyFree() {
			continue // given back while others were looked at, or a reader was slow
		}
		if changed == nil {
			return d.gone()
		}
		d.unload()
		if settled == nil {
			settled = time.After(d.broker.Limits.SettleTime)
		}
		select {
		case <-changed:
		case <-time.After(lookTime):
			if _, err := d.net.PeerClosed(); err != nil {
				return err // others wait for what this one holds
			}
		case <-settled:
			return d.gone()
		}
	}
}

// lookTime is how often a drain that waits looks whether its client is still there.
const lookTime = 20 * time.Millisecond

func (d *drain) drainPart(p *part) error {
	for {
		if n, err := d.sendFree(p, p.end, maxChunk); n == 0 || err != nil {
			return err
		}
	}
}

// maxChunk is more messages than one look into the log gives.
const maxChunk = readChunk

// anyFree says whether there is something that nobody holds.
func (d *drain) anyFree() bool {
	now := time.Now()
	for _, p := range d.parts {
		if s, _ := p.pos.Free(p.end, now); s.Len() > 0 {
			return true
		}
	}
	return false
}

// others is closed when another member has given something back; nil if none
// holds anything.
func (d *drain) others() <-chan struct{} {
	for _, p := range d.parts {
		if c := p.pos.Others(&d.member, p.end); c != nil {
			return c
		}
	}
	return nil
}

// end tells the client why there is no more, if there is a reason, and finds
// out whether it has read everything.
func (d *drain) end(err error) error {
	if err := d.last(err); err != nil {
		return err
	}
	if err := d.flush(); err != nil {
		return err
	}
	d.net.Observe() // before the client's system has all of it
	d.close()
	return d.confirmClose()
}
