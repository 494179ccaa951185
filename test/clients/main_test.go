// Package clients runs clients of the Kafka protocol, unmodified, against a broker
// that is a process of its own. It is a module of its own, so that nobody who
// builds mbus needs them.
package clients

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds waits for what must happen.
const patience = time.Minute

// programs is the directory of the broker and admin, which TestMain has built.
var programs string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "mbus-clients-")
	if err != nil {
		panic(err)
	}
	programs = dir
	build := exec.Command("go", "build", "-ldflags=-s", "-o", programs, "./cmd/broker", "./cmd/admin")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// A broker is a process that belongs to a test.
type broker struct {
	t       *testing.T
	data    string
	address string // of its Kafka port
	told    string // the address that clients get to connect to, if it is another
	flags   []string
	http    string // the address of its HTTP port
	cmd     *exec.Cmd
	said    chan string // its standard error, when it has ended
}

// start runs a broker until the test ends.
func start(t *testing.T) *broker {
	t.Helper()
	return startBehind(t, "")
}

// startBehind is start, where clients get another address to connect to.
func startBehind(t *testing.T, address string) *broker {
	t.Helper()
	b := &broker{t: t, data: t.TempDir(), address: reserve(t), told: address}
	b.begin()
	t.Cleanup(func() { b.end(os.Interrupt) })
	return b
}

// reserve gives an address that is nobody else's until the test ends, although the
// broker is not there all the time: a socket that does not listen is bound to it.
func reserve(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	err = errors.Join(
		syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1),
		syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	if err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint("127.0.0.1:", name.(*syscall.SockaddrInet4).Port)
}

var portLine = regexp.MustCompile(`^(kafka|http): (\S+)$`)

func (b *broker) begin() {
	b.t.Helper()
	port := b.address[strings.LastIndexByte(b.address, ':')+1:]
	b.cmd = exec.Command(filepath.Join(programs, "broker"), append([]string{
		"-data", b.data, "-pport", "0", "-cport", "0", "-kport", port, "-hport", "0",
		"-rebalance-delay", "50ms", "-advertise", b.told,
	}, b.flags...)...)
	stderr, err := b.cmd.StderrPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	listens := make(chan string, 2)
	b.said = make(chan string, 1)
	go func() {
		var all strings.Builder
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			fmt.Fprintln(&all, lines.Text())
			if m := portLine.FindStringSubmatch(lines.Text()); m != nil {
				listens <- m[2]
			}
		}
		b.said <- all.String()
	}()
	for _, address := range []*string{&b.address, &b.http} {
		select {
		case *address = <-listens:
		case said := <-b.said:
			b.t.Fatalf("the broker ended:\n%s", said)
		case <-time.After(patience):
			b.t.Fatal("the broker does not listen")
		}
	}
}

// end stops the process, and fails the test if it has seen what it must not.
func (b *broker) end(s os.Signal) {
	_ = b.cmd.Process.Signal(s)
	said := <-b.said
	_ = b.cmd.Wait()
	for _, sign := range []string{"panic", "DATA RACE", "fatal error", "closing a Kafka client's connection"} {
		if strings.Contains(said, sign) {
			b.t.Errorf("the broker's standard error has %q", sign)
		}
	}
	if b.t.Failed() {
		b.t.Logf("the broker said:\n%s", said)
	}
}

// restart kills the broker and starts it again at the same address.
func (b *broker) restart() {
	b.t.Helper()
	b.end(syscall.SIGKILL)
	b.begin()
}

func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// perTopic is how many messages each test sends to a topic.
const perTopic = 200

// A message is one as a test has sent it, or got it back.
type message struct {
	key, value, header string
	millis             int64
}

// message is the i-th of a topic.
func messageOf(topic string, i int) message {
	return message{fmt.Sprint("key ", i), fmt.Sprint(topic, " ", i), fmt.Sprint("header ", i), 1_700_000_000_000 + int64(i)}
}

// wantAll fails the test unless got is what was sent, in order.
func wantAll(t *testing.T, topic string, got []message) {
	t.Helper()
	if len(got) != perTopic {
		t.Fatalf("%s: %d messages came, not %d", topic, len(got), perTopic)
	}
	for i, m := range got {
		if want := messageOf(topic, i); m != want {
			t.Fatalf("%s: message %d came as %+v, not %+v", topic, i, m, want)
		}
	}
}

// compressed says whether the data directory has a batch with that codec. Not all
// need have it: clients send small ones as they are.
func (b *broker) compressed(topic string, codec byte) bool {
	b.t.Helper()
	found := false
	err := filepath.WalkDir(b.data, func(path string, _ os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".log" || !strings.Contains(path, topic) {
			return err
		}
		p, err := os.ReadFile(path)
		const header, lengthAt, lengthEnd, attributesAt = 61, 8, 12, 22
		for len(p) >= header {
			size := lengthEnd + int(binary.BigEndian.Uint32(p[lengthAt:]))
			if size < header || size > len(p) {
				break // what is reserved for later
			}
			found = found || p[attributesAt]&7 == codec
			p = p[size:]
		}
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return found
}

// codecs are the numbers by which batches name how they are compressed.
var codecs = map[string]byte{"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
