package vfs

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

func newFile(t testing.TB, name string) *os.File {
	f, err := os.Create(filepath.Join(t.TempDir(), name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// newTestQueue fails where the system has no asynchronous I/O: the broker would do without, and
// no test would notice.
func newTestQueue(t testing.TB) *queue {
	q, err := newQueue()
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestManySyncsAtOnceComplete(t *testing.T) {
	q := newTestQueue(t)
	var all sync.WaitGroup
	for i := range 2 * maxPending {
		f := newFile(t, strconv.Itoa(i))
		all.Go(func() {
			for range 10 {
				if _, err := f.WriteString("a line\n"); err != nil {
					t.Error(err)
				}
				if err := q.fdatasync(int(f.Fd())); err != nil && !errors.Is(err, errRefused) {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.pending) > 0 {
		t.Errorf("%d syncs are still pending", len(q.pending))
	}
}

func TestAFileSyncsAsynchronously(t *testing.T) {
	if err := fdatasync(newFile(t, "a")); err != nil {
		t.Error(err)
	}
}

func TestAPipeIsRefused(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	q := newTestQueue(t)
	if err := q.fdatasync(int(w.Fd())); !errors.Is(err, errRefused) {
		t.Errorf("a pipe: %v, want %v", err, errRefused)
	}
	if len(q.pending) > 0 {
		t.Error("it is still pending")
	}
}

func TestAnErrorCompletesItsOwnSync(t *testing.T) {
	q := newTestQueue(t)
	bad, good := make(chan error, 1), make(chan error, 1)
	first, _ := q.begin(bad)
	second, _ := q.begin(good)
	for _, e := range []event{{key: second}, {key: first, result: -int64(syscall.EIO)}} {
		q.complete(e.key, e.err())
	}
	if err := <-bad; err != syscall.EIO {
		t.Errorf("the sync that failed: %v, want %v", err, syscall.EIO)
	}
	if err := <-good; err != nil {
		t.Errorf("the other: %v", err)
	}
}

// A second sync after such an error would succeed, because the kernel has reported the error
// already.
func TestASyncThatEndedIsNotOneThatWasRefused(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EOPNOTSUPP, syscall.ENOSYS, syscall.EIO, syscall.ENOSPC, syscall.EINVAL, syscall.EAGAIN} {
		err := event{result: -int64(errno)}.err()
		if err == nil || errors.Is(err, errors.ErrUnsupported) || errors.Is(err, errRefused) {
			t.Errorf("a sync that ended with %v: %v", errno, err)
		}
	}
	if err := (event{result: -int64(syscall.ENOSPC)}).err(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a full disk: %v", err)
	}
}

// The result of a pending sync is lost then: it may have failed.
func TestABrokenQueueFailsPendingSyncsAndRefusesMore(t *testing.T) {
	q := newTestQueue(t)
	result := make(chan error, 1)
	if _, ok := q.begin(result); !ok {
		t.Fatal("a working queue refuses a sync")
	}
	q.ended.Close() // collect can't read it any more
	if err := <-result; err == nil || errors.Is(err, errRefused) {
		t.Errorf("the sync under way: %v, want a failure", err)
	}
	if err := q.fdatasync(int(newFile(t, "a").Fd())); !errors.Is(err, errRefused) {
		t.Errorf("the next one: %v, want %v", err, errRefused)
	}
}

// The user may have no epoll watch left. A file can't be watched either.
func TestAnEventfdThatCannotBeWatchedIsRefused(t *testing.T) {
	fd, err := syscall.Open(filepath.Join(t.TempDir(), "a"), syscall.O_CREAT|syscall.O_RDWR|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := new(queue).listen(fd); err == nil {
		t.Error("it was taken")
	}
}

// An asynchronous sync of a MiB, and one that blocks a thread.
func BenchmarkSync(b *testing.B) {
	for name, sync := range map[string]func(*os.File) error{
		"asynchronous": fdatasync,
		"fdatasync":    func(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) },
	} {
		b.Run(name, func(b *testing.B) {
			f := newFile(b, "a")
			p := make([]byte, 1<<20)
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.WriteAt(p, 0); err != nil {
					b.Fatal(err)
				}
				if err := sync(f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
