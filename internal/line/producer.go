package line

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"strconv"
	"sync"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/record"
	"mbus/internal/store"
)

// A publisher is a producer's connection: it turns what it reads into batches
// and hands them to the log, while answers tells what is safe.
type publisher struct {
	*conn
	request *request
	topic   *broker.Topic // nil until the first message
	answers *answers
	count   uint64 // messages taken
	now     int64  // time of the messages of a read, in milliseconds since 1970
	message record.Message
	wait    []batch.Header // that all messages get, if they are to wait
}

// maxPiece is the size in bytes at which the messages of one read are handed to
// the log although there are more: short lines grow when they become records.
const maxPiece = 2 * broker.ReadBuffer

// produce serves a producer's connection.
func (c *conn) produce() error {
	r, err := c.readRequest(producerOptions)
	if err != nil {
		return ignoreEOF(err)
	}
	if err := c.broker.MayPublish(r.topic); err != nil {
		return toAnswer(err)
	}
	p := &publisher{conn: c, request: r, answers: newAnswers(c)}
	err = p.run()
	told, failure := p.answers.finish()
	if failure != nil {
		return toAnswer(failure)
	}
	if err == io.EOF {
		if told == 0 {
			return c.say("+0\n")
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

// run takes messages until there are no more, which is io.EOF, or something is
// wrong.
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
		if err := p.in.fill(want); err != nil {
			return p.ended(err)
		}
	}
}

// ended says what the end of the input means.
func (p *publisher) ended(err error) error {
	rest := len(p.in.bytes())
	switch {
	case errors.Is(err, errBusy):
		return &answerError{"BUSY", err}
	case errors.Is(err, os.ErrDeadlineExceeded) && p.server.isStopping():
		return answer("SHUTDOWN", "the broker is stopping")
	case err == io.EOF && rest > 0 && p.request.format == formatBatch:
		return answer("INCOMPLETE", "the last batch is not complete and was not taken")
	case err == io.EOF && rest > 0:
		return answer("INCOMPLETE", "the last message has no LF and was not taken")
	}
	return err
}

// builders holds what batches are built with.
var builders = sync.Pool{New: func() any { return new(batch.Builder) }}

// maxPooled is the size from which a builder's buffer is not kept.
const maxPooled = 2 * maxPiece

// takeLines publishes all lines that are there and returns how long the one
// that is not complete may be.
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
	limit := p.broker.Limits.MaxMessage
	if p.topic != nil {
		limit = min(limit, p.topic.MaxMessage())
	}
	return answer("TOOLARGE", "message %d is larger than %d bytes", number, limit)
}

