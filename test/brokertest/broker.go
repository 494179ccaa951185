package brokertest

import (
	"strings"
	"testing"
)

// A Broker is a broker process that belongs to a test.
type Broker struct {
	*Process
	Data string // its data directory

	t       testing.TB
	flags   []string
	program string // empty for the broker built for the tests
	login   string // of each process
	host    *Host  // nil for this machine
}

// Start runs a broker on free ports over the data directory, with further
// flags, and ends it with the test. A panic or a data race in it fails the test.
func Start(t testing.TB, data string, flags ...string) *Broker {
	t.Helper()
	b := &Broker{Data: data, t: t, flags: flags}
	b.Begin()
	if err := b.Ready(); err != nil {
		t.Fatal(err)
	}
	return b
}

// Begin starts the process, again if it has ended, without waiting for it to
// listen: Ready does.
func (b *Broker) Begin() {
	b.t.Helper()
	args := append([]string{"-pport", "0", "-cport", "0", "-kport", "0", "-hport", "0", "-data", b.Data}, b.flags...)
	program := b.program
	if program == "" {
		program = Program(b.t, "broker")
	}
	p, err := begin(b.host, "", program, args...)
	if err != nil {
		b.t.Fatal(err)
	}
	p.login = b.login
	b.Process = p
	b.t.Cleanup(func() { b.bury(p) })
}

// Host is the machine that the broker runs on, over all its starts; nil for this one.
func (b *Broker) Host() *Host { return b.host }

func (b *Broker) bury(p *Process) {
	p.Kill()
	out := p.Output()
	for _, sign := range []string{"DATA RACE", "panic", "fatal error:"} {
		if strings.Contains(out, sign) {
			b.t.Errorf("the broker's standard error has %q", sign)
		}
	}
	if b.t.Failed() {
		b.t.Logf("broker %d said:\n%s", p.Pid(), out)
	}
}

// Restart kills the broker with SIGKILL and starts it again on the same
// directory. Its ports change.
func (b *Broker) Restart() {
	b.t.Helper()
	b.Kill()
	b.Begin()
	if err := b.Ready(); err != nil {
		b.t.Fatal(err)
	}
}

// Stop sends SIGTERM and fails the test unless the broker exits with 0.
func (b *Broker) Stop() {
	b.t.Helper()
	if err := b.Terminate(); err != nil {
		b.t.Fatal(err)
	}
	if err := b.Wait(); err != nil {
		b.t.Fatalf("after SIGTERM: %v", err)
	}
}
