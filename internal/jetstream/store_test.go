package jetstream

import (
	"context"
	"testing"
	"time"

	"mbus/internal/store"
	"mbus/internal/store/storetest"
)

// testSizes let the tests see sections, messages and waiting appends with little data.
var testSizes = sizes{
	message: 2 << 10, section: storetest.SegmentBytes, partition: 64 << 10, node: 256 << 10, written: 64 << 10, fetched: 32 << 10, held: 32 << 10,
}

// takeOver makes an engine the owner.
func takeOver(t testing.TB, e *Engine, s sizes) *Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	owned, err := e.takeOver(ctx, theShard, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = owned.Close() })
	return owned
}

func TestStoreOfOneNode(t *testing.T) { conform(t, 1) }

func TestStoreOfThreeNodes(t *testing.T) { conform(t, 3) }

// conform runs the conformance suite against topics of n engines, of which the leader takes over at each
// restart.
func conform(t *testing.T, n int) {
	engines := startEngines(t, n)
	storetest.Run(t, func(t *testing.T) (store.Store, func() store.Store) {
		var s *Store
		open := func() store.Store {
			if s != nil {
				_ = s.Close()
			}
			s = takeOver(t, ownerOf(t, engines), testSizes)
			return s
		}
		open()
		for _, topic := range s.Topics() {
			if err := s.DeleteTopic(topic.Name); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.KeepNote(nil); err != nil {
			t.Fatal(err)
		}
		return s, open
	})
}

// ownerOf gives the engine that is to own the topics.
func ownerOf(t testing.TB, engines []*Engine) (e *Engine) {
	t.Helper()
	if len(engines) == 1 {
		return engines[0]
	}
	eventually(t, func() bool { e = leader(engines); return e != nil })
	return e
}
