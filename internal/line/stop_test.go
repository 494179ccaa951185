package line_test

import (
	"context"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"mbus/internal/broker"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// stopping begins to stop the server, and returns when it takes no more
// connections; wait ends with the server.
func (b *bus) stopping() (wait func()) {
	b.t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.stop()
	}()
	await(b.t, "the ports are closed", func() bool {
		for _, address := range []string{b.producers, b.consumers} {
			if c, err := net.Dial("tcp", address); err == nil {
				c.Close()
				return false
			}
		}
		return true
	})
	return func() {
		b.t.Helper()
		within(b.t, "the server stops", func() { <-ended })
	}
}

func TestStopAnswersProducersAndEndsThem(t *testing.T) {
	b := start(t, setup{})
	idle := b.dial(b.producers, "orders\n")
	middle := b.dial(b.producers, "orders\nfirst\nseco")
	middle.mustSay("+1")
	asking := b.dial(b.producers, "ord")
	silent := b.dial(b.producers, "")
	b.publish("other", "the others have been accepted")
	wait := b.stopping()
	for _, c := range []*client{idle, middle, asking, silent} {
		c.mustRefuse("SHUTDOWN")
	}
	wait()
	b.begin()
	b.mustDrain("orders", "first\n")
}

func TestStopAcknowledgesWhatIsOnItsWayBeforeItEndsAConnection(t *testing.T) {
	disk := crashfs.New()
	b := start(t, setup{disk: disk})
	b.publish("orders", "before")
	g := newGate()
	disk.SetHook(func(c crashfs.Call) error {
		if c.Op == crashfs.Sync && segmentOf(c, "orders") {
			g.pass()
		}
		return nil
	})
	c := b.dial(b.producers, "orders\nfirst\n")
	<-g.held
	wait := b.stopping()
	c.mustBeSilent()
	close(g.opened)
	c.mustSay("+1")
	c.mustRefuse("SHUTDOWN")
	wait()
	b.setup.disk = disk.KillClone()
	b.begin()
	b.mustDrain("orders", "before\nfirst\n")
}

func TestStopComesBeforeServing(t *testing.T) {
	b := start(t, setup{})
	b.server.Stop(context.Background())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	within(t, "serving ends", func() { b.server.ServeProducers(l) })
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		c.Close()
		t.Error("the port is open")
	}
}

func TestStopLetsDrainsFinish(t *testing.T) {
	b := start(t, setup{})
	messages := numbered(10_000, 500)
	b.publish("orders", messages...)
	c := b.dialWith(small, b.consumers, "orders\n")
	c.mustSay(messages[0])
	idle := b.dial(b.consumers, "")
	b.publish("other", "the others have been accepted")
	wait := b.stopping()
	idle.mustRefuse("SHUTDOWN")
	c.mustEnd(join(messages[1:]))
	wait()
	b.begin()
	b.mustDrain("orders", "") // it was consumed
}

func TestStopCutsOffWhoDoesNotFinish(t *testing.T) {
	brokertest.Slow(t)
	b := start(t, setup{limits: func(l *broker.Limits) { l.StopTime = 4 * moment }})
	messages := numbered(20_000, 500)
	b.publish("orders", messages...)
	stalled := b.dialWith(small, b.consumers, "orders?n=19000\n")
	stalled.mustSay(messages[0])
	open := b.dial(b.consumers, "orders?group=b&n=1\n")
	if p, err := io.ReadAll(open.r); err != nil || string(p) != messages[0]+"\n" {
		t.Fatalf("%q, %v", p, err)
	}
	b.stopping()()
	stalled.mustBeReset()
	b.begin()
	b.mustDrain("orders", join(messages)) // nothing was consumed
	b.mustDrain("orders?group=b&n=2", join(messages[:2]))
}

// Producers send, consumers drain, connections come and go while the server
// stops: what was acknowledged is there afterwards.
func TestStopUnderLoadLosesNothing(t *testing.T) {
	b := start(t, setup{})
	producers := b.producers
	var all sync.WaitGroup
	acked := make([]int, 8)
	for i := range acked {
		all.Go(func() {
			for {
				n, err := publishOne(producers, "orders\n"+itoa(int64(i))+" "+itoa(int64(acked[i]))+"\n")
				if acked[i] += n; err != nil {
					return
				}
			}
		})
	}
	await(t, "some are acknowledged", func() bool {
		topic, err := b.broker.Topic("orders")
		if err != nil {
			return false
		}
		_, high := topic.Partitions()[0].Offsets()
		return high > 100
	})
	b.stop()
	all.Wait()
	b.begin()
	got := b.drain("orders")
	for i, n := range acked {
		for j := range n {
			if !strings.Contains("\n"+got, "\n"+itoa(int64(i))+" "+itoa(int64(j))+"\n") {
				t.Fatalf("message %d of %d is acknowledged and lost", j, i)
			}
		}
	}
}

// publishOne publishes a message on a connection of its own and says how many
// are acknowledged.
func publishOne(address, text string) (int, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, text); err != nil {
		return 0, err
	}
	conn.(*net.TCPConn).CloseWrite()
	answer, err := io.ReadAll(conn)
	if strings.HasPrefix(string(answer), "+1\n") {
		return 1, err
	}
	return 0, err
}

func TestStopLeavesNoGoroutineAndNoFile(t *testing.T) {
	settled := func() (int, int) {
		runtime.GC()
		return runtime.NumGoroutine(), openFiles(t)
	}
	first := start(t, setup{}) // and with it whatever Go begins once
	first.publish("orders", "message")
	first.stop()
	goroutines, files := settled()
	b := start(t, setup{partitions: 3})
	b.publish("orders", numbered(1000, 100)...)
	b.publish("orders?keyed", "k\tv")
	b.drain("orders")
	var clients []*client
	for range 20 {
		clients = append(clients, b.dial(b.producers, "orders\nmessage\n"), b.dial(b.consumers, "orders?group=a&n=1\n"))
		clients = append(clients, b.dial(b.producers, "bad/topic\n"), b.dial(b.consumers, "orders?x\n"))
	}
	for i, c := range clients {
		if c.line(); i%3 == 0 {
			c.reset()
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	b.server.Stop(ctx) // without any patience
	b.stop()
	for _, c := range clients {
		c.Close()
	}
	await(t, "goroutines and files are gone", func() bool {
		g, f := settled()
		return g <= goroutines && f <= files
	})
}
