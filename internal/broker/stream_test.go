package broker_test

import (
	"errors"
	"testing"

	"mbus/internal/broker"
)

// openStream opens a stream and closes it, which stores nothing.
func openStream(b *bus, t *broker.Topic, r broker.StreamRequest) error {
	r.Replaced = func() {}
	s, err := b.OpenStream(t, r)
	if err == nil {
		s.Close()
	}
	return err
}

// A stream that was forgotten can't be distinguished from one of a topic that was created again: it goes
// on.
func TestAStreamThatWasForgottenGoesOn(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir()})
	defer mustClose(t, b)
	topic := mustMake(t, b, "orders")
	if err := openStream(b, topic, broker.StreamRequest{ID: 1, First: 5}); !errors.Is(err, broker.ErrStreamGone) {
		t.Errorf("a stream that the topic has never had: %v", err)
	}
	const many = 10_000
	for id := range int64(many + 1) {
		if err := openStream(b, topic, broker.StreamRequest{ID: id + 2, First: 1, New: true}); err != nil {
			t.Fatal(err)
		}
	}
	if err := openStream(b, topic, broker.StreamRequest{ID: 1, First: 5}); err != nil {
		t.Error(err)
	}
}

// The connection that came first is served last.
func TestTheLatestConnectionHasTheStream(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir()})
	defer mustClose(t, b)
	topic := mustMake(t, b, "orders")
	if err := openStream(b, topic, broker.StreamRequest{ID: 7, First: 1, Turn: 2}); err != nil {
		t.Fatal(err)
	}
	if err := openStream(b, topic, broker.StreamRequest{ID: 7, First: 1, Turn: 1}); !errors.Is(err, broker.ErrReplaced) {
		t.Errorf("got %v", err)
	}
	if err := openStream(b, topic, broker.StreamRequest{ID: 7, First: 1, Turn: 3}); err != nil {
		t.Error(err)
	}
}
