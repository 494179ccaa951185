package line_test

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/group"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// mustConfirm closes the client's sending side, reads to the end, and so knows
// that what was acknowledged is durable.
func (c *client) mustConfirm() {
	c.t.Helper()
	c.finish().mustEnd("")
}

func TestAcknowledgementIsCumulative(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", numbered(5, 0)...)
	c := b.dial(b.consumers, "orders?follow&ack\n")
	c.mustSay(numbered(5, 0)...)
	c.send("+1\n+3\n+2\r\n")
	c.mustConfirm()
	b.mustDrain("orders", join(numbered(5, 0)[3:]))
}

func TestRestartRedeliversOnlyWhatWasNotAcknowledged(t *testing.T) {
	b := start(t, setup{})
	messages := numbered(10, 0)
	b.publish("orders", messages...)
	x := b.dial(b.consumers, "orders?follow&ack&window=5\n")
	x.mustSay(messages[:5]...)
	y := b.dial(b.consumers, "orders?follow&ack&window=5\n")
	y.mustSay(messages[5:]...)
	y.send("+3\n") // out of turn
	x.send("+2\n")
	await(t, "both acknowledgements are read", func() bool { // while each holds the rest, which the other could get
		p := b.broker.Positions(group.Default)[0]
		return p.Committed == 2 && p.AckedAhead == 3
	})
	x.Close()
	y.Close()
	b.restart()
	b.mustDrain("orders", join(append(messages[2:5:5], messages[8:]...)))
}

func TestAckWithoutFollowEndsWithTheTopic(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first", "second", "third")
	c := b.dial(b.consumers, "orders?ack&retry=1h\n")
	c.mustSay("first", "second", "third")
	if p, err := c.r.ReadByte(); err != io.EOF {
		t.Fatalf("%q, %v where the end was to come", p, err)
	}
	c.send("+2\n")
	awaitCommitted(b, "default", 2)
	c.send("+3\n")
	awaitCommitted(b, "default", 3)
	c.Close()
	awaitMembers(b, "default", 0)
	b.mustDrain("orders", "")
}

func TestAckWithoutFollowOfNoTopicEnds(t *testing.T) {
	b := start(t, setup{})
	b.dial(b.consumers, "orders?ack\n").mustEnd("")
	c := b.dial(b.consumers, "orders?ack&format=batch\n")
	c.mustSay(".")
	c.finish().mustEnd("")
}

// The broker ends its side of a batch stream only when what was acknowledged is
// durable, so that a client can wait for that.
func TestAckWithoutFollowIsConfirmedByTheEndOfABatchStream(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first")
	c := b.dial(b.consumers, "orders?ack&format=batch\n")
	for !strings.HasSuffix(c.line(), ".") { // what stands before it is binary
	}
	c.send("+1\n")
	c.finish().mustEnd("")
	if got := b.broker.CommittedOffsets("default"); len(got) != 1 || got[0].Offset != 1 {
		t.Errorf("%+v", got)
	}
}

// It comes again after the time that the one has asked for with whom it failed. Where
// the back-off is over before that one has left, which is chance, it comes to it once
// more, and another group is looked at.
func TestFailedMessageComesAgainToAnyOfTheGroup(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first", "second")
	hasLeft := false
	for attempts := 0; !hasLeft; attempts++ {
		if attempts == 50 {
			t.Fatal("the message always comes again to the one that leaves")
		}
		request := "orders?follow&ack&group=g" + itoa(int64(attempts))
		fails := b.dial(b.consumers, request+"&window=1&retry=100ms\n")
		fails.mustSay("first")
		other := b.dial(b.consumers, request+"&retry=1h\n")
		other.mustSay("second")
		fails.send("-1 can't\n")
		rest := fails.finish().rest()
		if hasLeft = rest == ""; !hasLeft && rest != "first\n" {
			t.Fatalf("%q came to the one that left", rest)
		}
		other.mustSay("first")
	}
}

