package kafka_test

import (
	"context"
	"sync/atomic"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
)

// mistakes are what is wrong with a store.
type mistakes struct {
	inRead atomic.Bool // reading panics
	inSend atomic.Bool // sending what was read does
}

func (m *mistakes) read(p store.Partition, _ string, offset int64, maxBytes int, c *store.Chunk) error {
	if m.inRead.Load() {
		panic("reading")
	}
	err := p.Read(offset, maxBytes, c)
	if err == nil && m.inSend.Load() {
		c.Source = faultySource{c.Source}
	}
	return err
}

type faultySource struct{ store.Source }

func (faultySource) Sendable(int64, int) bool                 { return true }
func (faultySource) SendTo(store.RawWriter, int64, int) error { panic("sending") }

// faulty is a bus on a store with mistakes, with a topic "orders".
func faulty(t *testing.T) (*bus, *mistakes) {
	m := new(mistakes)
	b := start(t, setup{wrap: func(s store.Store) store.Store { return &storefault.Store{Store: s, Read: m.read} }})
	b.topic("orders", 1)
	return b, m
}

// endsAlone fails the test unless one panic has ended no more than its connection.
func (b *bus) endsAlone() {
	b.t.Helper()
	await(b.t, "the connection has ended", func() bool { return len(b.server.Connections()) == 0 })
	b.stopped = true // not by stop, which takes no panics
	within(b.t, "the bus stops", func() {
		b.server.Stop(context.Background())
		if err := b.broker.Close(); err != nil {
			b.t.Error(err)
		}
		b.serving.Wait()
	})
	if panics := b.book.Lines("panic", "level=ERROR"); len(panics) != 1 {
		b.t.Errorf("%q", panics)
	}
}

func TestAPanicOverAnAnswerEndsItsConnection(t *testing.T) {
	b, m := faulty(t)
	c := b.dial()
	var large batch.Builder
	large.Add(1, nil, make([]byte, 100<<10))
	large.Close(0)
	c.publish("orders", 0, large.Bytes())
	m.inSend.Store(true)
	req := fetchRequest(11, read{"orders", 0, 0})
	c.send(req)
	if _, err := c.tryReceive(req); err == nil {
		t.Error("the request is answered")
	}
	b.endsAlone()
}

func TestAPanicInARequestThatWaitsEndsItsConnection(t *testing.T) {
	b, m := faulty(t)
	c := b.dial()
	req := fetchRequest(11, read{"orders", 0, 0})
	req.MaxWaitMillis = int32(patience.Milliseconds())
	c.send(req)
	await(t, "the request waits", func() bool { return b.server.Waiting() == 1 })
	m.inRead.Store(true)
	other := b.dial()
	other.publish("orders", 0, messages(1))
	other.Close()
	c.mustBeClosed()
	b.endsAlone()
}
