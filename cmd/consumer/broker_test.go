package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mbus/internal/client"
	"mbus/test/brokertest"
)

// realBroker starts a broker whose ports stay the same when it is started again.
func realBroker(t *testing.T, flags ...string) *brokertest.Broker {
	t.Helper()
	for _, flag := range []string{"-pport", "-cport"} {
		flags = append(flags, flag, brokertest.Port(brokertest.Reserve(t)))
	}
	return brokertest.Start(t, t.TempDir(), flags...)
}

// begin starts a consumer of the broker's topic orders.
func begin(t *testing.T, b *brokertest.Broker, args ...string) (*process, *bufio.Reader) {
	t.Helper()
	return start(t, &fakeBroker{port: brokertest.Port(b.Consumers())}, args...)
}

// result is what a consumer of the broker prints, which must end with 0.
func result(t *testing.T, b *brokertest.Broker, args ...string) string {
	t.Helper()
	p, out := begin(t, b, args...)
	all, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	if code := p.finish(); code != 0 {
		t.Fatalf("%q: exit %d, said %q", args, code, p.stderr.String())
	}
	return string(all)
}

func TestFollowerGoesOnWhenTheBrokerWasKilled(t *testing.T) {
	b := realBroker(t)
	p, out := begin(t, b, "-follow", "-f", `%s\n`)
	for i := range 3 {
		message := fmt.Sprintf("message %d", i)
		b.Publish("orders", message)
		got := ""
		for got != message { // those before may come again: the kill may have been faster than the acknowledgement
			if got = brokertest.ReadLine(t, out); got > message {
				t.Fatalf("printed %q before %q", got, message)
			}
		}
		b.Restart()
	}
	p.signal(t, syscall.SIGINT)
	if code := p.finish(); code != 0 {
		t.Errorf("exit %d, said %q", code, p.stderr.String())
	}
}

func TestInterruptedFollowerHasConsumedWhatItPrinted(t *testing.T) {
	b := realBroker(t)
	b.Publish("orders", "a", "b", "c")
	p, out := begin(t, b, "-follow", "-f", `%s\n`)
	for _, want := range []string{"a", "b", "c"} {
		printed(t, out, want)
	}
	p.signal(t, syscall.SIGTERM)
	p.check(t, 0, "")
	b.Restart() // with exit code 0 it is durable
	if got := result(t, b); got != "" {
		t.Errorf("came again: %q", got)
	}
}

func TestFollowersOfAGroupShareItsMessages(t *testing.T) {
	b := realBroker(t)
	b.Publish("orders", "a", "b")
	var followers []*process
	var prints []string
	for range 2 { // each holds one message while its command waits for the other's
		p, out := begin(t, b, "-follow", "-n", "1", "-exec", "cat; echo; exec cat "+fifo(t, "gate")+" >&2")
		line, err := out.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		followers, prints = append(followers, p), append(prints, line)
	}
	slices.Sort(prints)
	if !slices.Equal(prints, []string{"a\n", "b\n"}) {
		t.Errorf("printed %q", prints)
	}
	for _, p := range followers {
		p.signal(t, syscall.SIGINT)
		p.signal(t, syscall.SIGTERM) // kills the command
		p.check(t, 0, "")
	}
	if got := result(t, b, "-follow", "-n", "2", "-f", `%s\n`); got != "a\nb\n" {
		t.Errorf("what was not acknowledged came again as %q", got)
	}
}

func TestMessageThatKeepsFailingIsDeadAndCanBeRedriven(t *testing.T) {
	b := realBroker(t)
	b.Publish("orders", "good", "bad")
	p, _ := begin(t, b, "-group", "w", "-follow", "-n", "3", "-attempts", "2", "-retry", "1ms", "-exec", "! grep -q bad")
	if code := p.finish(); code != 4 {
		t.Errorf("exit %d, said %q", code, p.stderr.String())
	}
	const reason = ",mbus-group=w,mbus-attempts=2,mbus-reason=exit status 1\n"
	dead := ""
	await(t, func() bool {
		dead = result(t, b, "-topic", "orders.dlq", "-from", "beginning", "-f", `%s %h\n`)
		return dead != ""
	})
	if !strings.HasPrefix(dead, "bad ") || !strings.HasSuffix(dead, reason) {
		t.Errorf("among the dead letters is %q", dead)
	}
	result(t, b, "-topic", "orders.dlq", "-redrive")
	if got := result(t, b, "-group", "w", "-f", `%s [%h]\n`); got != "bad []\n" {
		t.Errorf("put back was %q", got)
	}
	if got := result(t, b, "-topic", "orders.dlq", "-redrive"); got != "" || result(t, b, "-group", "w") != "" {
		t.Errorf("once more it moves a letter: %q", got)
	}
}