func TestDeadMessageGoesToTheDeadLettersWithAllItHas(t *testing.T) {
	b := start(t, setup{})
	b.produce("orders?format=json\n" + `{"key":"k","payload":"bad","headers":["a","1","a","2"],"ts":1718017201000}` + "\n")
	c := b.dial(b.consumers, "orders?group=billing&follow&ack&retry=1ms&attempts=3\n")
	for i := range 3 {
		c.mustSay("bad")
		c.send(fmt.Sprintf("-%d reason %d\n", i+1, i+1))
	}
	awaitCommitted(b, "billing", 1)
	c.mustBeSilent()
	c.mustConfirm()
	b.mustDrain("orders.dlq?format=json", `{"topic":"orders.dlq","partition":0,"offset":0,"tstype":"create","ts":1718017201000,"broker":1,`+
		`"headers":["a","1","a","2","mbus-topic","orders","mbus-partition","0","mbus-offset","0","mbus-group","billing","mbus-attempts","3","mbus-reason","reason 3"],`+
		`"key":"k","payload":"bad"}`+"\n")
	b.restart()
	b.mustDrain("orders?group=billing", "")
}

func TestAttemptsAreCountedOverRestarts(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "bad")
	const request = "orders?follow&ack&retry=1m&attempts=2\n"
	c := b.dial(b.consumers, request)
	c.mustSay("bad")
	c.send("-1 no\n")
	c.mustConfirm()
	b.restart()
	c = b.dial(b.consumers, request)
	c.mustSay("bad")
	c.send("-1 no\n")
	awaitCommitted(b, "default", 1)
	c.mustConfirm()
	b.restart()
	b.mustDrain("orders", "")
	b.mustDrain("orders.dlq", "bad\n")
}

func TestMessageOfADeadLetterTopicHasNoEndOfAttempts(t *testing.T) {
	brokertest.Slow(t)
	t.Parallel()
	b := start(t, setup{})
	b.publish("orders.dlq", "bad")
	c := b.dial(b.consumers, "orders.dlq?follow&ack&retry=1ms&attempts=1\n")
	for i := range 10 {
		c.mustSay("bad")
		c.send(fmt.Sprintf("-%d no\n", i+1))
	}
	c.mustSay("bad")
	if _, err := b.broker.Topic("orders.dlq.dlq"); err == nil {
		t.Fatal("there are dead letters of dead letters")
	}
}

func TestAnswersThatMakeNoSenseAreRefused(t *testing.T) {
	for said, words := range map[string]string{
		"+3\n": "+3", "-3 bad\n": "-3", "-0 bad\n": "-0", "+99999999999999999999\n": "neither",
		"garbage\n": `"garbage"`, "\n": "neither", "+\n": "neither", "-\n": "neither", "+1 2\n": "neither",
		"++1\n": "neither", "--1\n": "neither", "+-1\n": "neither", "+1x\n": "neither",
		strings.Repeat("x", 4096): "longer", "-1 " + strings.Repeat("x", 5000) + "\n": "longer",
	} {
		t.Run(brief(said), func(t *testing.T) {
			b := start(t, setup{})
			b.publish("orders", "first", "second")
			c := b.dial(b.consumers, "orders?follow&ack\n")
			c.mustSay("first", "second")
			c.send("+1\n" + said)
			c.finish().mustRefuse("BADREQUEST", words)
			b.mustDrain("orders", "second\n") // the acknowledgement before it counts
		})
	}
}

func TestEmptyAcknowledgementIsHarmless(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first")
	c := b.dial(b.consumers, "orders?follow&ack\n")
	c.mustSay("first")
	c.send("+0\n+1\n")
	c.mustConfirm()
	b.mustDrain("orders", "")
}

func TestHalfAnAnswerIsNone(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first")
	c := b.dial(b.consumers, "orders?follow&ack\n")
	c.mustSay("first")
	c.send("+1")
	c.mustConfirm()
	b.mustDrain("orders", "first\n")
}

func TestSlowWorkerWithWindowOneHoldsOneMessage(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", numbered(20, 0)...)
	slow := b.dial(b.consumers, "orders?follow&ack&window=1\n")
	slow.mustSay("message 0 ")
	quick := b.dial(b.consumers, "orders?follow&ack&window=1\n")
	for i := 1; i < 20; i++ {
		quick.mustSay(fmt.Sprintf("message %d ", i))
		quick.send(fmt.Sprintf("+%d\n", i))
	}
	slow.mustBeSilent()
	quick.mustBeSilent()
	slow.send("+1\n")
	awaitCommitted(b, "default", 20)
}

