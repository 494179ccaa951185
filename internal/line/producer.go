package line

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/message"
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
	message message.Parsed
	wait    []batch.Header // of all messages, if they are delayed
	limited bool           // there is a deadline for the next bytes
}

// maxAppend is the size in bytes at which the messages of one read are appended although there
// are more: short lines grow when they become records.
const maxAppend = 2 * broker.ReadBuffer

// produce serves a producer's connection.
func (c *conn) produce() error {
	r, err := c.readRequest(producerOptions)
	if err != nil {
		return ignoreEOF(err)
	}
	if err := c.view.MayPublish(r.topic); err != nil {
		return toErrorLine(err)
	}
	p := &publisher{conn: c, request: r, count: uint64(r.stream.First - 1)}
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
	rest := len(p.in.bytes())
	switch {
	case errors.Is(err, errBusy):
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

// builders are reused.
var builders = sync.Pool{New: func() any { return new(batch.Builder) }}

// maxPooled is the size from which a builder's buffer is not kept.
const maxPooled = 2 * maxAppend

// takeLines publishes all lines that have come and returns how long the one that is not
// complete may be.
func (p *publisher) takeLines() (int, error) {
	limit := p.broker.Limits.MaxMessage
	if p.request.format == formatJSON {
		limit = 6*limit + broker.BatchSlack // every byte may be escaped
	}
	for {
		in := p.in.bytes()
		end := bytes.LastIndexByte(in, '\n') + 1
		if end == 0 {
			if len(in) > limit {
				return 0, p.tooLarge(p.count + 1)
			}
			return limit + 1, nil
		}
		used, err := p.publishLines(in[:end])
		p.in.skip(used)
		if err != nil {
			return 0, err
		}
	}
}

func (p *publisher) tooLarge(number uint64) error {
	limit, whose := p.limit()
	return errorLinef("TOOLARGE", "message %d is larger than %d bytes (%s)", number, limit, whose)
}

// limit is the size of the largest message in bytes, and the setting that says so.
func (p *publisher) limit() (limit int, whose string) {
	limit = p.broker.Limits.MaxMessage
	if t := p.known(); t != nil && t.MaxMessage() < limit {
		return t.MaxMessage(), "max.message.bytes of the topic"
	}
	return limit, "-max-message of the broker"
}

// publishLines publishes the lines, or the first of them, and returns how many
// bytes it used. The messages before one that is wrong are published.
func (p *publisher) publishLines(lines []byte) (int, error) {
	if err := p.makeTopic(); err != nil {
		return 0, err
	}
	out := newPartitionedBatch(p.topic, p.stream)
	defer out.free()
	p.spread(out)
	used := 0
	var wrong error
	for used < len(lines) && out.size < maxAppend && wrong == nil {
		n := bytes.IndexByte(lines[used:], '\n')
		if wrong = p.add(out, lines[used:used+n]); wrong == nil {
			used += n + 1
		}
	}
	if err := p.publish(out); err != nil {
		return used, err
	}
	return used, wrong
}

// add parses a line and adds its message to out.
func (p *publisher) add(out *partitionedBatch, line []byte) error {
	number := p.count + uint64(out.messages) + 1
	size := len(line)
	switch {
	case p.request.keyed:
		key, value, ok := bytes.Cut(line, []byte("\t"))
		if !ok {
			return errorLinef("BADMESSAGE", "message %d has no TAB between key and value", number)
		}
		if size <= p.broker.Limits.MaxMessage && out.fits(key, value, p.wait) {
			p.put(out, number, p.now, key, value, p.wait)
			return nil
		}
	case p.request.format == formatJSON:
		return p.addJSON(out, line, number)
	case size <= p.broker.Limits.MaxMessage && out.fits(nil, line, p.wait):
		p.put(out, number, p.now, nil, line, p.wait)
		return nil
	}
	return p.tooLarge(number)
}

func (p *publisher) addJSON(out *partitionedBatch, line []byte, number uint64) error {
	m := &p.message
	if err := message.ParseJSON(line, m); err != nil {
		return errorLinef("BADMESSAGE", "message %d is not what format=json takes: %w", number, err)
	}
	size := len(m.Key) + len(m.Value)
	for _, h := range m.Headers {
		size += len(h.Key) + len(h.Value)
	}
	m.Headers = append(m.Headers, p.wait...)
	if err := broker.CheckDeliverAt(m.Headers); err != nil {
		return errorLinef("BADMESSAGE", "message %d: %w", number, err)
	}
	if size > p.broker.Limits.MaxMessage || !out.fits(m.Key, m.Value, m.Headers) {
		return p.tooLarge(number)
	}
	if !m.HasTimestamp {
		m.Timestamp = p.now
	} else if err := p.broker.CheckTimes(p.topic, m.Timestamp, m.Timestamp); err != nil {
		return errorLinef("BADMESSAGE", "message %d: %w", number, err)
	}
	p.put(out, number, m.Timestamp, m.Key, m.Value, m.Headers)
	return nil
}

// put adds a message to out, unless it is stored.
func (p *publisher) put(out *partitionedBatch, number uint64, time int64, key, value []byte, headers []batch.Header) {
	at, stored := p.spot(out, int64(number), key, headers)
	if stored {
		out.skip()
		return
	}
	out.add(at, time, key, value, headers...)
}

// publish appends the batches of out.
func (p *publisher) publish(out *partitionedBatch) error {
	if out.messages == 0 {
		return nil
	}
	partitions, last := out.count()
	number := p.acks.begin(out.messages, max(partitions, 1))
	p.count += uint64(out.messages)
	done := func(_ int64, err error) { p.acks.complete(number, err) }
	if partitions == 0 { // all messages are stored
		done(0, nil)
	}
	for i, b := range out.builders {
		if b == nil {
			continue
		}
		out.close(i)
		o := broker.AppendOptions{Checked: true, Port: broker.Producers, Stream: p.stream, Inline: i == last && out.size <= broker.InlineCommit}
		if err := out.partitions[i].Append(b.Bytes(), o, done); err != nil {
			done(0, err)
		}
	}
	return p.acks.failure()
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
