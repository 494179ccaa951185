package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// An engineWire is the wire of partitions to the engine.
type engineWire struct {
	e     *Engine
	acks  *replies // of messages
	reads *replies // of direct reads, each of which gets several
}

func newEngineWire(e *Engine) (*engineWire, error) {
	acks, err := newReplies(e.publish)
	if err != nil {
		return nil, err
	}
	reads, err := newReplies(e.read)
	if err != nil {
		acks.stop()
		return nil, err
	}
	return &engineWire{e, acks, reads}, nil
}

func (w *engineWire) stop() {
	w.acks.stop()
	w.reads.stop()
}

// replies gives the replies to requests of a connection to those who wait for them.
type replies struct {
	conn   *nats.Conn
	prefix string
	sub    *nats.Subscription

	mu      sync.Mutex // guards what follows
	next    uint64
	waiting map[string]func(*nats.Msg)
}

func newReplies(conn *nats.Conn) (*replies, error) {
	r := &replies{conn: conn, prefix: nats.NewInbox() + ".", waiting: make(map[string]func(*nats.Msg))}
	sub, err := conn.Subscribe(r.prefix+"*", func(m *nats.Msg) {
		r.mu.Lock()
		f := r.waiting[m.Subject]
		r.mu.Unlock()
		if f != nil {
			f(m)
		}
	})
	if err != nil {
		return nil, err
	}
	r.sub = sub
	return r, sub.SetPendingLimits(-1, -1)
}

func (r *replies) stop() { _ = r.sub.Unsubscribe() }

// expect gives a subject for replies, which f is called with until end. f must not block.
func (r *replies) expect(f func(*nats.Msg)) (subject string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next++
	subject = r.prefix + strconv.FormatUint(r.next, 36)
	r.waiting[subject] = f
	return subject
}

func (r *replies) end(subject string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, subject)
}

// An enginePublishing is a message on its way to the engine.
type enginePublishing struct {
	w     *engineWire
	at    place
	reply string
	got   chan answer
}

// publishing implements wire.
func (w *engineWire) publishing(at place) publishing {
	p := &enginePublishing{w: w, at: at, got: make(chan answer, 8)}
	p.reply = w.acks.expect(func(m *nats.Msg) {
		a, err := answerOf(m)
		if err == nil && a.err == nil && at.stream != a.stream {
			a.err = fmt.Errorf("stream %q has stored what was sent to stream %q", a.stream, at.stream)
		}
		if err != nil {
			a.err = err
		}
		select {
		case p.got <- a.answer:
		default: // of more attempts than anybody looks at
		}
	})
	return p
}

type streamAnswer struct {
	answer
	stream string
}

func answerOf(m *nats.Msg) (a streamAnswer, err error) {
	if isStatus(m, "503") {
		return a, nats.ErrNoResponders
	}
	var r server.JSPubAckResponse
	if err := json.Unmarshal(m.Data, &r); err != nil {
		return a, err
	}
	if r.Error != nil {
		if r.Error.ErrCode == codeBusySubject {
			return a, errBusy
		}
		return a, r.Error
	}
	if r.PubAck == nil || r.Sequence == 0 {
		return a, errors.New("the engine's answer has no sequence")
	}
	return streamAnswer{answer{seq: r.Sequence}, r.Stream}, nil
}

func isStatus(m *nats.Msg, code string) bool {
	return len(m.Data) == 0 && m.Header.Get("Status") == code
}

func (p *enginePublishing) send(c condition, data []byte) error {
	m := &nats.Msg{Subject: p.at.subject, Reply: p.reply, Data: data}
	switch c.kind {
	case lastOfAll:
		m.Header = nats.Header{nats.ExpectedLastSeqHdr: {strconv.FormatUint(c.seq, 10)}}
	case lastOfThis:
		m.Header = nats.Header{nats.ExpectedLastSubjSeqHdr: {strconv.FormatUint(c.seq, 10)}}
	}
	return p.w.e.publish.PublishMsg(m)
}

func (p *enginePublishing) answers() <-chan answer { return p.got }

func (p *enginePublishing) end() { p.w.acks.end(p.reply) }

// next implements wire.
func (w *engineWire) next(ctx context.Context, at place, from uint64, patience time.Duration) (stored, error) {
	return w.get(ctx, at, server.JSApiMsgGetRequest{Seq: from, NextFor: at.subject}, patience)
}

