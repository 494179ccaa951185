package brokertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A Network joins hosts whose packets go through this process, which can lose them and hold them back.
type Network struct {
	Hosts []*Host

	mu   sync.Mutex // guards what follows
	ways map[[2]int]Way
}

// A Way is what happens to packets from one host to another.
type Way struct {
	Cut   bool          // all are lost
	Loss  float64       // the part of them that is lost
	Delay time.Duration // the rest come so much later
}

// A Host is a machine as processes see it: a network namespace with an address of its own.
type Host struct {
	Address string

	index     int
	device    *os.File    // of packets: what is read was sent by the host, what is written comes to it
	namespace *os.File    // to enter it
	work      chan func() // to be done on the thread that is always within
	out       []chan packet
}

// A packet waits until it is due at a host.
type packet struct {
	bytes []byte
	due   time.Time
}

// waitingPackets is how many packets a way holds back; more are lost, as on any network.
const waitingPackets = 4096

// NewNetwork makes a network, which ends with the test. Where the system does not allow that, the test is skipped.
func NewNetwork(t testing.TB, hosts int) *Network {
	t.Helper()
	n := &Network{ways: make(map[[2]int]Way)}
	for i := range hosts {
		h, err := newHost(i)
		if err != nil {
			t.Skipf("needs a system that gives it networks of its own: %v", err)
		}
		t.Cleanup(h.close)
		for range hosts {
			h.out = append(h.out, make(chan packet, waitingPackets))
		}
		n.Hosts = append(n.Hosts, h)
	}
	for _, h := range n.Hosts {
		for to, ch := range h.out {
			go deliver(ch, n.Hosts[to])
		}
		go n.route(h)
	}
	return n
}

func newHost(index int) (*Host, error) {
	h := &Host{Address: fmt.Sprintf("10.77.0.%d", index+1), index: index, work: make(chan func())}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocks it: the thread ends with the goroutine
		err := h.enter()
		made <- err
		for f := range h.work {
			f()
		}
	}()
	err := <-made
	if err != nil {
		close(h.work)
	}
	return h, err
}

// enter makes the namespace, with its device, and enters it.
func (h *Host) enter() (err error) {
	if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if h.namespace, err = os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())); err != nil {
		return err
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("/dev/net/tun: %w", err)
	}
	tun, err := unix.NewIfreq("mbus")
	if err != nil {
		return err
	}
	tun.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, tun); err != nil {
		return fmt.Errorf("TUNSETIFF: %w", err)
	}
	h.device = os.NewFile(uintptr(fd), "tun")
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	return errors.Join(
		configure(socket, "lo", unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP); return nil }),
		configure(socket, "mbus", unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr([]byte{10, 77, 0, byte(h.index + 1)}) }),
		configure(socket, "mbus", unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr([]byte{255, 255, 255, 0}) }),
		configure(socket, "mbus", unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(maxPacket); return nil }),
		configure(socket, "mbus", unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP); return nil }))
}

// dialTime bounds a connect, whose packets may be lost.
const dialTime = 5 * time.Second

// maxPacket is the longest packet, in bytes.
const maxPacket = 9000

func configure(socket int, device string, request uint, set func(*unix.Ifreq) error) error {
	r, err := unix.NewIfreq(device)
	if err == nil {
		err = set(r)
	}
	if err == nil {
		err = unix.IoctlIfreq(socket, request, r)
	}
	if err != nil {
		err = fmt.Errorf("device %s, request %#x: %w", device, request, err)
	}
	return err
}

// do does something within the host.
func (h *Host) do(f func()) {
	done := make(chan struct{})
	h.work <- func() { defer close(done); f() }
	<-done
}

func (h *Host) close() {
	h.device.Close()
	h.namespace.Close()
	close(h.work)
}

// Dial connects to an address from the host. That is this machine if h is nil.
func (h *Host) Dial(address string) (net.Conn, error) {
	if h == nil {
		return net.DialTimeout("tcp", address, dialTime)
	}
	runtime.LockOSThread()
	own, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	if err != nil {
		return nil, err
	}
	defer own.Close()
	if err := unix.Setns(int(h.namespace.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), dialTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
		return nil, errors.Join(err, back) // the thread stays locked, and ends with the goroutine
	}
	runtime.UnlockOSThread()
	return conn, err
}

// Set says what happens to packets from one host to another from now on.
func (n *Network) Set(from, to int, w Way) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ways[[2]int{from, to}] = w
}

// Isolate loses all packets from and to a host, or no more.
func (n *Network) Isolate(host int, cut bool) {
	for other := range n.Hosts {
		n.Set(host, other, Way{Cut: cut})
		n.Set(other, host, Way{Cut: cut})
	}
}

// SetAll says what happens to all packets.
func (n *Network) SetAll(w Way) {
	for from := range n.Hosts {
		for to := range n.Hosts {
			n.Set(from, to, w)
		}
	}
}

// route takes the packets that a host sends.
func (n *Network) route(from *Host) {
	defer func() {
		for _, ch := range from.out {
			close(ch)
		}
	}()
	for {
		p := make([]byte, maxPacket)
		size, err := from.device.Read(p)
		if errors.Is(err, os.ErrClosed) || errors.Is(err, io.EOF) {
			return
		}
		const ipv4, destination = 4, 16
		if err != nil || size < 20 || p[0]>>4 != ipv4 {
			continue
		}
		to := int(p[destination+3]) - 1
		if to < 0 || to >= len(n.Hosts) {
			continue
		}
		n.mu.Lock()
		w := n.ways[[2]int{from.index, to}]
		n.mu.Unlock()
		if w.Cut || w.Loss > 0 && rand.Float64() < w.Loss {
			continue
		}
		select {
		case from.out[to] <- packet{p[:size], time.Now().Add(w.Delay)}:
		default:
		}
	}
}

// deliver brings packets to a host when they are due, in order.
func deliver(packets <-chan packet, to *Host) {
	for p := range packets {
		time.Sleep(time.Until(p.due))
		_, _ = to.device.Write(p.bytes) // else it is lost
	}
}
