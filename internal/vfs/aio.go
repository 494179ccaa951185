package vfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file has the system sync files in the background: Linux's asynchronous I/O
// (io_setup(2), io_submit(2)) with IOCB_CMD_FDSYNC, which it has since Linux 4.18, and
// an eventfd(2) that tells of the ends.
//
// In fdatasync(2) a thread waits, and Go's scheduler watches over it: for some
// milliseconds after each such call it looks every 20 us whether there is something for
// the thread's processor to do. Under load that takes a quarter of the broker's processor
// time. Here no thread waits. For one small write fdatasync is faster: nobody has to be
// woken to do it.

// errRefused says that the system does not sync this file in the background, now or ever,
// and that nothing has been done. A sync that was begun and failed never gives it.
var errRefused = errors.New("vfs: no sync in the background")

// errLost says that the end of a sync did not come through: it may have failed.
var errLost = errors.New("vfs: the result of a sync was lost")

// fdatasync is fdatasync(2), or fails with errRefused. After any other error the sync must
// not be tried again: the system has told of the failure and may claim success then.
func fdatasync(f *os.File) error {
	q, err := shared()
	if err != nil {
		return err
	}
	return q.fdatasync(int(f.Fd()))
}

// shared is the one queue of the process.
var shared = sync.OnceValues(func() (*queue, error) {
	q, err := newQueue()
	if err != nil {
		slog.Warn("large syncs hold a thread each, because the system does not do them in the background", "reason", err)
		return nil, errRefused
	}
	return q, nil
})

// A queue is a context of the kernel's, and who waits for it.
type queue struct {
	context uintptr
	eventfd int      // it can be read when something has ended
	ended   *os.File // the same; its Fd would make it wait in the system

	mu      sync.Mutex // guards what follows
	waiting map[uint64]chan error
	next    uint64 // the latest key in waiting
	broken  bool   // its ends can't be collected any more
}

// atOnce is how many syncs may be under way; those beyond are not supported.
const atOnce = 256

func newQueue() (*queue, error) {
	q := &queue{waiting: make(map[uint64]chan error)}
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, atOnce, uintptr(unsafe.Pointer(&q.context)), 0); errno != 0 {
		return nil, os.NewSyscallError("io_setup", errno)
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err) // the context stays, unused
	}
	if err := q.listen(fd); err != nil {
		return nil, err
	}
	go q.collect()
	return q, nil
}

// listen takes the eventfd, if the scheduler can wait for it: there may be no more
// epoll(7) watches for this user.
func (q *queue) listen(fd int) error {
	q.eventfd, q.ended = fd, os.NewFile(uintptr(fd), "eventfd")
	if err := q.ended.SetReadDeadline(time.Time{}); err != nil {
		q.ended.Close()
		return fmt.Errorf("waiting for an eventfd: %w", err)
	}
	return nil
}

// A control is struct iocb of linux/aio_abi.h. What a sync does not need is zero.
type control struct {
	key     uint64 // comes back with the end
	_       uint64
	opcode  uint16
	_       int16
	fd      uint32
	_       [4]uint64 // where, how much
	flags   uint32
	eventfd uint32
}

// An end is struct io_event of linux/aio_abi.h.
type end struct {
	key    uint64
	_      uint64
	result int64 // 0 or a negative errno
	_      int64
}

// Of linux/aio_abi.h.
const (
	opFdatasync = 3 // IOCB_CMD_FDSYNC
	flagEventfd = 1 // IOCB_FLAG_RESFD
)

func (q *queue) fdatasync(fd int) error {
	answer := make(chan error, 1)
	key := q.expect(answer)
	if key == 0 {
		return errRefused
	}
	c := &control{key: key, opcode: opFdatasync, fd: uint32(fd), flags: flagEventfd, eventfd: uint32(q.eventfd)}
	if !q.submit(c) {
		q.settle(c.key, nil)
		return errRefused
	}
	return <-answer
}

// submit hands one request to the kernel, which copies it.
func (q *queue) submit(c *control) bool {
	list := [1]*control{c}
	for {
		n, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, q.context, 1, uintptr(unsafe.Pointer(&list)))
		runtime.KeepAlive(c)
		if errno != syscall.EINTR {
			return errno == 0 && n == 1
		}
	}
}

// expect puts an answer among those that are waited for; 0 says that no end would come.
func (q *queue) expect(answer chan error) (key uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.broken {
		return 0
	}
	q.next++
	q.waiting[q.next] = answer
	return q.next
}

// settle answers, if somebody waits.
func (q *queue) settle(key uint64, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if answer := q.waiting[key]; answer != nil {
		answer <- err
		delete(q.waiting, key)
	}
}

// collect answers what has ended, as long as the process lives. Where that can't go on
// whatever is under way has failed, as far as anybody can know, and no more is begun.
func (q *queue) collect() {
	var count [8]byte
	for {
		_, err := q.ended.Read(count[:])
		if err == nil {
			err = q.take(binary.NativeEndian.Uint64(count[:]))
		}
		if err != nil {
			q.giveUp(err)
			return
		}
	}
}

// giveUp ends the queue.
func (q *queue) giveUp(reason error) {
	slog.Warn("large syncs hold a thread each from now on: their ends in the background can't be read", "reason", reason)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.broken = true
	for key, answer := range q.waiting {
		answer <- fmt.Errorf("%w: %w", errLost, reason)
		delete(q.waiting, key)
	}
}

// take answers n that have ended.
func (q *queue) take(n uint64) error {
	var ends [16]end
	for n > 0 {
		got, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, q.context, 1, uintptr(min(n, uint64(len(ends)))),
			uintptr(unsafe.Pointer(&ends)), 0, 0)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 {
			return os.NewSyscallError("io_getevents", errno)
		}
		for _, e := range ends[:got] {
			q.settle(e.key, e.err())
		}
		n -= uint64(got)
	}
	return nil
}

// err never satisfies errors.Is(err, errors.ErrUnsupported), as EOPNOTSUPP and ENOSYS do
// by themselves: a block device or a FUSE server may end a sync with them.
func (e end) err() error {
	if e.result >= 0 {
		return nil
	}
	errno := syscall.Errno(-e.result)
	if errors.Is(errno, errors.ErrUnsupported) {
		return fmt.Errorf("the sync was begun and ended with: %v", errno)
	}
	return errno
}
