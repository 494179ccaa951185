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

// Large syncs use Linux's asynchronous I/O: io_submit(2) with IOCB_CMD_FDSYNC, which exists since
// Linux 4.18, and an eventfd(2) that becomes readable when one has ended.
//
// A thread in fdatasync(2) blocks, and Go's scheduler polls: for some milliseconds after each such
// call it wakes up every 20 us and looks for work for the thread's processor. Under load that
// takes a quarter of the broker's processor time. With asynchronous I/O no thread blocks. For a
// small write fdatasync is faster, because no goroutine has to be woken.

// errRefused says that the system can't sync this file asynchronously, and that nothing was
// done. A sync that was submitted never fails with it.
var errRefused = errors.New("vfs: no asynchronous sync")

// errLost says that the result of a sync could not be read: it may have failed.
var errLost = errors.New("vfs: the result of a sync was lost")

// fdatasync is fdatasync(2), or fails with errRefused. After any other error the sync must not
// be tried again, because the system reports a failure once and may then claim success.
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
		slog.Warn("the system has no asynchronous I/O: each large sync blocks a thread", "reason", err)
		return nil, errRefused
	}
	return q, nil
})

// A queue is an AIO context of the kernel, with the syncs that are under way.
type queue struct {
	context uintptr
	eventfd int      // readable when a sync has ended
	ended   *os.File // the same; its Fd would set it to blocking

	mu      sync.Mutex // guards what follows
	pending map[uint64]chan error
	lastKey uint64 // in pending
	broken  bool   // results can't be read any more
}

// maxPending is the number of syncs that may be under way; more are refused.
const maxPending = 256

func newQueue() (*queue, error) {
	q := &queue{pending: make(map[uint64]chan error)}
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, maxPending, uintptr(unsafe.Pointer(&q.context)), 0); errno != 0 {
		return nil, os.NewSyscallError("io_setup", errno)
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err) // the context stays unused
	}
	if err := q.listen(fd); err != nil {
		return nil, err
	}
	go q.collect()
	return q, nil
}

// listen takes the eventfd if the scheduler can wait for it: the user may have no epoll(7)
// watches left.
func (q *queue) listen(fd int) error {
	q.eventfd, q.ended = fd, os.NewFile(uintptr(fd), "eventfd")
	if err := q.ended.SetReadDeadline(time.Time{}); err != nil {
		q.ended.Close()
		return fmt.Errorf("waiting for an eventfd: %w", err)
	}
	return nil
}

// A control is struct iocb of linux/aio_abi.h. Fields that a sync does not need are zero.
type control struct {
	key     uint64 // the event returns it
	_       uint64
	opcode  uint16
	_       int16
	fd      uint32
	_       [4]uint64 // buffer, size, position
	flags   uint32
	eventfd uint32
}

// An event is struct io_event of linux/aio_abi.h.
type event struct {
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
	result := make(chan error, 1)
	key, ok := q.begin(result)
	if !ok {
		return errRefused
	}
	c := &control{key: key, opcode: opFdatasync, fd: uint32(fd), flags: flagEventfd, eventfd: uint32(q.eventfd)}
	if !q.submit(c) {
		q.complete(c.key, nil)
		return errRefused
	}
	return <-result
}

// submit passes one request to the kernel, which copies it.
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

// begin makes a sync pending and returns its key. It fails when results can't be read.
func (q *queue) begin(result chan error) (key uint64, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.broken {
		return 0, false
	}
	q.lastKey++
	q.pending[q.lastKey] = result
	return q.lastKey, true
}

// complete passes on the result of a sync that is pending.
func (q *queue) complete(key uint64, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if result := q.pending[key]; result != nil {
		result <- err
		delete(q.pending, key)
	}
}

// collect completes syncs as long as the process lives. When results can't be read, everything
// that is pending has failed, because nothing is known of it, and nothing more is submitted.
func (q *queue) collect() {
	var count [8]byte
	for {
		_, err := q.ended.Read(count[:])
		if err == nil {
			err = q.reap(binary.NativeEndian.Uint64(count[:]))
		}
		if err != nil {
			q.giveUp(err)
			return
		}
	}
}

// giveUp fails what is pending, and refuses what follows.
func (q *queue) giveUp(reason error) {
	slog.Warn("the results of asynchronous syncs can't be read: from now on each large sync blocks a thread", "reason", reason)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.broken = true
	for key, result := range q.pending {
		result <- fmt.Errorf("%w: %w", errLost, reason)
		delete(q.pending, key)
	}
}

// reap reads n events and completes their syncs.
func (q *queue) reap(n uint64) error {
	var events [16]event
	for n > 0 {
		got, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, q.context, 1, uintptr(min(n, uint64(len(events)))),
			uintptr(unsafe.Pointer(&events)), 0, 0)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 {
			return os.NewSyscallError("io_getevents", errno)
		}
		for _, e := range events[:got] {
			q.complete(e.key, e.err())
		}
		n -= uint64(got)
	}
	return nil
}

// err never satisfies errors.Is(err, errors.ErrUnsupported). EOPNOTSUPP and ENOSYS would, and a
// block device or a FUSE server may end a sync with them.
func (e event) err() error {
	if e.result >= 0 {
		return nil
	}
	errno := syscall.Errno(-e.result)
	if errors.Is(errno, errors.ErrUnsupported) {
		return fmt.Errorf("the sync was begun and ended with: %v", errno)
	}
	return errno
}
