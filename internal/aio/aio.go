// Package aio has the system sync files in the background: Linux's asynchronous I/O
// (io_setup(2), io_submit(2)) with IOCB_CMD_FDSYNC, which it has since Linux 4.18, and
// an eventfd(2) that tells of the ends.
//
// In fdatasync(2) a thread waits, and Go's scheduler watches over it: for some
// milliseconds after each such call it looks every 20 us whether there is something for
// the thread's processor to do. Under load that takes a quarter of the broker's processor
// time. Here no thread waits. For one small write fdatasync is faster: nobody has to be
// woken to do it.
package aio

import (
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Fdatasync is fdatasync(2). errors.ErrUnsupported says that the system does not do it
// in the background, now or ever, and that nothing has been done.
func Fdatasync(f *os.File) error {
	q, err := shared()
	if err != nil {
		return err
	}
	return q.fdatasync(int(f.Fd()))
}

// shared is the one queue of the process.
var shared = sync.OnceValues(newQueue)

// A queue is a context of the kernel's, and who waits for it.
type queue struct {
	context uintptr
	eventfd int      // it can be read when something has ended
	ended   *os.File // the same; its Fd would make it wait in the system

	mu      sync.Mutex // guards what follows
	waiting map[uint64]chan error
	next    uint64 // key in waiting
}

// atOnce is how many syncs may be under way; those beyond are not supported.
const atOnce = 256

func newQueue() (*queue, error) {
	q := &queue{waiting: make(map[uint64]chan error)}
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, atOnce, uintptr(unsafe.Pointer(&q.context)), 0); errno != 0 {
		return nil, errors.ErrUnsupported
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, errors.ErrUnsupported // the context stays, unused
	}
	q.eventfd, q.ended = fd, os.NewFile(uintptr(fd), "eventfd")
	go q.collect()
	return q, nil
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
	c := &control{key: q.expect(answer), opcode: opFdatasync, fd: uint32(fd), flags: flagEventfd, eventfd: uint32(q.eventfd)}
	if !q.submit(c) {
		q.settle(c.key, nil)
		return errors.ErrUnsupported
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

// expect puts an answer among those that are waited for.
func (q *queue) expect(answer chan error) (key uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
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

// collect answers what has ended, as long as the process lives.
func (q *queue) collect() {
	var count [8]byte
	for {
		if _, err := q.ended.Read(count[:]); err != nil {
			panic("aio: cannot read an eventfd: " + err.Error())
		}
		q.take(binary.NativeEndian.Uint64(count[:]))
	}
}

// take answers n that have ended.
func (q *queue) take(n uint64) {
	var ends [16]end
	for n > 0 {
		got, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, q.context, 1, uintptr(min(n, uint64(len(ends)))),
			uintptr(unsafe.Pointer(&ends)), 0, 0)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 {
			panic("aio: io_getevents: " + errno.Error())
		}
		for _, e := range ends[:got] {
			q.settle(e.key, e.err())
		}
		n -= uint64(got)
	}
}

func (e end) err() error {
	if e.result < 0 {
		return syscall.Errno(-e.result)
	}
	return nil
}
