package fault

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A flood is hostile clients, which cost little beside what they cost a broker: all of them are one goroutine, their sockets
// never wait, and their handshakes are free ones.
type flood struct {
	ports  []floodPort
	hello  []byte // the ClientHello of package tls, whose answer costs the most
	epoll  int
	open   map[int32]*intruder // by descriptor
	oldest []*intruder         // that wait, by their begin; some have ended
	made   map[*hostileKind]int
	done   map[*hostileKind]int // of those that were made, connections that have done all they wanted
	stop   atomic.Bool          // ends run
}

type floodPort struct {
	name string
	at   unix.SockaddrInet4
}

// An intruder is one of the connections.
type intruder struct {
	fd     int32 // -1 when it has ended
	kind   *hostileKind
	port   string
	number int
	until  time.Time
	unsent []byte
	isMade bool
	tls    *freeHandshake // nil before it and behind it
}

// A hostileKind is something that hostile clients do, and how many of hostileWeights do it.
type hostileKind struct {
	name   string
	weight int
	says   func(f *flood) []byte // nil for nothing
	then   hostileThen
	resets bool // it ends with a reset
}

// A hostileThen is what comes behind the first that a client says.
type hostileThen int

const (
	thenLeaves  hostileThen = iota
	thenStays               // for floodPatience
	thenReads               // something
	thenShakes              // it does the handshake
	thenGuesses             // it does the handshake, tries a wrong password, and reads to the end
)

var hostileKinds = []*hostileKind{
	{"nothing and a reset", 2, nil, thenLeaves, true},
	{"nothing for a second", 1, nil, thenStays, true},
	{"garbage", 1, func(*flood) []byte { return hostileGarbage }, thenLeaves, false},
	{"garbage in a record", 1, func(*flood) []byte { return hostileRecord }, thenLeaves, false},
	{"half a ClientHello for a second", 1, func(f *flood) []byte { return f.hello[:len(f.hello)/2] }, thenStays, true},
	{"a ClientHello and a reset", 3, func(f *flood) []byte { return f.hello }, thenLeaves, true},
	{"a handshake up to the answer", 3, func(f *flood) []byte { return f.hello }, thenReads, true},
	{"a handshake and a close", 1, func(*flood) []byte { return freeHello }, thenShakes, false},
	{"a wrong password", 3, func(*flood) []byte { return freeHello }, thenGuesses, true},
}

// hostileWeights is the sum of the weights.
const hostileWeights = 16

var (
	hostileGarbage = []byte(strings.Repeat("\xff\x00", 100))
	hostileRecord  = []byte("\x16\x03\x01\x40\x00" + strings.Repeat("garbage", 100))
)

// kindOf is what the client of a number does.
func kindOf(number int) *hostileKind {
	number %= hostileWeights
	for _, k := range hostileKinds {
		if number -= k.weight; number < 0 {
			return k
		}
	}
	panic("the weights have another sum")
}

const (
	floodAtOnce    = 4000        // connections that wait: while there are so many, no more begin
	floodAddresses = 200         // from which they come
	floodPatience  = time.Second // for which each waits
)

// newFlood is one that has not begun.
func newFlood(ports []port) (*flood, error) {
	f := &flood{hello: clientHello(), open: make(map[int32]*intruder), made: make(map[*hostileKind]int), done: make(map[*hostileKind]int)}
	for _, p := range ports {
		a := addressOf(p.address)
		f.ports = append(f.ports, floodPort{p.name, unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(a.IP.To4())}})
	}
	var err error
	f.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	return f, err
}

// run makes n connections, so many a second or, while too many are open, fewer, and returns when all have ended. kindOf says
// what each does.
func (f *flood) run(n, pace int, kindOf func(number int) *hostileKind) {
	defer unix.Close(f.epoll)
	events := make([]unix.EpollEvent, 256)
	start := time.Now()
	for next := 0; len(f.open) > 0 || next < n && !f.stop.Load(); {
		now := time.Now()
		due := min(n, int(now.Sub(start).Seconds()*float64(pace)))
		for ; next < due && len(f.open) < floodAtOnce && !f.stop.Load(); next++ {
			f.begin(next, kindOf(next/len(f.ports)), now)
		}
		f.expire(now)
		count, err := unix.EpollWait(f.epoll, events, 1)
		if err != nil && err != unix.EINTR {
			panic(err)
		}
		for _, e := range events[:max(0, count)] {
			if c := f.open[e.Fd]; c != nil {
				f.goOn(c, e.Events&^unix.EPOLLOUT != 0)
			}
		}
	}
}

