package programs

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mbus/test/brokertest"
)

// A disk of 16 MiB is filled to the brim, emptied, and used again. It needs a
// file system of its own: mounted as root, or in a namespace of its own. Where
// neither is allowed, a bound on the size of files stands in for the disk.
func TestFullDiskIsAnsweredAndLosesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"); err == nil {
		t.Cleanup(func() { unmount(t, dir) })
		fillDisk(t, dir)
		return
	}
	if os.Getenv("MBUSTEST_NAMESPACE") == "" && exec.Command("unshare", "-Urm", "true").Run() == nil {
		again := exec.Command("unshare", "-Urm", os.Args[0], "-test.v", "-test.run", "^"+t.Name()+"$")
		again.Env = append(os.Environ(), "MBUSTEST_NAMESPACE=1")
		out, err := again.CombinedOutput()
		t.Logf("in a namespace of its own:\n%s", out)
		if err != nil {
			t.Error(err)
		}
		return
	}
	t.Log("NO FILE SYSTEM COULD BE MOUNTED: a limit on the size of files is tested instead of a full disk")
	hitFileLimit(t, dir)
}

func unmount(t *testing.T, dir string) {
	if err := syscall.Unmount(dir, 0); err != nil {
		t.Error(err)
	}
}

func fillDisk(t *testing.T, dir string) {
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	b := brokertest.Start(t, filepath.Join(dir, "data"))
	p := publishUntilRefused(t, b, "-FULL ")
	log := b.Drain("load?group=full") // readers go on
	again := newClient(t, b.Producers(), "load")
	again.write("no space for this either " + strings.Repeat("x", 100_000))
	if answer := brokertest.ReadLine(t, again.reader); !strings.HasPrefix(answer, "-FULL ") {
		t.Errorf("a message for a full disk was answered %q", answer)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	b.Publish("load", p.burstLine()) // it resumes by itself
	p.acked = append(p.acked, span{p.sent - 1, p.sent})
	b.Restart()
	mustHoldAll(t, p, b.Drain("load"))
	mustHoldAll(t, p, log+p.message(p.sent-1)+"\n")
	b.Stop()
}

// hitFileLimit runs the broker under a shell's limit on file sizes.
func hitFileLimit(t *testing.T, dir string) {
	limited := filepath.Join(t.TempDir(), "broker")
	script := "#!/bin/sh\nulimit -f 10240\nexec '" + brokertest.Program(t, "broker") + "' \"$@\"\n"
	if err := os.WriteFile(limited, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	first, err := brokertest.Launch("", limited, "-pport", "0", "-cport", "0", "-kport", "0", "-hport", "0", "-data", dir)
	if err != nil {
		t.Fatal(err)
	}
	p := publishUntil(first.Producers())
	first.Kill()
	if !strings.HasPrefix(p.answer, "-F") { // FULL or FAILED
		t.Errorf("a file at its limit was answered %q: %s", p.answer, first.Output())
	}
	b := brokertest.Start(t, dir)
	mustHoldAll(t, p, b.Drain("load"))
}

func publishUntilRefused(t *testing.T, b *brokertest.Broker, want string) *publisher {
	t.Helper()
	p := publishUntil(b.Producers())
	if !strings.HasPrefix(p.answer, want) {
		t.Fatalf("the publisher's last answer is %q, not %q", p.answer, want)
	}
	return p
}

// publishUntil publishes until the broker ends the connection.
func publishUntil(address string) *publisher {
	p := &publisher{name: "p"}
	p.session(address, "load", rand.New(rand.NewPCG(3, 0)), func(int) {})
	return p
}

// burstLine is the next message.
func (p *publisher) burstLine() string { return strings.TrimSuffix(p.burst(1), "\n") }

func mustHoldAll(t *testing.T, p *publisher, log string) {
	t.Helper()
	sum := check(t, []*publisher{p}, log)
	t.Logf("%+v", sum)
	if sum.lost > 0 || sum.duplicates > 0 || sum.acked == 0 {
		t.Errorf("%+v", sum)
	}
}