func TestWindowOfBytesBoundsWhatIsOut(t *testing.T) {
	b := start(t, setup{})
	messages := numbered(80, 100_000)
	for at := 0; at < len(messages); at += 10 {
		b.publish("orders", messages[at:at+10]...)
	}
	holds := b.dial(b.consumers, "orders?follow&ack\n")
	holds.mustSay(messages[:10]...)
	other := b.dial(b.consumers, "orders?follow&ack\n")
	if at := strings.Split(other.line(), " ")[1]; at < "10" || at > "22" {
		t.Fatalf("the other's first message is %s: the window is not about 1 MiB", at)
	}
}

func TestWorkerThatDoesNotAcknowledgeInTimeIsCutOff(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first", "second")
	hangs := b.dial(b.consumers, "orders?follow&ack&ack-timeout=100ms&attempts=1\n")
	hangs.mustSay("first", "second")
	hangs.mustRefuse("TIMEOUT", "100ms")
	b.mustDrain("orders", "second\n") // the oldest has failed
	b.mustDrain("orders.dlq?format=json&n=1", `{"topic":"orders.dlq","partition":0,"offset":0,"tstype":"create","ts":`+timeOf(b, "orders.dlq")+`,"broker":1,`+
		`"headers":["mbus-topic","orders","mbus-partition","0","mbus-offset","0","mbus-group","default","mbus-attempts","1","mbus-reason","ack-timeout"],`+
		`"key":null,"payload":"first"}`+"\n")
}

// It has got all that it asked for, and the broker only waits for its answers.
func TestWorkerThatHangsBehindTheEndIsCutOff(t *testing.T) {
	brokertest.Slow(t)
	for _, options := range []string{"n=2", "n=2&follow", "window=2&n=2", "", "format=batch", "format=json&n=2&follow"} {
		t.Run(options, func(t *testing.T) {
			b := start(t, setup{})
			b.publish("orders", "first", "second")
			c := b.dial(b.consumers, "orders?group=g&ack&ack-timeout=50ms&attempts=1&"+strings.TrimPrefix(options+"&retry=1h\n", "&"))
			c.line()
			awaitMembers(b, "g", 0)
			b.mustDrain("orders?group=g", "second\n")
			await(t, "the first is a dead letter", func() bool {
				return strings.HasSuffix(b.drain("orders.dlq?format=json&from=beginning"), `"mbus-attempts","1","mbus-reason","ack-timeout"],"key":null,"payload":"first"}`+"\n")
			})
		})
	}
}

// timeOf is the time of a topic's first message.
func timeOf(b *bus, topic string) string {
	b.t.Helper()
	_, after, _ := strings.Cut(b.drain(topic+"?format=json&from=0&n=1"), `"ts":`)
	ms, _, _ := strings.Cut(after, ",")
	return ms
}

// Where its acknowledgement comes too late, which is chance, it is cut off, and
// another group is looked at.
func TestWorkerWithNothingToAcknowledgeIsNotCutOff(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first")
	inTime := false
	for attempts := 0; !inTime; attempts++ {
		if attempts == 100 {
			t.Fatal("every acknowledgement came too late")
		}
		c := b.dial(b.consumers, "orders?follow&ack&confirm&format=json&ack-timeout=20ms&group=g"+itoa(int64(attempts))+"\n")
		if !strings.HasPrefix(c.line(), `{"topic":"orders"`) {
			t.Fatal("the message does not come")
		}
		c.Write([]byte("+1\n")) // if it fails, it comes too late
		answer, _ := c.r.ReadString('\n')
		if inTime = answer == "+1\n"; inTime {
			c.mustBeSilent() // longer than the time-out
			c.mustConfirm()
		}
	}
}