// expire ends connections that have waited for long enough.
func (f *flood) expire(now time.Time) {
	for len(f.oldest) > 0 && (f.oldest[0].fd < 0 || f.oldest[0].until.Before(now)) {
		if c := f.oldest[0]; c.fd >= 0 {
			f.end(c, c.isMade && c.kind.then == thenStays)
		}
		f.oldest = f.oldest[1:]
	}
}

// begin begins a connection, and goes on with it as far as it can without waiting. That is to the end for some.
func (f *flood) begin(number int, kind *hostileKind, now time.Time) {
	p := &f.ports[number%len(f.ports)]
	fd, err := connectFrom(number%floodAddresses, &p.at)
	if err != nil {
		return
	}
	c := &intruder{fd: int32(fd), kind: kind, port: p.name, number: number, until: now.Add(floodPatience)}
	if kind.says != nil {
		c.unsent = kind.says(f)
	}
	if kind.then >= thenShakes {
		c.tls = newFreeHandshake()
	}
	f.open[c.fd] = c
	if f.goOn(c, false); c.fd < 0 {
		return
	}
	f.oldest = append(f.oldest, c)
	e := unix.EpollEvent{Fd: c.fd, Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET}
	if !c.isMade || len(c.unsent) > 0 {
		e.Events |= unix.EPOLLOUT
	}
	if err := unix.EpollCtl(f.epoll, unix.EPOLL_CTL_ADD, fd, &e); err != nil {
		panic(err)
	}
}

// connectFrom begins a connection from one of the addresses.
func connectFrom(address int, to *unix.SockaddrInet4) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(1 + address)}})
	}
	if err == nil {
		err = unix.Connect(fd, to)
	}
	if err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// goOn does what a connection is to do next, until it would have to wait.
func (f *flood) goOn(c *intruder, hasCome bool) {
	if !f.say(c) {
		return
	}
	switch {
	case c.kind.then == thenLeaves:
		f.end(c, true)
	case hasCome:
		f.read(c)
	}
}

// say says what is unsent. It reports whether that is all, on a connection that is made.
func (f *flood) say(c *intruder) bool {
	if !c.isMade && len(c.unsent) == 0 {
		err := unix.Connect(int(c.fd), &f.ports[c.number%len(f.ports)].at)
		switch c.isMade = err == nil || err == unix.EISCONN; {
		case c.isMade:
		case err == unix.EALREADY || err == unix.EINPROGRESS:
		default:
			f.end(c, false)
		}
		return c.isMade
	}
	for len(c.unsent) > 0 {
		n, err := unix.SendmsgN(int(c.fd), c.unsent, nil, nil, unix.MSG_NOSIGNAL)
		switch {
		case err == unix.EAGAIN:
			return false
		case err != nil:
			f.end(c, false)
			return false
		}
		c.isMade = true
		c.unsent = c.unsent[n:]
	}
	return true
}

// read reads what has come, and answers.
func (f *flood) read(c *intruder) {
	var p [8 << 10]byte
	for {
		n, err := unix.Read(int(c.fd), p[:])
		switch {
		case err == unix.EAGAIN:
			return
		case c.kind.then == thenReads:
			f.end(c, n > 0)
		case n <= 0:
			f.end(c, c.kind.then == thenGuesses && c.tls == nil)
		case c.tls != nil:
			f.shake(c, p[:n])
		}
		if c.fd < 0 {
			return
		}
	}
}

// shake does the rest of a handshake, when all has come.
func (f *flood) shake(c *intruder, p []byte) {
	answer, then, err := c.tls.read(p)
	switch {
	case err != nil:
		f.end(c, false)
	case then != nil:
		c.unsent = answer
		c.tls = nil
		if c.kind.then == thenGuesses {
			c.unsent = append(answer, then.seal(recordApplication, guess(c.port, c.number))...)
		}
		if f.say(c) && c.kind.then == thenShakes {
			f.end(c, true)
		}
	}
}

func (f *flood) end(c *intruder, isDone bool) {
	if c.isMade {
		f.made[c.kind]++
	}
	if isDone {
		f.done[c.kind]++
	}
	if c.kind.resets {
		_ = unix.SetsockoptLinger(int(c.fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	unix.Close(int(c.fd))
	delete(f.open, c.fd)
	c.fd = -1
}

// sum is the number of connections that were made.
func (f *flood) sum() (n int) {
	for _, of := range f.made {
		n += of
	}
	return n
}

// String says what was made, and done, of each kind.
func (f *flood) String() string {
	var all []string
	for _, k := range hostileKinds {
		all = append(all, fmt.Sprintf("%s: %d of %d", k.name, f.done[k], f.made[k]))
	}
	return strings.Join(all, ", ")
}
