package broker

import (
	"context"
	"sync"

	"mbus/internal/store"
)

// Close ends the broker's own work and closes the store, which completes the appends under
// way. The servers have been stopped before.
func (b *Broker) Close() error { return b.Leave(context.Background()) }

// Leave is Close for a broker whose topics have another owner from now on. Servers may still use it: what they ask for fails
// with ErrClosed or ErrMoved, and nothing is acknowledged, nor confirmed, that is not durable.
//
// In good order the servers have been stopped before: then all positions are written, for as long as ctx lasts. When
// ctx has ended, such as at once where the topics are lost already, Leave waits for nothing that the store could keep
// waiting: its Close has to fail the appends under way. Stopping the servers comes after that then, because some of their
// connections may wait for these appends.
//
// Of several calls of Leave and Close all but the first do nothing.
func (b *Broker) Leave(ctx context.Context) (err error) {
	b.work.closing.Do(func() {
		close(b.work.stop)
		end := func() {
			b.work.wait()
			b.offsets.groups.Flush()
		}
		inOrder := endsBefore(ctx, end)
		b.trail.endSecond()
		if inOrder {
			b.keeper.keep()
			if err := b.users.editor.Repair(); err != nil && !store.Ended(err) {
				b.Log.Error("a change of a user that failed may be in force after the next start", "topic", UsersTopic, "reason", err)
			}
		}
		if err = b.store.Close(); !inOrder {
			end() // now that the store keeps nobody waiting
		}
	})
	return err
}

// endsBefore calls f, and reports whether it has returned before ctx ended. Otherwise it goes on.
func endsBefore(ctx context.Context, f func()) bool {
	if ctx.Err() != nil {
		return false
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f()
	}()
	select {
	case <-ended:
		return true
	case <-ctx.Done():
		return false
	}
}

// Work is what goes on in the background, beside the connections.
type work struct {
	stop    chan struct{} // closed when it is to end
	closing sync.Once

	mu      sync.Mutex // guards what follows
	ended   bool       // nothing more begins
	running sync.WaitGroup
}

// begin reports whether work may begin; done ends it.
func (w *work) begin() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended {
		w.running.Add(1)
	}
	return !w.ended
}

func (w *work) done() { w.running.Done() }

// Go runs f in the background, unless the work has ended.
func (w *work) Go(f func()) {
	if w.begin() {
		go func() {
			defer w.done()
			f()
		}()
	}
}

// wait has no more work begin, and waits for what goes on.
func (w *work) wait() {
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	w.running.Wait()
}
