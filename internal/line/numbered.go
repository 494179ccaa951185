package line

import (
	"errors"
	"fmt"

	"mbus/internal/broker"
)

// setProducer reads the id of a producer's stream.
func setProducer(r *request, value string) (err error) {
	r.stream.ID, err = number(value, 1)
	return err
}

// maxFirst leaves room for the numbers of a connection.
const maxFirst = 1 << 62

func setFirst(r *request, value string) (err error) {
	r.stream.First, err = number(value, 1)
	if err == nil && r.stream.First > maxFirst {
		err = fmt.Errorf("it takes a number up to %d, not %q", int64(maxFirst), value)
	}
	return err
}

// goOn finds the topic of a stream that is continued, and of a request that names the
// topic's id. Other topics are found, or made, with the first message.
func (p *publisher) goOn() error {
	r := p.request
	if r.stream.ID == 0 && r.id == nil {
		return nil
	}
	t, err := r.find(p.view, broker.Write)
	switch {
	case errors.Is(err, broker.ErrUnknownTopic) && r.stream.First > 1 && !r.stream.New:
		return errorLinef("GONE", "the topic %q, which has the first %d messages of producer=%d, was deleted", r.topic, r.stream.First-1, r.stream.ID)
	case errors.Is(err, broker.ErrUnknownTopic):
		return nil
	case err != nil:
		return toErrorLine(err)
	}
	p.topic = t
	return p.openStream()
}

// makeTopic finds the topic, or makes it, if that has not been done.
func (p *publisher) makeTopic() error {
	if p.topic != nil {
		return nil
	}
	t, err := p.view.MakeTopic(p.request.topic)
	if err != nil {
		return toErrorLine(err)
	}
	p.topic = t
	return p.openStream()
}

// openStream begins or goes on with the stream of the request, if it names one.
func (p *publisher) openStream() error {
	r := p.request.stream
	if r.ID == 0 {
		return nil
	}
	r.Turn, r.Replaced, r.Quit = p.number, p.net.Interrupt, p.server.conns.Stopped()
	stream, err := p.view.OpenStream(p.topic, r)
	if err != nil {
		return toErrorLine(err)
	}
	p.stream = stream
	return nil
}

func (p *publisher) closeStream() {
	if p.stream != nil {
		p.stream.Close()
	}
}

// storedAll reports whether count messages of a stream, from number first on, are stored.
func (p *publisher) storedAll(first int64, count int) bool {
	if p.stream == nil {
		return false
	}
	for n := range int64(count) {
		if !p.stream.Stored(first+n, nil) {
			return false
		}
	}
	return true
}
