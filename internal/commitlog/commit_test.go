package commitlog

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mbus/internal/vfs"
)

// Appends that go on hold up no sync for longer than they have to.
func TestYieldingToAppendersEnds(t *testing.T) {
	c := new(committer)
	var stop atomic.Bool
	var appending sync.WaitGroup
	for range 2 * runtime.GOMAXPROCS(0) {
		appending.Go(func() {
			for !stop.Load() {
				c.mu.Lock()
				c.waiting = append(c.waiting, waiter{})
				c.mu.Unlock()
				runtime.Gosched()
			}
		})
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.yieldToAppenders()
	}()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("an append waits for as long as others append")
	}
	stop.Store(true)
	appending.Wait()
}

// Two who find a file missing, and make it, share it.
func TestAFileThatTwoMakeIsOne(t *testing.T) {
	h := handle{fs: vfs.OS{}, name: t.TempDir() + "/a"}
	first, err := h.create()
	if err != nil {
		t.Fatal(err)
	}
	second, err := h.create()
	if err != nil || first != second {
		t.Errorf("the second has another file: %v", err)
	}
	h.release()
	if _, err := first.WriteAt([]byte("text"), 0); err != nil {
		t.Errorf("closed while the second had it: %v", err)
	}
	h.release()
	if h.file != nil || h.refs != 0 {
		t.Errorf("left open, with %d references", h.refs)
	}
}
