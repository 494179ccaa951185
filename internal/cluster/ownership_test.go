package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mbus/internal/store"
)

// A scripted engine leads when the test says so, and notes what it is asked to do.
type scripted struct {
	mu       sync.Mutex
	leads    bool
	epoch    uint64
	takes    time.Duration // of a takeover
	fail     error         // of takeovers
	noServe  error         // of serving
	leaving  time.Duration // that Leave takes where it has the time
	store    *fakeStore    // of the last takeover
	events   []string
	stepDown error
}

func (e *scripted) note(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.events = append(e.events, fmt.Sprintf(format, args...))
}

// have gives the events since the last call.
func (e *scripted) have() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	events := strings.Join(e.events, ", ")
	e.events = nil
	return events
}

func (e *scripted) lead(leads bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.leads = leads
}

// set changes what the engine does.
func (e *scripted) set(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
}

func (e *scripted) Leads() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.leads
}

func (e *scripted) TakeOver(ctx context.Context) (Owned, error) {
	e.note("take over")
	e.mu.Lock()
	takes := e.takes
	e.mu.Unlock()
	select {
	case <-ctx.Done():
		e.note("gave up")
		return nil, ctx.Err()
	case <-time.After(takes):
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail != nil {
		return nil, e.fail
	}
	e.epoch++
	e.store = &fakeStore{lost: make(chan struct{}), epoch: e.epoch}
	return e.store, nil
}

func (e *scripted) StepDown(_ context.Context, to int32) error {
	e.note("step down for %d", to)
	if e.stepDown == nil {
		e.lead(false)
	}
	return e.stepDown
}

func (e *scripted) serve(Owned) (Service, error) {
	e.mu.Lock()
	err := e.noServe
	e.mu.Unlock()
	if err != nil {
		e.note("can't serve")
		return nil, err
	}
	e.note("serve")
	return e, nil
}

func (e *scripted) Leave(ctx context.Context) error {
	how := "at once"
	e.mu.Lock()
	leaving := e.leaving
	e.mu.Unlock()
	if ctx.Err() == nil {
		how = "in good order"
		select {
		case <-ctx.Done():
			how = "too slowly"
		case <-time.After(leaving):
		}
	}
	e.note("leave %s", how)
	return nil
}

// A fakeStore has no topics.
type fakeStore struct {
	store.Store
	lost  chan struct{}
	epoch uint64
}

func (s *fakeStore) Topics() []store.Topic { return nil }
func (s *fakeStore) Lost() <-chan struct{} { return s.lost }
func (s *fakeStore) Epoch() uint64         { return s.epoch }

// own runs an ownership in a bubble, in which time passes at once. The test ends it by stop.
func own(t *testing.T, test func(t *testing.T, e *scripted, stop func(), log *bytes.Buffer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		e, log := new(scripted), new(bytes.Buffer)
		o := &ownership{
			engine: e, serve: e.serve, log: slog.New(slog.NewTextHandler(log, nil)),
			changed: func(s Service, epoch uint64) {
				if (s == nil) != (epoch == 0) {
					t.Errorf("changed with %v and epoch %d", s, epoch)
				}
				e.note("epoch %d", epoch)
			},
		}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { o.run(ctx) })
		test(t, e, func() { stop(); running.Wait() }, log)
		stop()
		running.Wait()
	})
}

func (e *scripted) must(t *testing.T, after time.Duration, want string) {
	t.Helper()
	time.Sleep(after)
	synctest.Wait()
	if got := e.have(); got != want {
		t.Fatalf("it has done %q, want %q", got, want)
	}
}

func TestOwnershipFollowsTheLead(t *testing.T) {
	own(t, func(t *testing.T, e *scripted, stop func(), _ *bytes.Buffer) {
		e.must(t, time.Hour, "")
		e.lead(true)
		e.must(t, 2*lookEvery, "take over, serve, epoch 1")
		e.must(t, time.Hour, "")
		e.lead(false)
		e.must(t, lookEvery, "epoch 0, leave at once")
		e.must(t, time.Hour, "")
		e.lead(true)
		e.must(t, 2*lookEvery, "take over, serve, epoch 2")
		stop()
		e.must(t, 0, "epoch 0, leave in good order, step down for 0")
	})
}

// Right after an election there may be another: a node that leads for a moment does not take over.
func TestLeadOfOneLookIsNoLead(t *testing.T) {
	own(t, func(t *testing.T, e *scripted, _ func(), _ *bytes.Buffer) {
		time.Sleep(lookEvery / 2)
		for range 10 {
			e.lead(true)
			time.Sleep(lookEvery)
			e.lead(false)
			time.Sleep(lookEvery)
		}
		e.must(t, time.Hour, "")
	})
}

