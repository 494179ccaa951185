package jetstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/store"
)

// oneRecord is a batch of one record.
func oneRecord(value string) []byte { return batchtest.Values(value) }

// appended appends a record and waits. It fails the test unless it is stored at the offset.
func appended(t *testing.T, p *partition, value string, want int64) {
	t.Helper()
	base, err := store.AppendAndWait(p, oneRecord(value))
	if err != nil || base != want {
		t.Fatalf("%q is stored at offset %d: %v; want offset %d", value, base, err, want)
	}
}

func TestAppendIsStoredOnceWhateverTheEngineAnswers(t *testing.T) {
	for name, script := range map[string][]fate{
		"the request is lost":                         {{lost: true}},
		"requests are lost":                           {{lost: true}, {lost: true}, {lost: true}},
		"the answer is lost":                          {{unheard: true}},
		"answers are lost":                            {{unheard: true}, {unheard: true}, {lost: true}},
		"it is refused though it is stored":           {{answer: errWrong}},
		"it is refused, and not stored":               {{answer: errWrong, unstored: true}},
		"it is refused again and again":               {{answer: errWrong, unstored: true}, {answer: errWrong, unstored: true}, {answer: errWrong, unstored: true}},
		"the subject is busy":                         {{answer: errBusy, unstored: true}, {answer: errBusy, unstored: true}},
		"the subject is busy with this very message":  {{answer: errBusy}},
		"a copy comes late":                           {{delay: 400 * time.Millisecond}},
		"a copy comes late and is refused":            {{delay: 5 * time.Second}},
		"a copy comes late, and so does the next":     {{delay: 350 * time.Millisecond}, {delay: 900 * time.Millisecond}},
		"there are no responders":                     {{answer: errors.New("no responders"), unstored: true}},
		"the answer of the late copy is what is left": {{delay: 400 * time.Millisecond}, {unheard: true}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScripted()
				p := s.opened(t, 1)
				appended(t, p, "before", 0)
				s.script = func(place, []byte) (f fate) {
					if len(script) > 0 {
						f, script = script[0], script[1:]
					}
					return f
				}
				appended(t, p, "message", 1)
				appended(t, p, "behind", 2)
				time.Sleep(10 * time.Second) // late copies have come
				if high := walkAll(t, s.of(scriptedPlace)); high != 3 {
					t.Errorf("%d records are stored, not 3", high)
				}
				select {
				case <-p.lost:
					t.Error("the ownership is lost")
				default:
				}
			})
		})
	}
}

func TestAppendGoesOnBehindALateFenceOfAnEarlierOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted()
		p := s.opened(t, 3)
		appended(t, p, "before", 0)
		for epoch := uint32(1); epoch < 4; epoch++ { // also another copy of its own
			f := prefix{epoch: epoch, kind: fence}
			data := make([]byte, prefixSize)
			f.encode(data)
			s.store(scriptedPlace, condition{}, data)
		}
		appended(t, p, "behind", 1)
		appended(t, p, "more", 2)
		walkAll(t, s.of(scriptedPlace))
	})
}

func TestAppendFailsBehindTheFenceOfALaterOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted()
		old := s.opened(t, 1)
		appended(t, old, "before", 0)
		s.opened(t, 2)
		woken := make(chan store.Reason, 1)
		old.Wake(1, func(r store.Reason) { woken <- r })
		if _, err := store.AppendAndWait(old, oneRecord("too late")); !errors.Is(err, store.ErrMoved) {
			t.Errorf("an append of the old owner: %v", err)
		}
		<-old.lost
		if r := <-woken; r != store.Closed {
			t.Errorf("who waits is woken with the reason %d", r)
		}
		_, err := old.Write(oneRecord("too late"), func(int64, error) { t.Error("done was called") })
		if !errors.Is(err, store.ErrMoved) {
			t.Errorf("the next append: %v", err)
		}
		var c store.Chunk
		if err := old.Read(0, 1, &c); !errors.Is(err, store.ErrMoved) {
			t.Errorf("a read: %v", err)
		}
		if high := walkAll(t, s.of(scriptedPlace)); high != 1 {
			t.Errorf("%d records are stored", high)
		}
	})
}

func TestAppendThatStaysUncertainEndsTheOwnership(t *testing.T) {
	for name, f := range map[string]fate{"lost": {lost: true}, "refused": {answer: errWrong, unstored: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScripted()
				p := s.opened(t, 1)
				s.script = func(place, []byte) fate { return f }
				began := time.Now()
				_, err := store.AppendAndWait(p, oneRecord("message"))
				if took := time.Since(began); !errors.Is(err, store.ErrMoved) || took < certainTime || took > certainTime+10*time.Second {
					t.Errorf("after %v: %v", took, err)
				}
				<-p.lost
			})
		})
	}
}

// Two messages of a partition on their way at a time could both be stored in the wrong order, or one of
// them without the other.
func TestAppendHasOneMessageOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted()
		p := s.opened(t, 1)
		flying, most := make(map[string]bool), 0
		s.script = func(_ place, data []byte) fate {
			flying[string(data)] = true
			most = max(most, len(flying))
			time.AfterFunc(40*time.Millisecond, func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				delete(flying, string(data))
			})
			return fate{delay: 50 * time.Millisecond}
		}
		var answered sync.WaitGroup
		for i := range 200 {
			answered.Add(1)
			if err := store.Append(p, oneRecord(fmt.Sprint(i)), func(int64, error) { answered.Done() }); err != nil {
				t.Fatal(err)
			}
			if i%10 == 0 {
				time.Sleep(5 * time.Millisecond)
			}
		}
		answered.Wait()
		if most != 1 {
			t.Errorf("%d messages were on their way at a time", most)
		}
		if n := len(s.of(scriptedPlace)); n > 60 {
			t.Errorf("200 appends are in %d messages: those that came meanwhile were not put together", n)
		}
	})
}

