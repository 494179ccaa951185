package bus

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"mbus/bench/machine"
)

// A Process is a broker that runs.
type Process struct {
	Address   string        // where its clients connect
	StartUp   time.Duration // until the first connection was accepted
	addresses map[string]string
	cmd       *exec.Cmd
	log       *os.File
	exited    chan struct{}
	helpers   []*Process // ended after it
}

// FreeAddress is an address on loopback that nothing listens on.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// FreeAddresses gives several of them.
func freeAddresses(n int) ([]string, error) {
	var list []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		list = append(list, l.Addr().String())
	}
	return list, nil
}

// run starts a program that will listen on address, and waits until it accepts
// a connection there. What it says goes into a file in dir.
func run(dir, address string, env []string, program string, args ...string) (*Process, error) {
	log, err := os.Create(filepath.Join(dir, filepath.Base(program)+".log"))
	if err != nil {
		return nil, err
	}
	p := &Process{Address: address, cmd: exec.Command(program, args...), log: log, exited: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = dir, append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	begun := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	running.Lock()
	running.list = append(running.list, p)
	running.Unlock()
	go func() {
		_ = p.cmd.Wait() // how it ended does not matter, or shows in the log
		close(p.exited)
	}()
	if err := p.accepts(); err != nil {
		p.Stop()
		return nil, err
	}
	p.StartUp = time.Since(begun)
	return p, nil
}

// startPatience is how long a broker may take to listen.
const startPatience = 2 * time.Minute

// pollEvery is how exact the start-up time is.
const pollEvery = 500 * time.Microsecond

func (p *Process) accepts() error {
	for deadline := time.Now().Add(startPatience); time.Now().Before(deadline); {
		conn, err := net.Dial("tcp", p.Address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.exited:
			return fmt.Errorf("%s ended: %s", p.cmd.Path, p.Said())
		case <-time.After(pollEvery):
		}
	}
	return fmt.Errorf("%s does not listen: %s", p.cmd.Path, p.Said())
}

// Said is the end of what the broker has written to its standard output and
// error.
func (p *Process) Said() string {
	text, _ := os.ReadFile(p.log.Name()) // for people
	return strings.TrimSpace(string(text[max(0, len(text)-2000):]))
}

// Pids are the broker's processes.
func (p *Process) Pids() []int { return machine.Family(p.cmd.Process.Pid) }

// running are the processes that have been started, for StopAll.
var running struct {
	sync.Mutex
	list []*Process
}

// StopAll ends every process that is still there. No other may be started any
// more.
func StopAll() {
	running.Lock() // and never let go of
	for _, p := range running.list {
		p.kill()
	}
}

// kill ends the broker with what it has started.
func (p *Process) kill() {
	select {
	case <-p.exited:
		return // its number may be another's by now
	default:
	}
	for _, pid := range p.Pids() {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
	}
}

// Stop ends the broker: nothing of it is needed any more.
func (p *Process) Stop() {
	p.kill()
	<-p.exited
	p.log.Close()
	for _, h := range p.helpers {
		h.Stop()
	}
}

// tool gives a function that finds a program among those that this module's
// go.mod names as tools, building it the first time, and one that gives its
// version.
func tool(dir, path string) (program, version func() (string, error)) {
	name := filepath.Base(strings.TrimSuffix(path, "/v2"))
	program = sync.OnceValues(func() (string, error) {
		target := filepath.Join(dir, name)
		cmd := exec.Command("go", "build", "-o", target, path)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("go build %s: %w: %s", path, err, out)
		}
		return target, nil
	})
	version = func() (string, error) {
		target, err := program()
		if err != nil {
			return "", err
		}
		return firstLine(target, "--version")
	}
	return program, version
}

// installed gives the version of a program that is looked for where programs are
// installed. hint says how it gets there.
func installed(hint, name string, args ...string) func() (string, error) {
	return func() (string, error) {
		if _, err := exec.LookPath(name); err != nil {
			return "", fmt.Errorf("no program %s is installed; %s", name, hint)
		}
		return firstLine(name, args...)
	}
}

func firstLine(program string, args ...string) (string, error) {
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", filepath.Base(program), err, out)
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line, nil
}

// always is for what can be measured in every way.
func always(string) string { return "" }

func port(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}
