package tcpserver

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// nodeVariable in the environment has this program be a node in place of the tests: "owner", or "carrier ADDRESS".
const nodeVariable = "TCPSERVER_TEST_NODE"

func TestMain(m *testing.M) {
	if role := os.Getenv(nodeVariable); role != "" {
		runNode(role)
		return
	}
	os.Exit(m.Run())
}

// waking are times of a node that may freeze: a moment is not for long, and longFreeze is.
var waking = linkTimes{greet: bound, beat: 100 * time.Millisecond, silence: 500 * time.Millisecond, moment: time.Millisecond, pause: bound, stall: bound}

const longFreeze = time.Second

// runNode is a node that carries clients, or one that answers each line of a client's with the same.
func runNode(role string) {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	if owner, is := strings.CutPrefix(role, "carrier "); is {
		staleTime = waking.silence
		d := NewDispatcher(log, DispatcherOptions{Limits: Limits{Connections: 100}})
		d.times = waking
		d.Set(Target{Owner: owner})
		d.Serve(l)
		return
	}
	links := NewLinks(log, nil)
	links.times = waking
	links.Serve(l, func(_ Hello, c Conn) bool {
		go func() {
			io.Copy(struct{ io.Writer }{always{c}}, c)
			c.Close()
		}()
		return true
	})
}

// always writes within any time.
type always struct{ Conn }

func (a always) Write(p []byte) (int, error) { return a.Conn.Write(p, bound) }

// A node is a process.
type node struct {
	*testing.T
	cmd     *exec.Cmd
	address string
}

func startNode(t *testing.T, role string) *node {
	t.Helper()
	n := &node{T: t, cmd: exec.Command(os.Args[0])}
	n.cmd.Env = append(os.Environ(), nodeVariable+"="+role)
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	n.cmd.Stderr = os.Stderr
	out, err := n.cmd.StdoutPipe()
	if err == nil {
		err = n.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.cmd.Process.Kill()
		n.cmd.Wait()
	})
	if n.address, err = bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	n.address = strings.TrimSpace(n.address)
	return n
}

func (n *node) signal(s syscall.Signal) {
	n.Helper()
	if err := n.cmd.Process.Signal(s); err != nil {
		n.Fatal(err)
	}
}

// freeze stops the node, and returns when it does nothing any more.
func (n *node) freeze() {
	n.Helper()
	n.signal(syscall.SIGSTOP)
	stat := fmt.Sprintf("/proc/%d/task/*/stat", n.cmd.Process.Pid)
	brokertest.Await(n, bound, "it is frozen", func() bool {
		names, _ := filepath.Glob(stat)
		return len(names) > 0 && !slices.ContainsFunc(names, func(name string) bool {
			p, _ := os.ReadFile(name)
			_, state, _ := bytes.Cut(p, []byte(") "))
			return !bytes.HasPrefix(state, []byte("T"))
		})
	})
}

// newFarRig is a rig whose clients are carried by a node that is another process.
func newFarRig(t *testing.T) (*rig, *node) {
	t.Helper()
	r := newOwner(t, nil, Limits{Connections: 100})
	links, l := NewLinks(r.conns.log, nil), listen(t)
	links.times = waking
	go links.Serve(l, func(_ Hello, c Conn) bool {
		r.take(c)
		return true
	})
	t.Cleanup(func() {
		close(r.ended)
		r.stop()
		l.Close()
		links.EndAll()
	})
	n := startNode(t, "carrier "+l.Addr().String())
	r.address = n.address
	return r, n
}

// mustBeReset reads to the end, which must be a reset.
func (r *rig) mustBeReset(of string, from io.Reader) {
	r.Helper()
	if _, err := io.ReadAll(from); err == nil || isTimeout(err) {
		r.Errorf("%s: it ends with %v", of, err)
	}
}

