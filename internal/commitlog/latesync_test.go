package commitlog

import (
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/store"
	"mbus/test/brokertest"
)

// A topic's files may be those of one that was made again when the sync comes to run.
func TestALateSyncLeavesALogAloneThatHasBeenClosed(t *testing.T) {
	s, err := Open(t.TempDir(), Options{SyncEvery: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.CreateTopic("orders", 1, ""); err != nil {
		t.Fatal(err)
	}
	l := s.registry.topics["orders"].partitions[0]
	var b batch.Builder
	b.Add(1, nil, []byte("first order"))
	b.Close(0)
	if _, err := store.AppendAndWait(l, b.Bytes()); err != nil {
		t.Fatal(err)
	}
	l.appends.mu.Lock()
	l.appends.closeFiles() // so that close has nothing to sync
	l.appends.mu.Unlock()

	l.commits.syncing.Lock()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.commits.lateSync()
	}()
	brokertest.Await(t, time.Minute, "the sync has begun", func() bool { return len(l.syncs) > 0 })
	if err := s.DeleteTopic("orders"); err != nil {
		t.Error(err)
	}
	l.commits.syncing.Unlock()
	<-ended
	if l.commits.failure.sync != nil {
		t.Errorf("it was synced: %v", l.commits.failure.sync)
	}
}

// A sync for those who have asked for one may end when the segment that it was of has been
// completed. What is appended to the next one is not durable for that.
func TestASyncOfACompleteSegmentSaysNothingOfTheNextOne(t *testing.T) {
	s, err := Open(t.TempDir(), Options{SyncEvery: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.CreateTopic("orders", 1, ""); err != nil {
		t.Fatal(err)
	}
	l := s.registry.topics["orders"].partitions[0]
	var b batch.Builder
	b.Add(1, nil, []byte("first order"))
	b.Close(0)
	if _, err := store.AppendAndWait(l, b.Bytes()); err != nil {
		t.Fatal(err)
	}
	l.commits.syncing.Lock()
	synced, err := l.commits.sync()
	l.commits.syncing.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.appends.rollNow(); err != nil {
		t.Fatal(err)
	}
	l.commits.isSynced(synced, time.Now()) // as the end of a sync that has begun before
	if _, err := store.AppendAndWait(l, b.Bytes()); err != nil {
		t.Fatal(err)
	}
	if l.commits.durable.pos != 0 || l.commits.synced != 0 {
		t.Errorf("%d bytes of the new segment count as durable, and none was synced", l.commits.durable.pos)
	}
}
