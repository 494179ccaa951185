package brokertest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience bounds every wait for something that must happen, so that a test
// ends with a message and not with the test binary's own time-out.
const patience = 60 * time.Second

// A Process is a broker started by Begin. Its methods may be called by any
// goroutine.
type Process struct {
	cmd    *exec.Cmd
	begun  time.Time
	login  string        // comes before each request
	host   *Host         // nil for this machine
	ready  chan struct{} // closed when all addresses are known
	exited chan struct{} // closed when the process has ended and err is set
	err    error

	mu         sync.Mutex // guards what follows
	output     strings.Builder
	addresses  map[string]string // by what the broker calls them
	readyAfter time.Duration
}

// Begin starts the broker program at path, in the directory dir if that is not
// empty, and does not wait for it to listen. It ends when this process does, at
// the latest.
func Begin(dir, path string, args ...string) (*Process, error) {
	return begin(nil, dir, path, args...)
}

// begin is Begin on a host.
func begin(on *Host, dir, path string, args ...string) (*Process, error) {
	p := &Process{
		host:   on,
		cmd:    exec.Command(path, args...),
		ready:  make(chan struct{}),
		exited: make(chan struct{}),

		addresses: make(map[string]string),
	}
	p.cmd.Dir, p.cmd.Env = dir, Environment()
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	p.begun = time.Now()
	start := p.cmd.Start
	if on != nil {
		start = func() (err error) {
			on.do(func() { err = p.cmd.Start() })
			return err
		}
	}
	if err := start(); err != nil {
		return nil, err
	}
	go p.watch(stderr)
	return p, nil
}

// Environment is this process's, without what would set the programs' flags.
func Environment() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "MBUS_") {
			env = append(env, v)
		}
	}
	return env
}

// Launch is Begin followed by Ready.
func Launch(dir, path string, args ...string) (*Process, error) {
	p, err := Begin(dir, path, args...)
	if err != nil {
		return nil, err
	}
	if err := p.Ready(); err != nil {
		p.Kill()
		return nil, err
	}
	return p, nil
}

var addressLine = regexp.MustCompile(`^(producers|consumers|kafka|http): (\S+)\n$`)

func (p *Process) watch(stderr io.Reader) {
	lines := bufio.NewReader(stderr)
	for {
		line, err := lines.ReadString('\n')
		p.note(line)
		if err != nil {
			break
		}
	}
	p.err = p.cmd.Wait()
	close(p.exited)
}

func (p *Process) note(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.output.WriteString(line)
	m := addressLine.FindStringSubmatch(line)
	if m == nil || p.readyAfter != 0 {
		return
	}
	p.addresses[m[1]] = m[2]
	if len(p.addresses) == p.ports() {
		p.readyAfter = time.Since(p.begun)
		close(p.ready)
	}
}

// ports is how many addresses the broker says: each has a flag. A broker of an older build has no
// port for HTTP.
func (p *Process) ports() int {
	if slices.Contains(p.cmd.Args, "-hport") {
		return 4
	}
	return 3
}

// Dial connects to an address from the machine of the process.
func (p *Process) Dial(address string) (net.Conn, error) { return p.host.Dial(address) }

// Ready waits until the broker has said where it listens. The error is what
// the broker said if it ended instead.
func (p *Process) Ready() error {
	select {
	case <-p.ready:
		return nil
	case <-p.exited:
		return fmt.Errorf("the broker ended (%v): %s", p.err, p.Output())
	case <-time.After(patience):
		return fmt.Errorf("the broker does not say where it listens: %s", p.Output())
	}
}

// ReadyAfter is the time from the start of the process to its listening.
func (p *Process) ReadyAfter() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.readyAfter
}

// Producers is the address that producers connect to.
func (p *Process) Producers() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addresses["producers"]
}

// Consumers is the address that consumers connect to.
func (p *Process) Consumers() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addresses["consumers"]
}

// Kafka is the address that Kafka clients connect to.
func (p *Process) Kafka() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addresses["kafka"]
}

// HTTP is the address that HTTP clients connect to.
func (p *Process) HTTP() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addresses["http"]
}

// Output is what the broker has written to standard error so far.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// Pid is the broker's process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Kill sends SIGKILL and waits for the end. It does nothing to a process that
// has ended.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // fails only if it has ended
	<-p.exited
}

// Terminate sends SIGTERM.
func (p *Process) Terminate() error { return p.cmd.Process.Signal(syscall.SIGTERM) }

// Wait waits for the end and gives the error that exec.Cmd.Wait gave.
func (p *Process) Wait() error {
	select {
	case <-p.exited:
		return p.err
	case <-time.After(patience):
		return errors.New("the broker does not end: " + p.Output())
	}
}

// Port is the port of an address.
func Port(address string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	return port
}
