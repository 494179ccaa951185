package line_test

import (
	"errors"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"

	"mbus/internal/broker"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
	"mbus/internal/vfs/crashfs"
)

// A gate lets calls pass, or holds them until it is opened.
type gate struct {
	held   chan struct{} // one for each call that is held
	opened chan struct{}
}

func newGate() *gate { return &gate{make(chan struct{}, 100), make(chan struct{})} }

func (g *gate) pass() {
	g.held <- struct{}{}
	<-g.opened
}

// segmentOf says whether a call is for a segment of a topic.
func segmentOf(c crashfs.Call, topic string) bool {
	return strings.Contains(c.Name, "/topics/"+topic+"/") && strings.HasSuffix(c.Name, ".log")
}

// onSegments has a disk fail calls for a topic's segments, until err is nil.
func onSegments(disk *crashfs.FS, topic string, op crashfs.Op, err error) {
	if err == nil {
		disk.SetHook(nil)
		return
	}
	disk.SetHook(func(c crashfs.Call) error {
		if c.Op == op && segmentOf(c, topic) {
			return err
		}
		return nil
	})
}

func TestMessagesAreAcknowledgedAndVisibleOnlyAfterTheSync(t *testing.T) {
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
	clients := map[string]*client{}
	for _, request := range []string{"orders", "orders?keyed", "orders?format=json", "orders?format=batch"} {
		message := map[string]string{
			"orders": "in\n", "orders?keyed": "k\tin\n", "orders?format=json": `{"payload":"in"}` + "\n",
		}[request]
		if message == "" {
			message = text(newBatch("in"))
		}
		clients[request] = b.dial(b.producers, request+"\n"+message)
	}
	<-g.held
	for _, c := range clients {
		c.mustBeSilent()
	}
	b.mustDrain("orders?group=a", "before\n")
	close(g.opened)
	for _, c := range clients {
		c.mustSay("+1")
	}
	b.mustDrain("orders?group=a", strings.Repeat("in\n", 4))
}

func TestOneSyncServesAllWhoWait(t *testing.T) {
	disk := crashfs.New()
	b := start(t, setup{disk: disk})
	b.publish("orders", "before")
	g := newGate()
	var mu sync.Mutex
	syncs := 0
	disk.SetHook(func(c crashfs.Call) error {
		if c.Op == crashfs.Sync && segmentOf(c, "orders") {
			mu.Lock()
			syncs++
			first := syncs == 1
			mu.Unlock()
			if first {
				g.pass()
			}
		}
		return nil
	})
	clients := []*client{b.dial(b.producers, "orders\nfirst\n")}
	<-g.held
	topic, _ := b.broker.Topic("orders")
	size := topic.Partitions()[0].Size()
	for range 50 {
		clients = append(clients, b.dial(b.producers, "orders\nmore\n"))
		await(t, "it is written", func() bool { return topic.Partitions()[0].Size() > size })
		size = topic.Partitions()[0].Size()
	}
	close(g.opened)
	for _, c := range clients {
		c.mustSay("+1")
	}
	mu.Lock()
	defer mu.Unlock()
	if syncs != 2 {
		t.Errorf("51 messages took %d syncs", syncs)
	}
}

func TestFullDiskIsAnsweredAndLaterMessagesAreTakenAgain(t *testing.T) {
	disk := crashfs.New()
	b := start(t, setup{disk: disk})
	b.publish("orders", "before")
	c := b.dial(b.producers, "orders\nfirst\n")
	c.mustSay("+1")
	onSegments(disk, "orders", crashfs.WriteAt, &crashfs.ShortWrite{N: 30, Err: syscall.ENOSPC})
	c.send("second\n")
	c.mustRefuse("FULL")
	b.dial(b.producers, "orders\nthird\n").mustRefuse("FULL")
	b.dial(b.producers, "orders?format=batch\n"+text(newBatch("fourth"))).mustRefuse("FULL")
	b.mustDrain("orders", "before\nfirst\n") // readers go on
	onSegments(disk, "orders", crashfs.WriteAt, nil)
	b.publish("orders", "fifth")
	b.mustDrain("orders", "fifth\n")
}

func TestFullDiskIsAnsweredWhenATopicIsMade(t *testing.T) {
	disk := crashfs.New()
	b := start(t, setup{disk: disk})
	disk.SetHook(func(c crashfs.Call) error {
		if c.Op == crashfs.Create || c.Op == crashfs.Mkdir {
			return syscall.ENOSPC
		}
		return nil
	})
	b.dial(b.producers, "orders\nfirst\n").mustRefuse("FULL")
	disk.SetHook(nil)
	b.publish("orders", "second")
	b.mustDrain("orders", "second\n")
}

