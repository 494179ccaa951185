package line

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/publish"
)

// A publisher is a producer's connection: it builds batches of the messages that it reads and
// appends them; its ack tracker writes which are durable.
type publisher struct {
	*conn
	request *request
	topic   *broker.Topic  // nil until the first message
	stream  *broker.Stream // nil where messages have no numbers, and until there is a topic
	acks    *ackTracker
	count   uint64 // number of the latest message taken, from 1
	now     int64  // time of the messages of a read, in milliseconds since 1970
	reader  publish.Reader
	wait    []batch.Header // of all messages, if they are delayed
	limited bool           // there is a deadline for the next bytes
}

// produce serves a producer's connection.
func (c *conn) produce() error {
	r, err := c.readRequest(producerOptions)
	if err != nil {
		return ignoreEOF(err)
	}
	if err := c.view.MayPublish(r.topic); err != nil {
		return toErrorLine(err)
	}
	p := &publisher{conn: c, request: r, count: uint64(r.stream.First - 1), reader: publish.Reader{Broker: c.broker}}
	p.acks = newAckTracker(c, p.count)
	before := p.count
	defer p.closeStream()
	if err = p.goOn(); err == nil {
		err = p.run()
	}
	acked, failure := p.acks.finish()
	if failure != nil {
		return toErrorLine(failure)
	}
	if err == io.EOF {
		if acked == before {
			return c.writeLine(fmt.Sprintf("+%d\n", acked))
		}
		return nil
	}
	return err
}

func ignoreEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// run publishes messages until there are no more, which is io.EOF, or one is wrong.
func (p *publisher) run() error {
	take := p.takeLines
	if p.request.format == formatBatch {
		take = p.takeBatches
	}
	for {
		p.now = p.broker.Now().UnixMilli()
		p.setWait()
		want, err := take()
		if err != nil {
			return err
		}
		if err := p.fill(want); err != nil {
			return p.ended(err)
		}
	}
}

// ended is the error for the client at the end of the input.
func (p *publisher) ended(err error) error {
	rest := len(p.in.Bytes())
	switch {
	case errors.Is(err, publish.ErrBusy):
		return &errorLine{"BUSY", err}
	case errors.Is(err, os.ErrDeadlineExceeded) && p.server.isStopping():
		return errorLinef("SHUTDOWN", "the broker is stopping")
	case errors.Is(err, os.ErrDeadlineExceeded) && p.stream != nil && p.stream.IsReplaced():
		return toErrorLine(broker.ErrReplaced)
	case err == io.EOF && rest > 0 && p.request.format == formatBatch:
		return errorLinef("INCOMPLETE", "the last batch is not complete and was not taken")
	case err == io.EOF && rest > 0:
		return errorLinef("INCOMPLETE", "the last message has no LF and was not taken")
	}
	return err
}

// takeLines publishes all lines that have come and returns how long the one that is not
// complete may be.
func (p *publisher) takeLines() (int, error) {
	limit := p.broker.Limits.MaxMessage
	if p.request.format == formatJSON {
		limit = 6*limit + broker.BatchSlack // every byte may be escaped
	}
	for {
		in := p.in.Bytes()
		end := bytes.LastIndexByte(in, '\n') + 1
		if end == 0 {
			if len(in) > limit {
				return 0, p.tooLarge(p.count + 1)
			}
			return limit + 1, nil
		}
		used, err := p.publishLines(in[:end])
		p.in.Skip(used)
		if err != nil {
			return 0, err
		}
	}
}

func (p *publisher) tooLarge(number uint64) error {
	return toErrorLine(publish.TooLarge(p.broker, p.known(), number))
}

// publishLines publishes the lines, or the first of them, and returns how many
// bytes it used. The messages before one that is wrong are published.
func (p *publisher) publishLines(lines []byte) (int, error) {
	if err := p.makeTopic(); err != nil {
		return 0, err
	}
	p.reader.Topic, p.reader.Now, p.reader.Headers = p.topic, p.now, p.wait
	add := p.reader.Line
	switch {
	case p.request.keyed:
		add = p.reader.Keyed
	case p.request.format == formatJSON:
		add = p.reader.JSON
	}
	out := publish.NewBatch(p.topic, p.stream, p.request.keyed || p.request.format == formatJSON, len(lines))
	defer out.Free()
	used := 0
	var wrong error
	for used < len(lines) && out.Size() < publish.MaxAppend && wrong == nil {
		n := bytes.IndexByte(lines[used:], '\n')
		if wrong = add(out, lines[used:used+n], p.count+uint64(out.Messages())+1); wrong == nil {
			used += n + 1
		}
	}
	if out.Messages() > 0 {
		number := p.acks.begin(out.Messages(), max(out.Partitions(), 1))
		p.count += uint64(out.Messages())
		out.Append(broker.Producers, func(err error) { p.acks.complete(number, err) })
	}
	if err := p.acks.failure(); err != nil {
		return used, err
	}
	if wrong != nil {
		return used, toErrorLine(wrong)
	}
	return used, nil
}

// setWait sets the header that delays the messages of a read, if the request has a delay or
// a time.
func (p *publisher) setWait() {
	at := p.request.at.UnixMilli()
	switch {
	case p.request.delay > 0:
		at = p.now + p.request.delay.Milliseconds()
	case p.request.at.IsZero():
		return
	}
	p.wait = []batch.Header{{Key: broker.HeaderDeliverAt, Value: strconv.AppendInt(nil, at, 10)}}
}
