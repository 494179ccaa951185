package web

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"mbus/internal/broker"
	"mbus/internal/delivery"
	"mbus/internal/publish"
	"mbus/internal/tcpserver"
)

const typeManyLines = "text/plain;lines"

// A linesOf makes a message of a line.
type linesOf struct {
	add func(r *publish.Reader, out *publish.Batch, line []byte, number uint64) error
	max int // bytes of a line; 0 where the body is read whole
}

// manyOf says how a body is read that holds many messages; nil for one message.
func (c *call) manyOf() *linesOf {
	limit := c.server.broker.Limits.MaxMessage
	if c.isBinaryEvent() {
		return nil
	}
	value := c.r.Header.Get("Content-Type")
	name, params, _ := strings.Cut(value, ";")
	switch strings.ToLower(strings.TrimSpace(name)) {
	case typeJSONs, "application/ndjson", "application/jsonl":
		return &linesOf{(*publish.Reader).JSON, 6*limit + broker.BatchSlack} // every byte may be escaped
	case typeEvents:
		return &linesOf{addEvent, 0}
	case "text/plain":
		if !hasLines(params) {
			return nil
		}
		if keyed, _ := c.has("keyed"); keyed {
			return &linesOf{(*publish.Reader).Keyed, limit}
		}
		return &linesOf{(*publish.Reader).Line, limit}
	}
	return nil
}

// hasLines says whether the parameters of a media type name lines, which needs no value.
func hasLines(params string) bool {
	for p := range strings.SplitSeq(params, ";") {
		if name, _, _ := strings.Cut(p, "="); strings.EqualFold(strings.TrimSpace(name), "lines") {
			return true
		}
	}
	return false
}

// Many messages are published as they arrive.
type many struct {
	c      *call
	topic  *broker.Topic
	stream *broker.Stream // nil where messages have no numbers
	like   *outgoing      // the options of all messages
	lines  *linesOf
	reader publish.Reader
	in     publish.Input
	sent   *publish.Progress
	count  uint64 // messages taken
	ended  error  // that came with the latest bytes
}

// A publishedMany says how many messages, from the first one on, are on disk.
type publishedMany struct {
	Topic     string `json:"topic"`
	Published uint64 `json:"published"`
}

// publishMany publishes the messages of a body, and answers how many are on disk, whatever has happened.
func (c *call) publishMany(name string, like *outgoing, lines *linesOf) error {
	if like.hasTime {
		return badRequest("%q goes with a body that is one message", "time")
	}
	t, err := c.view.MakeTopic(name)
	if err != nil {
		return withPublished(err, 0)
	}
	m := &many{c: c, topic: t, like: like, lines: lines, in: publish.NewInput(&c.server.broker.Budget)}
	defer m.in.Free()
	m.reader = publish.Reader{Broker: c.server.broker, Topic: t, Headers: like.headers, Key: like.key}
	if like.once != "" {
		if err := m.number(); err != nil {
			return withPublished(err, 0)
		}
		defer m.stream.Close()
	}
	m.sent = publish.NewProgress(func() { c.conn.SetReadDeadline(time.Now()) })
	err = m.run()
	published, failure := m.sent.Wait()
	switch {
	case failure != nil:
		err = failure
	case err != io.EOF && m.stream != nil && m.stream.IsReplaced():
		err = broker.ErrReplaced
	}
	if err != io.EOF {
		return withPublished(err, published)
	}
	return c.json(http.StatusOK, publishedMany{name, published})
}

// withPublished is an error with the number of messages that are on disk.
func withPublished(err error, n uint64) error {
	p := *toProblem(err)
	p.Extra = map[string]any{"published": n}
	return &p
}

// number has the messages numbered as those of an idempotency key: those that are stored are not stored again.
// A later request with the key ends this one.
func (m *many) number() (err error) {
	m.stream, err = m.c.view.OpenStream(m.topic, broker.StreamRequest{
		ID: broker.KeyID(m.like.once), First: 1, Turn: m.c.server.turns.Add(1), Quit: m.c.server.conns.Stopped(),
		Replaced: func() { m.c.conn.SetReadDeadline(time.Now()) },
	})
	return err
}

// run publishes messages until there are no more, which is io.EOF, or one is wrong.
func (m *many) run() error {
	limit := m.lines.max
	if limit == 0 {
		return m.runWhole()
	}
	for {
		in := m.in.Bytes()
		end := bytes.LastIndexByte(in, '\n') + 1
		switch {
		case end > 0:
			used, err := m.publish(in[:end])
			if m.in.Skip(used); err != nil {
				return err
			}
		case len(in) > limit:
			return publish.TooLarge(m.c.server.broker, m.topic, m.count+1)
		case m.ended == io.EOF && len(in) > 0: // the last one needs no LF: HTTP shows that it is whole
			used, err := m.publish(in)
			if m.in.Skip(min(used, len(in))); err != nil {
				return err
			}
		case m.ended != nil:
			return m.ended
		default:
			if err := m.in.Fill(m, limit+1); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
		}
	}
}

// runWhole publishes the events of a body.
func (m *many) runWhole() error {
	b := m.c.newBody(m.c.server.broker.Limits.MaxMessage)
	defer b.free()
	lines, err := m.c.readEvents(b)
	if err != nil {
		return err
	}
	for len(lines) > 0 {
		used, err := m.publish(lines)
		if err != nil {
			return err
		}
		lines = lines[used:]
	}
	return io.EOF
}

// ReadInto reads the body.
func (m *many) ReadInto(b tcpserver.Buffer) (int, error) {
	space := b.Space()
	if space == nil {
		return 0, delivery.ErrMemory
	}
	n, err := m.c.readBody(space)
	m.ended = err
	if n > 0 {
		return n, nil
	}
	return n, err
}

// publish publishes the lines, or the first of them, and returns how many bytes it used. The messages
// before one that is wrong are published. The last line may have no LF, which counts as used.
func (m *many) publish(lines []byte) (used int, err error) {
	m.reader.Now = m.c.server.broker.Now().UnixMilli()
	out := publish.NewBatch(m.topic, m.stream, m.like.partition < 0, len(lines))
	defer out.Free()
	if m.like.partition >= 0 && !out.Only(m.like.partition) {
		return 0, noPartition(m.topic, m.like.partition)
	}
	var wrong error
	for used < len(lines) && out.Size() < publish.MaxAppend && wrong == nil {
		n := bytes.IndexByte(lines[used:], '\n')
		if n < 0 {
			n = len(lines) - used
		}
		if wrong = m.lines.add(&m.reader, out, lines[used:used+n], m.count+uint64(out.Messages())+1); wrong == nil {
			used += n + 1
		}
	}
	m.count += uint64(out.Messages())
	if err := m.sent.Append(out); err != nil {
		return used, err
	}
	return used, wrong
}