// A store that is lost is left, although the engine still says that this node leads, and taken over again.
func TestLostStoreIsLeftAtOnceAndTakenAgain(t *testing.T) {
	own(t, func(t *testing.T, e *scripted, _ func(), _ *bytes.Buffer) {
		e.lead(true)
		e.must(t, time.Second, "take over, serve, epoch 1")
		close(e.store.lost)
		e.must(t, 0, "epoch 0, leave at once")
		e.must(t, 2*lookEvery, "take over, serve, epoch 2")
	})
}

func TestTakeoverIsGivenUpWithTheLead(t *testing.T) {
	own(t, func(t *testing.T, e *scripted, _ func(), log *bytes.Buffer) {
		e.set(func() { e.takes = time.Hour })
		e.lead(true)
		e.must(t, time.Minute, "take over")
		e.lead(false)
		e.must(t, lookEvery, "gave up")
		e.must(t, time.Hour, "")
		e.set(func() { e.takes = time.Second })
		e.lead(true)
		e.must(t, 2*time.Second, "take over, serve, epoch 1")
		if strings.Contains(log.String(), "WARN") {
			t.Errorf("it has warned: %s", log)
		}
	})
}

func TestStopDuringATakeoverHandsTheLeadOn(t *testing.T) {
	own(t, func(t *testing.T, e *scripted, stop func(), _ *bytes.Buffer) {
		e.set(func() { e.takes = time.Hour })
		e.lead(true)
		e.must(t, time.Minute, "take over")
		stop()
		e.must(t, 0, "gave up, step down for 0")
	})
}

// What fails may be this node's disk: after some tries another node is to try.
func TestTakeoversThatFailAreTriedAgainAndThenByAnotherNode(t *testing.T) {
	for _, of := range []string{"the engine", "the broker"} {
		t.Run(of, func(t *testing.T) {
			own(t, func(t *testing.T, e *scripted, _ func(), log *bytes.Buffer) {
				broken, once := errors.New("the disk is broken"), "take over"
				if of == "the engine" {
					e.set(func() { e.fail = broken })
				} else {
					once = "take over, can't serve"
					e.set(func() { e.noServe = broken })
				}
				e.lead(true)
				want := strings.Join(slices.Repeat([]string{once}, triesBeforeStepDown), ", ") + ", step down for 0"
				e.must(t, time.Minute, want)
				if n := strings.Count(log.String(), "the topics can't be taken over"); n != triesBeforeStepDown {
					t.Errorf("%d warnings: %s", n, log)
				}
				e.set(func() { e.fail, e.noServe = nil, nil })
				e.lead(true)
				time.Sleep(time.Minute)
				synctest.Wait()
				e.must(t, 0, fmt.Sprintf("take over, serve, epoch %d", e.epoch))
			})
		})
	}
}

// Failures that are not in a row do not add up.
func TestTakeoverThatSucceedsForgetsFailures(t *testing.T) {
	own(t, func(t *testing.T, e *scripted, _ func(), _ *bytes.Buffer) {
		for epoch := range 3 * triesBeforeStepDown {
			e.set(func() { e.fail = errors.New("not now") })
			e.lead(true)
			e.must(t, 2*lookEvery, "take over")
			e.set(func() { e.fail = nil })
			e.must(t, time.Second, fmt.Sprintf("take over, serve, epoch %d", epoch+1))
			e.lead(false)
			e.must(t, lookEvery, "epoch 0, leave at once")
		}
	})
}

// Clients that do not end have no more than leaveTime.
func TestHandOverIsBounded(t *testing.T) {
	own(t, func(t *testing.T, e *scripted, stop func(), _ *bytes.Buffer) {
		e.set(func() { e.leaving = time.Hour })
		e.lead(true)
		e.must(t, time.Second, "take over, serve, epoch 1")
		start := time.Now()
		stop()
		e.must(t, 0, "epoch 0, leave too slowly, step down for 0")
		if took := time.Since(start); took != leaveTime {
			t.Errorf("it took %v", took)
		}
	})
}

// Without another node that could lead the node stops as it is.
func TestStopWithoutAnHeir(t *testing.T) {
	own(t, func(t *testing.T, e *scripted, stop func(), log *bytes.Buffer) {
		e.set(func() { e.stepDown = errors.New("nobody is there") })
		e.lead(true)
		e.must(t, time.Second, "take over, serve, epoch 1")
		stop()
		e.must(t, 0, "epoch 0, leave in good order, step down for 0")
		if !strings.Contains(log.String(), "nobody is there") {
			t.Errorf("it has said: %s", log)
		}
	})
}