// publishLines publishes the lines, or the first of them, and returns how many
// bytes it used. The messages before one that is wrong are published.
func (p *publisher) publishLines(lines []byte) (int, error) {
	if p.topic == nil {
		t, err := p.broker.MakeTopic(p.request.topic, "client", p.tcp.RemoteAddr())
		if err != nil {
			return 0, toAnswer(err)
		}
		p.topic = t
	}
	out := newPiece(p.topic)
	defer out.free()
	used := 0
	var wrong error
	for used < len(lines) && out.size < maxPiece && wrong == nil {
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

// add puts the message that a line stands for into out.
func (p *publisher) add(out *pieceBuilder, line []byte) error {
	number := p.count + uint64(out.messages) + 1
	size := len(line)
	switch {
	case p.request.keyed:
		key, value, ok := bytes.Cut(line, []byte("\t"))
		if !ok {
			return answer("BADMESSAGE", "message %d has no TAB between key and value", number)
		}
		if size <= p.broker.Limits.MaxMessage && out.fits(key, value, p.wait) {
			out.add(out.forKey(key), p.now, key, value, p.wait...)
			return nil
		}
	case p.request.format == formatJSON:
		return p.addJSON(out, line, number)
	case size <= p.broker.Limits.MaxMessage && out.fits(nil, line, p.wait):
		out.add(out.own, p.now, nil, line, p.wait...)
		return nil
	}
	return p.tooLarge(number)
}

func (p *publisher) addJSON(out *pieceBuilder, line []byte, number uint64) error {
	m := &p.message
	if err := record.ParseJSON(line, m); err != nil {
		return answer("BADMESSAGE", "message %d is not what format=json takes: %w", number, err)
	}
	size := len(m.Key) + len(m.Value)
	for _, h := range m.Headers {
		size += len(h.Key) + len(h.Value)
	}
	m.Headers = append(m.Headers, p.wait...)
	if err := broker.CheckDeliverAt(m.Headers); err != nil {
		return answer("BADMESSAGE", "message %d: %w", number, err)
	}
	if size > p.broker.Limits.MaxMessage || !out.fits(m.Key, m.Value, m.Headers) {
		return p.tooLarge(number)
	}
	if !m.HasTimestamp {
		m.Timestamp = p.now
	} else if err := p.broker.CheckTimes(p.topic, m.Timestamp, m.Timestamp); err != nil {
		return answer("BADMESSAGE", "message %d: %w", number, err)
	}
	partition := out.own
	if m.Key != nil {
		partition = out.forKey(m.Key)
	}
	out.add(partition, m.Timestamp, m.Key, m.Value, m.Headers...)
	return nil
}

// publish hands a piece to the log.
func (p *publisher) publish(out *pieceBuilder) error {
	if out.messages == 0 {
		return nil
	}
	number := p.answers.expect(out.messages, out.parts())
	p.count += uint64(out.messages)
	done := func(_ int64, err error) { p.answers.settle(number, err) }
	var lead store.Lead
	for i, b := range out.builders {
		if b == nil {
			continue
		}
		b.Close(0)
		lead.Go()
		var err error
		if lead, err = out.partitions[i].Write(b.Bytes(), done); err != nil {
			done(0, err)
		}
	}
	broker.Lead(lead, out.size)
	return p.answers.failure()
}

// takeBatches publishes all whole batches that are there and returns how long
// the next one is.
func (p *publisher) takeBatches() (int, error) {
	in, limit := p.in.bytes(), p.maxBatch()
	used, messages := 0, 0
	want := batch.HeaderSize
	var wrong error
	for len(in)-used >= batch.HeaderSize {
		n, err := batch.Size(in[used:], limit)
		if err != nil {
			wrong = p.badBatch(in[used:], messages, err)
			break
		}
		if want = n; n > len(in)-used {
			break
		}
		b := batch.Batch(in[used : used+n])
		if err := p.broker.Check(p.known(), b); err != nil {
			wrong = p.badBatch(b, messages, err)
			break
		}
		used, messages, want = used+n, messages+b.Count(), batch.HeaderSize
	}
	if err := p.publishBatches(in[:used], messages); err != nil {
		return 0, err
	}
	p.in.skip(used)
	return want, wrong
}

// maxBatch is the size of the largest batch that the topic takes, in bytes.
func (p *publisher) maxBatch() int {
	if t := p.known(); t != nil {
		return t.MaxBatch()
	}
	return p.broker.Limits.MaxBatch()
}

// known is the topic, nil if it is still to be made, with the first message.
func (p *publisher) known() *broker.Topic {
	if p.topic != nil {
		return p.topic
	}
	t, _ := p.broker.Topic(p.request.topic)
	return t
}

func (p *publisher) badBatch(b []byte, before int, err error) error {
	number := p.count + uint64(before) + 1
	limit := p.maxBatch()
	if n, unlimited := batch.Size(b, math.MaxInt); unlimited == nil && n > limit {
		return answer("TOOLARGE", "the batch that begins with message %d has %d bytes, the limit is %d", number, n, limit)
	}
	var told *answerError
	errors.As(toAnswer(err), &told)
	return answer(told.code, "the batch that begins with message %d: %w", number, err)
}

func (p *publisher) publishBatches(batches []byte, messages int) error {
	if messages == 0 {
		return nil
	}
	if p.topic == nil {
		t, err := p.broker.MakeTopic(p.request.topic, "client", p.tcp.RemoteAddr())
		if err != nil {
			return toAnswer(err)
		}
		p.topic = t
	}
	clearProducers(batches)
	if p.wait != nil {
		var err error
		if batches, err = p.rebuild(batches); err != nil {
			return toAnswer(err)
		}
		defer p.in.budget.Give(len(batches))
	}
	number := p.answers.expect(messages, 1)
	p.count += uint64(messages)
	lead, err := p.topic.For(nil).Write(batches, func(_ int64, err error) { p.answers.settle(number, err) })
	if err != nil {
		p.answers.settle(number, err)
	}
	broker.Lead(lead, len(batches))
	return p.answers.failure()
}

// setWait sets the header that has the messages of a read wait, if the request
// says that they do.
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

// clearProducers takes away producer ids. One stands for the promise of a Kafka
// producer to number its batches, which nobody has given here: such batches were
// consumed somewhere.
func clearProducers(batches []byte) {
	for len(batches) > 0 {
		b, rest, err := batch.Next(batches)
		if err != nil {
			return
		}
		if b.ProducerID() >= 0 {
			b.ClearProducer()
		}
		batches = rest
	}
}

// rebuild makes batches once more, with the header that has messages wait. What
// they take is taken from the budget.
func (p *publisher) rebuild(batches []byte) ([]byte, error) {
	var out batch.Builder
	err := broker.Scan(func(it *batch.Iterator) error {
		for len(batches) > 0 {
			b, rest, err := batch.Next(batches)
			if err != nil {
				return err
			}
			if err := p.addAll(&out, it, b); err != nil {
				return err
			}
			batches = rest
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !p.in.budget.Take(len(out.Bytes())) {
		return nil, &answerError{"BUSY", errBusy}
	}
	return out.Bytes(), nil
}

// addAll adds the messages of a batch, with the header, to out.
func (p *publisher) addAll(out *batch.Builder, it *batch.Iterator, b batch.Batch) error {
	if err := it.Reset(b); err != nil {
		return err
	}
	for it.Next() {
		r := it.Record()
		var headers []batch.Header
		for k, v := range r.Headers() {
			headers = append(headers, batch.Header{Key: string(k), Value: v})
		}
		out.Add(r.Timestamp, r.Key, r.Value, append(headers, p.wait...)...)
		if out.OpenSize() >= broker.TargetBatch {
			out.Close(0)
		}
	}
	out.Close(0)
	return it.Err()
}