// A node that dies is a reset to its clients, and to the owner, whatever goes on.
func TestANodeThatDiesIsAReset(t *testing.T) {
	t.Run("the carrier", func(t *testing.T) {
		r, n := newFarRig(t)
		c, p := r.connect()
		closes, reader := r.connect()
		r.write(closes, stream)
		confirmed := make(chan error, 1)
		go func() { confirmed <- ConfirmClose(closes, patient()) }()
		r.readAll(reader) // all of it, and the end
		io.WriteString(p, "first")
		r.mustRead(c, "first")
		n.signal(syscall.SIGKILL)
		r.mustBeReset("the client", p)
		r.mustBeReset("the owner", c)
		if err := r.within(confirmed); err == nil {
			t.Error("it counts as read")
		}
	})
	t.Run("the owner", func(t *testing.T) {
		n := startNode(t, "owner")
		p := newPort(t, "127.0.0.1:0", nil, nil, DispatcherOptions{Limits: Limits{Connections: 10}})
		p.door.times = waking
		p.door.Set(Target{Owner: n.address})
		client := p.dial(net.Dialer{})
		io.WriteString(client, "first")
		p.mustRead(client, "first")
		n.signal(syscall.SIGKILL)
		p.mustBeReset("the client", client)
	})
}

// A node that was frozen for long is seen meanwhile, and finds its links broken when it wakes: what clients have sent it
// reaches nobody. A short freeze changes nothing.
func TestANodeThatWakesCarriesNothingOld(t *testing.T) {
	brokertest.Slow(t)
	t.Run("the carrier", func(t *testing.T) {
		r, n := newFarRig(t)
		c, p := r.connect()
		n.freeze()
		io.WriteString(p, "first")
		time.Sleep(waking.silence / 5)
		n.signal(syscall.SIGCONT)
		r.mustRead(c, "first")

		n.freeze()
		io.WriteString(p, "second")
		late, err := net.Dial("tcp", n.address) // which the system accepts
		if err != nil {
			t.Fatal(err)
		}
		defer late.Close()
		late.SetDeadline(time.Now().Add(bound))
		io.WriteString(late, "third")
		frozen := time.Now()
		if p, err := io.ReadAll(c); err == nil || len(p) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the owner has %q, %v", p, err)
		}
		time.Sleep(time.Until(frozen.Add(longFreeze)))
		n.signal(syscall.SIGCONT)
		r.mustBeReset("the client", p)
		r.mustBeReset("a client of the time of the freeze", late)
		if len(r.accepted) > 0 {
			t.Error("old bytes reach the owner")
		}
		c, p = r.connect() // others come as before
		io.WriteString(p, "fourth")
		r.mustRead(c, "fourth")
	})
	t.Run("the owner", func(t *testing.T) {
		n := startNode(t, "owner")
		p := newPort(t, "127.0.0.1:0", nil, nil, DispatcherOptions{Limits: Limits{Connections: 10}})
		p.door.times = waking
		p.door.Set(Target{Owner: n.address})
		client := p.dial(net.Dialer{})
		io.WriteString(client, "first")
		p.mustRead(client, "first")
		n.freeze()
		p.mustBeReset("the client", client)
		n.signal(syscall.SIGCONT)
	})
}

// Each end finds out for itself that it was frozen: no frame that came meanwhile counts.
func TestAWireThatWasFrozenTakesNoFrame(t *testing.T) {
	times := usualTimes
	times.silence = 2 * moment
	client, p := newPair(t)
	w := newWire(client, times)
	p.Write([]byte{byte(frameWelcome), 0, 0, 0})
	w.began = time.Now().Add(-3 * moment) // nobody looked for so long
	if err := w.run(func(k kind, _ []byte) error { return fmt.Errorf("a frame of kind %d", k) }); err != errSilent {
		t.Errorf("it ends with %v", err)
	}
}

func TestAFrozenNodeIsSeenWithinTenSeconds(t *testing.T) {
	if most := usualTimes.silence + usualTimes.beat; most > 10*time.Second {
		t.Errorf("it takes up to %v", most)
	}
	if usualTimes.silence < 2*usualTimes.beat {
		t.Error("a beat that comes late breaks a link")
	}
}