func TestFailedSyncIsAnsweredAndEndsThePartition(t *testing.T) {
	disk := crashfs.New()
	b := start(t, setup{disk: disk})
	b.publish("orders", "before")
	c := b.dial(b.producers, "orders\nfirst\n")
	c.mustSay("+1")
	onSegments(disk, "orders", crashfs.Sync, syscall.EIO)
	c.send("second\n")
	c.mustRefuse("FAILED")
	onSegments(disk, "orders", crashfs.Sync, nil)
	b.dial(b.producers, "orders\nthird\n").mustRefuse("FAILED")
	b.publish("other", "others go on")
	b.mustDrain("orders", "before\nfirst\n")
	b.mustDrain("other", "others go on\n")
}

func TestFailedWriteIsAnsweredAndEndsThePartition(t *testing.T) {
	disk := crashfs.New()
	b := start(t, setup{disk: disk})
	b.publish("orders", "before")
	onSegments(disk, "orders", crashfs.WriteAt, syscall.EIO)
	b.dial(b.producers, "orders\nfirst\n").mustRefuse("FAILED")
	onSegments(disk, "orders", crashfs.WriteAt, nil)
	b.dial(b.producers, "orders\nsecond\n").mustRefuse("FAILED")
	b.mustDrain("orders", "before\n")
}

// A connection that sends on and on learns of a failure, too.
func TestFailureEndsAConnectionThatIsStillSending(t *testing.T) {
	disk := crashfs.New()
	b := start(t, setup{disk: disk})
	c := b.dial(b.producers, "orders\nfirst\n")
	c.mustSay("+1")
	onSegments(disk, "orders", crashfs.Sync, syscall.EIO)
	go func() {
		for {
			if _, err := c.Write([]byte(strings.Repeat("more\n", 1000))); err != nil {
				return
			}
		}
	}()
	c.mustRefuse("FAILED")
}

func TestPanicEndsOneConnectionOnly(t *testing.T) {
	b := start(t, setup{wrap: func(s store.Store) store.Store {
		return &storefault.Store{
			Store: s,
			Append: func(p store.Partition, topic string, batches []byte, done func(int64, error)) error {
				if strings.Contains(string(batches), "panic now") {
					panic("a bug while appending")
				}
				return store.Append(p, batches, done)
			},
			Read: func(p store.Partition, topic string, offset int64, maxBytes int, c *store.Chunk) error {
				if topic == "unreadable" {
					panic("a bug while reading")
				}
				return p.Read(offset, maxBytes, c)
			},
		}
	}})
	b.panics = true
	bystander := b.dial(b.producers, "orders\nfirst\n")
	bystander.mustSay("+1")
	c := b.dial(b.producers, "orders\nsecond\n")
	c.mustSay("+1")
	c.send("panic now\n")
	c.mustRefuse("INTERNAL")
	b.publish("unreadable", "message")
	b.dial(b.consumers, "unreadable\n").mustRefuse("INTERNAL")
	for _, words := range []string{"a bug while appending", "a bug while reading"} {
		if n := len(b.book.Lines("level=ERROR", words, "stack")); n != 1 {
			t.Errorf("%q is logged %d times", words, n)
		}
	}
	bystander.send("third\n")
	bystander.mustSay("+2")
	b.mustDrain("orders", "first\nsecond\nthird\n")
}

func TestAPanicOverAnAnswerLeavesNothingOfTheFollower(t *testing.T) {
	b := start(t, setup{wrap: func(s store.Store) store.Store {
		return &storefault.Store{Store: s, Append: func(p store.Partition, topic string, batches []byte, done func(int64, error)) error {
			if topic == "orders.dlq" {
				panic("a bug while burying")
			}
			return store.Append(p, batches, done)
		}}
	}, limits: func(l *broker.Limits) { l.SettleTime = moment }}) // the first one stays out
	b.panics = true
	b.publish("orders", "first")
	c := b.dial(b.consumers, "orders?follow&ack&attempts=1\n")
	c.mustSay("first")
	c.send("-1 I can't\n")
	_, _ = io.Copy(io.Discard, c) // until it is closed
	b.publish("orders", "second")
	b.mustDrain("orders", "second\n")
}

func TestTooManyTopicsAreAnsweredBusy(t *testing.T) {
	b := start(t, setup{wrap: func(s store.Store) store.Store { return noMore{s} }})
	b.dial(b.producers, "orders\nfirst\n").mustRefuse("BUSY", "topics")
	b.dial(b.producers, "orders?format=batch\n"+text(newBatch("first"))).mustRefuse("BUSY", "topics")
}

// A store with noMore takes no more topics.
type noMore struct{ store.Store }

func (noMore) CreateTopic(string, int, string) (store.Topic, error) {
	return store.Topic{}, broker.ErrTooManyTopics
}

func TestErrorsOfTheSystemStayOnOneLine(t *testing.T) {
	b := start(t, setup{wrap: func(s store.Store) store.Store {
		return &storefault.Store{Store: s, Append: func(store.Partition, string, []byte, func(int64, error)) error {
			return errors.New("a name\nwith\r\nline ends")
		}}
	}})
	b.dial(b.producers, "orders\nfirst\n").mustRefuse("FAILED", "line ends")
}
