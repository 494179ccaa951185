package broker

import (
	"errors"
	"runtime"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// The oldest keys are forgotten, and no others.
func TestTheLatestKeysAreKnown(t *testing.T) {
	var s keys
	key := func(i int) topicKey { return topicKey{id: int64(i)} }
	for i := range maxKeys + 10 {
		s.note(key(i), Place{Offset: int64(i)})
		s.note(key(i), Place{Offset: -1}) // the first one counts
	}
	for i := range maxKeys + 10 {
		if at, found := s.places[key(i)]; found != (i >= 10) || found && at.Offset != int64(i) {
			t.Fatalf("key %d: %v, %v", i, at, found)
		}
	}
	if len(s.places) != maxKeys || len(s.order) != maxKeys {
		t.Errorf("%d places, %d keys", len(s.places), len(s.order))
	}
}

func TestTheProducerOfAKey(t *testing.T) {
	seen := make(map[batch.Producer]bool)
	for _, key := range []string{"", "a", "b", "a "} {
		p := keyProducer(key)
		if p.ID < 0 || p.Sequence < 0 || p.Epoch != keyEpoch || seen[p] || KeyID(key) < 1 {
			t.Errorf("%q: %+v", key, p)
		}
		seen[p] = true
	}
}

// While as many ends of logs are read as may be, others wait, and give up when the server stops.
func TestTheReadersOfKeysAreBounded(t *testing.T) {
	for range maxTailReaders {
		tailReaders <- struct{}{}
	}
	defer func() {
		for range maxTailReaders {
			<-tailReaders
		}
	}()
	stopped, ended := make(chan struct{}), make(chan error)
	go func() {
		_, err := new(Partition).readTail(1, stopped, nil, nil) // which panics if it reads
		ended <- err
	}()
	for range 1000 { // so that it has time to read, were it not to wait
		runtime.Gosched()
	}
	close(stopped)
	if err := <-ended; !errors.Is(err, store.ErrClosed) {
		t.Errorf("got %v", err)
	}
}
