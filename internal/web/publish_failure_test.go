package web

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mbus/internal/store"
	"mbus/internal/store/storefault"
)

// faultyRig has a store that calls append for topic t.
func faultyRig(t *testing.T, space func() error, appended func(done func(int64, error)) error) *rig {
	t.Helper()
	return newRigOver(t, Options{}, func(s store.Store) store.Store {
		f := &storefault.Store{Store: s}
		f.Space = func(inner store.Store, n int) error {
			if err := space(); err != nil {
				return err
			}
			return inner.CheckSpace(n)
		}
		f.Append = func(inner store.Partition, topic string, batches []byte, done func(int64, error)) error {
			if topic == "t" && appended != nil {
				return appended(done)
			}
			lead, err := inner.Write(batches, done)
			lead.Go()
			return err
		}
		return f
	})
}

func noFault() error { return nil }

func TestAFullDisk(t *testing.T) {
	r := faultyRig(t, func() error { return store.ErrFull }, nil)
	r.problem(http.StatusInsufficientStorage, "FULL", "POST", "/topics/t", "m")
	r.problem(http.StatusInsufficientStorage, "FULL", "POST", "/topics/t", "m", once, "k")
	p := r.problem(http.StatusInsufficientStorage, "FULL", "POST", "/topics/t", "a\nb\n", "Content-Type", "text/plain;lines")
	if p["published"] != 0.0 {
		t.Errorf("%v", p)
	}
}

// After a message that failed a key is free again.
func TestAPublishThatFailed(t *testing.T) {
	var works atomic.Bool
	r := faultyRig(t, noFault, func(done func(int64, error)) error {
		if works.Load() {
			done(7, nil)
		} else {
			done(0, store.ErrFailed)
		}
		return nil
	})
	status, answer, h := r.do("POST", "/topics/t", "m", once, "k")
	if status != http.StatusServiceUnavailable || h.Get("Retry-After") == "" || !strings.Contains(answer, `"code":"FAILED"`) {
		t.Errorf("status %d: %s, %v", status, answer, h)
	}
	works.Store(true)
	if answer := r.must(http.StatusOK, "POST", "/topics/t", "m", once, "k"); answer != `{"topic":"t","partition":0,"offset":7}`+"\n" {
		t.Errorf("got %s", answer)
	}
}

// A message that has failed may be on disk, and is found after a start. So the next try with the key goes to the
// same partition: there the failed one is either cut off, or refuses others until it is found.
func TestAKeyThatFailedGoesToTheSamePartition(t *testing.T) {
	tried := make(map[store.Partition]int)
	r := newRigOver(t, Options{}, func(s store.Store) store.Store {
		f := &storefault.Store{Store: s}
		f.Append = func(inner store.Partition, topic string, batches []byte, done func(int64, error)) error {
			if topic == "t" {
				tried[inner]++
				done(0, store.ErrFailed)
				return nil
			}
			lead, err := inner.Write(batches, done)
			lead.Go()
			return err
		}
		return f
	})
	r.partitions("t", 4)
	const keys, tries = 10, 4
	for i := range keys {
		for range tries {
			r.problem(http.StatusServiceUnavailable, "FAILED", "POST", "/topics/t", "m", once, fmt.Sprint("k", i))
		}
	}
	for _, n := range tried {
		if n%tries != 0 {
			t.Errorf("%v", tried)
		}
	}
	if len(tried) < 2 {
		t.Error("all keys go to one partition")
	}
}

// Messages behind one that is not on disk don't count, in whatever order the disk has them.
func TestTheAnswerCountsOnlyWhatIsOnDisk(t *testing.T) {
	written := make(chan func(int64, error))
	r := faultyRig(t, noFault, func(done func(int64, error)) error {
		go func() { written <- done }()
		return nil
	})
	c := r.raw(postTo + "Content-Type: text/plain;lines\r\nTransfer-Encoding: chunked\r\n\r\n")
	var all []func(int64, error)
	for i := range 3 {
		fmt.Fprintf(c, "2\r\n%d\n\r\n", i)
		all = append(all, <-written)
	}
	all[2](2, nil)
	all[0](0, nil)
	all[1](0, store.ErrFailed)
	io.WriteString(c, "0\r\n\r\n")
	if status, answer := r.answer(bufio.NewReader(c)); status != http.StatusServiceUnavailable || !strings.Contains(answer, `"published":1`) {
		t.Errorf("status %d: %s", status, answer)
	}
}

// A client that sends a long body is answered at once where a message is wrong. What it still sends is read, so
// that no reset takes the answer from it.
func TestAnAnswerBeforeTheEndOfABodyIsNotLost(t *testing.T) {
	r := newRig(t, Options{})
	const rest = 8 << 20
	c := r.raw(postTo + fmt.Sprintf("Content-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\nwrong\n", rest+len("wrong\n")))
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, strings.Repeat("x", rest)); err != nil {
		t.Errorf("the client can't send: %v", err)
	}
	if status, answer := r.answer(bufio.NewReader(c)); status != http.StatusBadRequest {
		t.Errorf("status %d: %s", status, answer)
	}
}