func TestConfirmSaysWhatIsDurable(t *testing.T) {
	brokertest.Slow(t)
	t.Parallel()
	b := start(t, setup{})
	b.publish("orders", "first", "second", "third")
	c := b.dial(b.consumers, "orders?format=json&follow&ack&confirm\n")
	for range 3 {
		if got := c.line(); !strings.HasPrefix(got, `{"topic":"orders"`) {
			t.Fatalf("answered %q", got)
		}
	}
	c.mustBeSilent()
	c.send("+1\n")
	c.mustSay("+1")
	c.send("+3\n")
	c.mustSay("+3")
	b.restart()
	b.mustDrain("orders", "")
}

// The client sends nothing more before it has the confirmation.
func TestConfirmComesWhenWhatCouldNotBeWrittenHasBeen(t *testing.T) {
	brokertest.Slow(t)
	t.Parallel()
	var full atomic.Bool
	refused := make(chan struct{}, 1000)
	b := start(t, setup{wrap: func(s store.Store) store.Store {
		return &storefault.Store{Store: s, Append: func(p store.Partition, topic string, batches []byte, done func(int64, error)) error {
			if topic == broker.PositionsTopic && full.Load() {
				refused <- struct{}{}
				return store.ErrFull
			}
			return store.Append(p, batches, done)
		}}
	}})
	b.publish("orders", "first", "second")
	c := b.dial(b.consumers, "orders?format=json&follow&ack&confirm\n")
	c.line()
	c.line()
	full.Store(true)
	c.send("+2\n")
	<-refused
	full.Store(false)
	c.mustSay("+2")
}

// The machine loses its power as soon as the client has the confirmation, which does not come
// while the disk is busy.
func TestWhatIsConfirmedSurvivesAPowerCut(t *testing.T) {
	for options, told := range map[string]func(*client){
		"follow&ack":                     func(c *client) { c.mustEnd("") },
		"follow&ack&confirm&format=json": func(c *client) { c.mustSay("+2") },
	} {
		t.Run(options, func(t *testing.T) {
			disk := crashfs.New()
			b := start(t, setup{disk: disk})
			b.publish("orders", "first", "second", "third")
			c := b.dial(b.consumers, "orders?"+options+"\n")
			for range 3 {
				c.line()
			}
			released := make(chan struct{})
			release := sync.OnceFunc(func() { close(released) })
			t.Cleanup(release)
			disk.SetHook(func(c crashfs.Call) error {
				if c.Op == crashfs.Sync {
					<-released
				}
				return nil
			})
			c.send("+2\n")
			if !strings.Contains(options, "confirm") {
				c.finish()
			}
			c.mustBeSilent()
			release()
			told(c)
			after := start(t, setup{disk: disk.Crash(crashfs.Nothing())})
			after.mustDrain("orders", "third\n")
		})
	}
}

func TestConfirmOfTheLastComesBeforeTheEnd(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first")
	c := b.dial(b.consumers, "orders?format=batch&follow&ack&confirm\n")
	c.mustSay("@0")
	header, err := c.r.Peek(batch.HeaderSize)
	if err != nil {
		t.Fatal(err)
	}
	size := int(header[8])<<24 | int(header[9])<<16 | int(header[10])<<8 | int(header[11])
	if _, err := c.r.Discard(12 + size); err != nil {
		t.Fatal(err)
	}
	c.send("+1\n")
	c.mustSay("+1")
	c.mustConfirm()
}

func TestStopKeepsWhatWasAcknowledged(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first", "second")
	c := b.dial(b.consumers, "orders?follow&ack\n")
	c.mustSay("first", "second")
	c.send("+1\n")
	awaitCommitted(b, "default", 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.stop()
	}()
	c.mustRefuse("SHUTDOWN")
	<-done
	b.begin()
	b.mustDrain("orders", "second\n")
}

func TestUnacknowledgedMessagesAreNotDrained(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "first", "second")
	c := b.dial(b.consumers, "orders?follow&ack&window=1\n")
	c.mustSay("first")
	d := b.dial(b.consumers, "orders\n")
	d.mustSay("second")
	c.send("+1\n")
	d.mustEnd("")
	free, _ := b.position("default", "orders", 0).Free(2, time.Now())
	if free != (group.Span{From: 2, To: 2}) && free.From != 1 { // 1: the end is still being looked at
		t.Fatalf("%v is free", free)
	}
}