// last implements wire.
func (w *engineWire) last(ctx context.Context, at place, patience time.Duration) (stored, error) {
	return w.get(ctx, at, server.JSApiMsgGetRequest{LastFor: at.subject}, patience)
}

// get asks the leader of a stream for a message.
func (w *engineWire) get(ctx context.Context, at place, r server.JSApiMsgGetRequest, patience time.Duration) (stored, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return stored{}, err
	}
	var a server.JSApiMsgGetResponse
	if err := w.e.ask(ctx, w.e.read, fmt.Sprintf(server.JSApiMsgGetT, at.stream), data, &a, patience); err != nil {
		return stored{}, fmt.Errorf("%w: %w", errSilent, err)
	}
	switch {
	case a.Error != nil && a.Error.ErrCode == codeNoMessage:
		return stored{}, errNone
	case a.Error != nil:
		return stored{}, fmt.Errorf("%w: %w", errSilent, a.Error)
	case a.Message == nil || a.Message.Subject != at.subject:
		return stored{}, fmt.Errorf("%w: the engine's answer has no message", errSilent)
	}
	return stored{a.Message.Sequence, a.Message.Data}, nil
}

// someMessages bounds the messages of one answer.
const someMessages = 1000

// some implements wire.
func (w *engineWire) some(ctx context.Context, at place, from uint64, max int, patience time.Duration) (list []stored, err error) {
	r := server.JSApiMsgGetRequest{Seq: from, NextFor: at.subject}
	if max > 1 {
		r.Batch, r.MaxBytes = someMessages, max
	}
	answer, err := w.direct(ctx, at.stream, r, patience)
	for _, m := range answer {
		s, err := storedOf(m)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, err
}

// direct asks any replica of a stream for messages. It returns at least one, or an error.
func (w *engineWire) direct(ctx context.Context, stream string, r server.JSApiMsgGetRequest, patience time.Duration) (list []*nats.Msg, err error) {
	got := make(chan *nats.Msg, someMessages+1)
	reply := w.reads.expect(func(m *nats.Msg) {
		select {
		case got <- m:
		default:
		}
	})
	defer w.reads.end(reply)
	data, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	if err := w.e.read.PublishRequest(fmt.Sprintf(server.JSDirectMsgGetT, stream), reply, data); err != nil {
		return nil, fmt.Errorf("%w: %w", errSilent, err)
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case m := <-got:
			err := statusOf(m)
			if err == nil {
				list = append(list, m)
			}
			if len(list) == 0 {
				return nil, err
			}
			if err != nil || r.Batch == 0 {
				return list, nil
			}
		case <-timer.C:
			if len(list) > 0 {
				return list, nil
			}
			return nil, errSilent
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// statusOf gives the error that an answer to a direct read says. The end of several messages is errNone.
func statusOf(m *nats.Msg) error {
	if isStatus(m, "503") {
		return fmt.Errorf("%w: %w", errSilent, nats.ErrNoResponders)
	}
	if status := m.Header.Get("Status"); status != "" {
		return fmt.Errorf("%w: %s %s", errNone, status, m.Header.Get("Description"))
	}
	return nil
}

// storedOf reads one message of an answer to a direct read.
func storedOf(m *nats.Msg) (stored, error) {
	seq, err := strconv.ParseUint(m.Header.Get(server.JSSequence), 10, 64)
	if err != nil {
		return stored{}, fmt.Errorf("%w: the engine's answer has no sequence: %w", errSilent, err)
	}
	return stored{seq, m.Data}, nil
}

// changeTime bounds a request that removes messages.
const changeTime = 5 * time.Second

// purge implements wire.
func (w *engineWire) purge(ctx context.Context, at place, below uint64) error {
	ctx, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	var a server.JSApiStreamPurgeResponse
	return w.e.api(ctx, fmt.Sprintf(server.JSApiStreamPurgeT, at.stream),
		server.JSApiStreamPurgeRequest{Subject: at.subject, Sequence: below}, &a, &a.ApiResponse, patience)
}

// remove implements wire.
func (w *engineWire) remove(ctx context.Context, at place, seq uint64) error {
	ctx, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	var a server.JSApiMsgDeleteResponse
	return w.e.api(ctx, fmt.Sprintf(server.JSApiMsgDeleteT, at.stream),
		server.JSApiMsgDeleteRequest{Seq: seq, NoErase: true}, &a, &a.ApiResponse, patience)
}