// publishing publishes numbered messages to a broker that comes and goes, until
// stop is closed.
func publishing(address string, acked *atomic.Int64, stop <-chan struct{}) {
	for n := 0; ; {
		select {
		case <-stop:
			return
		default:
		}
		conn, err := client.DialProducer(client.Broker{Addr: address}, client.ProduceRequest{Topic: "orders"})
		if err != nil {
			time.Sleep(time.Millisecond) // nothing tells when it listens again
			continue
		}
		before := acked.Load()
		for ; err == nil; n++ {
			select {
			case <-stop:
				_ = conn.Close() // what was not acknowledged is of no interest
				return
			case <-time.After(10 * time.Microsecond): // not faster than a disk
			}
			text := fmt.Sprintf("%d %s", n, strings.Repeat("x", n*7919%200))
			if err = conn.Add(1, []byte(text)); err == nil {
				err = conn.Flush()
			}
			acked.Store(before + conn.Acked())
		}
		_ = conn.Close()
	}
}

func sizeOf(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

func TestEachMessageIsInTheFileOnceHoweverOftenConsumerAndBrokerAreKilled(t *testing.T) {
	b := realBroker(t, "-partitions", "3")
	path := filepath.Join(t.TempDir(), "orders.txt")
	out := []string{"-out", path, "-f", `%p/%o %s\n`}
	var acked atomic.Int64
	stop := make(chan struct{})
	var publisher sync.WaitGroup
	address := b.Producers()
	publisher.Go(func() { publishing(address, &acked, stop) })
	end := sync.OnceFunc(func() {
		close(stop)
		publisher.Wait()
	})
	defer end()
	for i := range 10 {
		size := sizeOf(path)
		p, _ := begin(t, b, append(out, "-follow")...)
		await(t, func() bool { return sizeOf(path) > size }) // once connected it connects again
		for range 1 + rand.IntN(2) {
			enough := acked.Load() + 1 + rand.Int64N(2000)
			await(t, func() bool { return acked.Load() >= enough })
			if i%2 == 0 {
				b.Restart()
			}
		}
		if err := p.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = p.Wait()
		if p.ProcessState.Exited() {
			t.Fatalf("the consumer has ended by itself: %s", p.stderr.String())
		}
	}
	end()
	result(t, b, out...)
	got := strings.SplitAfter(read(t, path), "\n")
	want := strings.SplitAfter(result(t, b, "-from", "beginning", "-f", `%p/%o %s\n`), "\n")
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || len(got) < 1000 {
		t.Errorf("the file has %d messages, the topic %d, and they are not the same", len(got), len(want))
	}
	t.Logf("%d messages", len(got)-1)
}

// A worker that is killed at any time, and starts again, leaves no message undone, and none
// that was done in part: a command has all of its message, or does not run on.
func TestEachMessageIsDoneByACommandHoweverOftenTheConsumerIsKilled(t *testing.T) {
	const messages = 60
	b := realBroker(t, "-partitions", "2")
	want := make(map[string]bool)
	for i := range messages {
		message := fmt.Sprintf("%d %s", i, strings.Repeat("x", i*7919%100_000))
		b.Publish("orders", message)
		want[message] = true
	}
	dir := t.TempDir()
	worker := []string{
		"-follow", "-attempts", "0", "-retry", "1ms", "-exec",
		"cd " + dir + " && cat >part.$$ && mv part.$$ done.$MBUS_MSG_PARTITION.$MBUS_MSG_OFFSET",
	}
	done := func() []string {
		names, err := filepath.Glob(filepath.Join(dir, "done.*"))
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	for range 8 {
		more := len(done()) + rand.IntN(10)
		p, _ := begin(t, b, worker...)
		await(t, func() bool { return len(done()) >= min(more, messages) })
		if err := p.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = p.Wait()
		if p.ProcessState.Exited() {
			t.Fatalf("the consumer has ended by itself: %s", p.stderr.String())
		}
	}
	p, _ := begin(t, b, worker...)
	await(t, func() bool { return lag(t, b) == 0 })
	p.signal(t, syscall.SIGTERM)
	if code := p.finish(); code != 0 {
		t.Errorf("exit %d, said %q", code, p.stderr.String())
	}
	for _, name := range done() {
		if message := read(t, name); !want[message] {
			t.Errorf("%s has %.20q, which is not a message", name, message)
		} else {
			delete(want, message)
		}
	}
	if len(want) > 0 {
		t.Errorf("%d messages were not done", len(want))
	}
}

// lag is how many messages of the topic orders the group default has not consumed.
func lag(t *testing.T, b *brokertest.Broker) int64 {
	t.Helper()
	answer, err := client.Ask(client.Broker{Addr: b.Consumers()}, "?groups&topic=orders&group=default&format=json\n", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	lag := int64(0)
	for _, line := range answer {
		var row struct{ Lag int64 }
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		lag += row.Lag
	}
	if len(answer) == 0 {
		return -1
	}
	return lag
}
