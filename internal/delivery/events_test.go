package delivery

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"mbus/internal/units"
)

// Events is a second kind of Sink, to show that a Session knows neither lines nor sockets:
// server-sent events, as a browser's EventSource reads them, in a buffer.
type events struct {
	memory
	buffer bytes.Buffer
}

func (e *events) Append(m *Messages) (next int64, full bool, err error) {
	it, err := m.Records()
	if err != nil {
		return m.From, false, err
	}
	for it.Next() {
		r := it.Record()
		if r.Offset < m.From || r.Offset >= m.To {
			continue
		}
		fmt.Fprintf(&e.buffer, "id: %s/%d/%d\n", m.Topic, m.Partition, r.Offset)
		if n := m.Attempt(r.Offset); n > 1 {
			fmt.Fprintf(&e.buffer, ": attempt %d\n", n)
		}
		for line := range bytes.SplitSeq(r.Value, []byte("\n")) {
			fmt.Fprintf(&e.buffer, "data: %s\n", line)
		}
		e.buffer.WriteByte('\n')
		if e.buffer.Len() >= 64 {
			return r.Offset + 1, true, nil // a small buffer: it is flushed in the middle of a batch
		}
	}
	return m.To, false, it.Err()
}

func (e *events) Flush(time.Duration, func()) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.written += int64(e.buffer.Len())
	e.out = append(e.out, e.buffer.Bytes()...)
	e.buffer.Reset()
	e.change()
	return nil
}

func (e *events) text() string { return string(e.out) }

func TestServerSentEvents(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", "first", "two\nlines", "third")
	o := b.reader("orders", Options{Follow: true, Ack: true}).options
	sink := new(events)
	s := b.hub.NewSession(o, sink)
	defer s.Close(Stopping)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	expect := func(want string) {
		t.Helper()
		sink.await(t, func() bool { return len(sink.out) >= len(want) })
		if got := sink.text(); got != want {
			t.Fatalf("got\n%s\nnot\n%s", got, want)
		}
	}
	first := "id: orders/0/0\ndata: first\n\n" + "id: orders/0/1\ndata: two\ndata: lines\n\n" + "id: orders/0/2\ndata: third\n\n"
	expect(first)
	if err := s.Nack(2, Failure{Retry: time.Millisecond, HasRetry: true}); err != nil {
		t.Fatal(err)
	}
	expect(first + "id: orders/0/1\n: attempt 2\ndata: two\ndata: lines\n\n")
	if err := s.Ack(4); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(Left); err != nil {
		t.Fatal(err)
	}
	b.restart()
	b.mustDrain("orders")

	// A browser that comes again names the last event that it got.
	o.From, o.Ack, o.Follow = &units.Position{Offset: 2}, false, false
	o.Find = b.reader("orders", Options{}).options.Find
	replay := &events{}
	again := b.hub.NewSession(o, replay)
	defer again.Close(Stopping)
	if err := again.Drain(); err != nil {
		t.Fatal(err)
	}
	if want := "id: orders/0/2\ndata: third\n\n"; replay.text() != want {
		t.Errorf("from the last event: %q", replay.text())
	}
}