// An owner does not know that it is one no longer. Nothing that was acknowledged may be lost, and nothing be
// stored twice, whatever happens to requests and answers.
func TestOwnersThatTakeTurnsLoseNothing(t *testing.T) {
	seeds := uint64(60)
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) { turns(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func turns(t *testing.T, r *rand.Rand) {
	s := newScripted()
	s.script = func(place, []byte) (f fate) {
		switch r.IntN(8) {
		case 0:
			f.lost = true
		case 1:
			f.unheard = true
		case 2:
			f.answer = errWrong
		case 3:
			f.answer, f.unstored = errBusy, r.IntN(2) == 0
		case 4:
			f.delay = time.Duration(r.IntN(3000)) * time.Millisecond
		}
		return f
	}
	s.reads = func(replica int) (f readFate) {
		f.silent = r.IntN(10) == 0
		if r.IntN(10) == 0 {
			f.lag = r.IntN(4)
		}
		return f
	}
	var mu sync.Mutex
	acknowledged := make(map[string]int64)
	var writers sync.WaitGroup
	late := make(chan struct{}) // closed when all should have noticed
	for epoch := uint32(1); epoch <= 12; epoch++ {
		p := s.owned(t, epoch)
		if r.IntN(2) == 0 {
			p.alone.Store(false)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // a busy owner must not starve the next
		_, err := p.recover(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		for w := range 2 {
			writers.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-late:
						t.Errorf("the owner of epoch %d goes on writing", epoch)
						return
					default:
					}
					value := fmt.Sprintf("%d %d %d", epoch, w, i)
					base, err := store.AppendAndWait(p, oneRecord(value))
					if err != nil {
						if !errors.Is(err, store.ErrMoved) {
							t.Errorf("%q: %v", value, err)
						}
						return
					}
					mu.Lock()
					acknowledged[value] = base
					mu.Unlock()
				}
			})
		}
		time.Sleep(time.Duration(r.IntN(2000)) * time.Millisecond)
	}
	s.mu.Lock()
	s.script = func(place, []byte) fate { return fate{delay: time.Millisecond} }
	s.reads = func(int) readFate { return readFate{} }
	s.mu.Unlock()
	last := s.opened(t, 13)
	time.AfterFunc(2*certainTime, func() { close(late) })
	writers.Wait()
	time.Sleep(5 * time.Second) // late copies have come
	checkLedger(t, s, last, acknowledged)
}

// checkLedger checks that what was acknowledged is stored once, at the offset of its acknowledgement, and that the
// log has no gap. An owner reads the same.
func checkLedger(t *testing.T, s *scripted, owner *partition, acknowledged map[string]int64) {
	t.Helper()
	high := walkAll(t, s.of(scriptedPlace))
	found := make(map[string]int64)
	err := store.Walk(owner, 0, func(err error) error { return err }, func(b batch.Batch) (bool, error) {
		var it batch.Iterator
		if err := it.Reset(b); err != nil {
			return false, err
		}
		for it.Next() {
			value := string(it.Record().Value)
			if _, twice := found[value]; twice {
				t.Errorf("%q is stored twice", value)
			}
			found[value] = it.Record().Offset
		}
		return true, it.Err()
	})
	if _, end := owner.Offsets(); err != nil || end != high {
		t.Errorf("the owner reads up to %d, stored are %d records: %v", end, high, err)
	}
	for value, base := range acknowledged {
		if at, ok := found[value]; !ok || at != base {
			t.Errorf("%q was acknowledged at offset %d, and is at %d, %v", value, base, at, ok)
		}
	}
	if len(acknowledged) < 20 {
		t.Errorf("only %d messages were acknowledged", len(acknowledged))
	}
}

func TestAppendsWaitForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted()
		stuck, free := s.opened(t, 1), newPartition(nil, scriptedTopic, 0, place{"mb_t", "mb.t.1"})
		free.owner = stuck.owner
		free.open(&tail{latest: noTime})
		s.script = func(at place, _ []byte) fate {
			return fate{lost: at.subject == scriptedPlace.subject}
		}
		p := batchtest.Values(string(bytes.Repeat([]byte{'x'}, 8<<10)))
		var written int
		for range 100 { // far more than all may have
			go func() {
				if err := store.Append(stuck, bytes.Clone(p), func(int64, error) {}); err == nil {
					written++
				}
			}()
			synctest.Wait()
		}
		if n := written * len(p); n < testSizes.partition || n > testSizes.partition+len(p) {
			t.Errorf("%d bytes are on their way to a partition, the limit is %d", n, testSizes.partition)
		}
		// The others have the rest of the node's budget.
		if _, err := store.AppendAndWait(free, bytes.Clone(p)); err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		s.script = func(place, []byte) fate { return fate{} }
		s.mu.Unlock()
		time.Sleep(20 * time.Second)
		if stuck.room.used != 0 || stuck.appends.held != 0 || written != 100 {
			t.Errorf("when all is stored %d bytes of the node's budget and %d of the partition's are used, %d were written", stuck.room.used, stuck.appends.held, written)
		}
	})
}
