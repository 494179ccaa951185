package line_test

import (
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

const fields = `"tstype":"create","ts":1718017201000,"broker":1,`

// bury has all messages of orders fail.
func bury(b *bus, n int64) {
	b.t.Helper()
	c := b.dial(b.consumers, "orders?follow&ack&window=1&attempts=1\n")
	for i := int64(1); i <= n; i++ {
		c.line()
		c.send("-" + itoa(i) + " bad\n")
	}
	awaitCommitted(b, "default", n)
	c.mustConfirm()
}

func TestRedriveForAllPublishesDeadLettersAgain(t *testing.T) {
	b := start(t, setup{})
	b.produce("orders?format=json\n" +
		`{"key":"k","payload":"first","headers":["a","1","mbus-deliver-at-all","2"],"ts":1718017201000}` + "\n" +
		`{"payload":null,"ts":1718017201000}` + "\n")
	bury(b, 2)
	answers := b.drain("orders.dlq?redrive&to=all")
	if !strings.HasSuffix("\n"+answers, "\n+2\n") {
		t.Fatalf("answered %q", answers)
	}
	b.mustDrain("orders?format=json", `{"topic":"orders","partition":0,"offset":2,`+fields+`"headers":["a","1","mbus-deliver-at-all","2"],"key":"k","payload":"first"}`+"\n"+
		`{"topic":"orders","partition":0,"offset":3,`+fields+`"key":null,"payload":null}`+"\n")
	b.mustDrain("orders.dlq?redrive&to=all", "+0\n") // they are consumed
	b.restart()
	b.mustDrain("orders.dlq?redrive", "+0\n")
}

func TestRedriveOfNothingSaysSo(t *testing.T) {
	b := start(t, setup{})
	b.mustDrain("none.dlq?redrive", "+0\n")
}

// A client can tell a broker that goes through letters which stay from one that hangs.
func TestARedriveThatMovesNothingSaysThatItGoesOn(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders.dlq", numbered(3*redriveSteps, 0)...) // by hand: none says where it came from
	got := b.drain("orders.dlq?redrive")
	if counts, stay, _ := strings.Cut(got, "#"); counts != strings.Repeat("+0\n", 4) || !strings.Contains(stay, " 768 letters stay") {
		t.Errorf("answered %q", got)
	}
}

// redriveSteps is how many letters a redrive looks at before it says how far it has come.
const redriveSteps = 256

func TestRedriveTakesNoMoreThanAsked(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", numbered(5, 0)...)
	bury(b, 5)
	if got := b.drain("orders.dlq?redrive&n=2"); !strings.HasSuffix("\n"+got, "\n+2\n") {
		t.Fatalf("answered %q", got)
	}
	b.mustDrain("orders", join(numbered(2, 0)))
	b.mustDrain("orders.dlq?group=redrive", join(numbered(5, 0)[2:]))
}

func TestRedriveOfManyIsWhole(t *testing.T) {
	b := start(t, setup{partitions: 3})
	const n = 500
	b.publish("orders", numbered(n, 0)...)
	c := b.dial(b.consumers, "orders?follow&ack&attempts=1\n")
	for i := int64(1); i <= n; i++ {
		c.line()
		c.send("-" + itoa(i) + " bad\n")
	}
	await(t, "all are dead", func() bool { return strings.Count(b.drain("orders.dlq?from=beginning"), "\n") == n })
	c.mustConfirm()
	if got := b.drain("orders.dlq?redrive"); !strings.HasSuffix("\n"+got, "\n+500\n") {
		t.Fatalf("answered %q", got)
	}
	mustBeOnce(t, numbered(n, 0), b.drain("orders"))
}

func TestARedriveIsOfATopicOfDeadLetters(t *testing.T) {
	b := start(t, setup{})
	b.dial(b.consumers, "orders?redrive\n").mustRefuse("BADREQUEST", ".dlq")
	b.dial(b.consumers, "orders.dlq?redrive&to=nobody\n").mustRefuse("BADREQUEST", "all", "group")
	b.dial(b.consumers, "orders.dlq?to=all\n").mustRefuse("BADREQUEST", "redrive")
}

func TestDeadLetterThatIsDelayedIsDueAtOnceWhenPutBack(t *testing.T) {
	b := start(t, setup{})
	past := itoa(time.Now().Add(-time.Hour).UnixMilli())
	b.produce("orders.dlq?format=json\n" + `{"payload":"p","headers":["mbus-topic","orders","Mbus-Deliver-At","` + past + `"]}` + "\n")
	b.mustDrain("orders.dlq?redrive", "+1\n")
	got := b.drain("orders?format=json")
	if !strings.Contains(got, `"payload":"p"`) || strings.Contains(strings.ToLower(got), "mbus-") {
		t.Fatalf("what was put back is %q", got)
	}
}

// Letters that were counted to the client are durable where they came from, and durably
// consumed: whenever the power goes, they are not put back again. With an interval between
// syncs they may be, and each is in one of both places at least.
func TestWhatARedriveHasToldIsNotPutBackAgainAfterACrash(t *testing.T) {
	brokertest.Slow(t)
	t.Parallel()
	for _, log := range []commitlog.Options{{}, {SyncEvery: time.Hour}} {
		always := log.SyncEvery == 0
		b := start(t, setup{disk: crashfs.New(), log: log})
		const n = 2000
		var letters strings.Builder
		for i := range n {
			letters.WriteString(`{"payload":"m` + itoa(int64(i)) + `","headers":["mbus-topic","orders"]}` + "\n")
		}
		b.produce("orders.dlq?format=json\n" + letters.String())
		awaitSynced(b, "orders.dlq")
		c := b.dial(b.consumers, "orders.dlq?redrive\n")
		told, err := strconv.Atoi(strings.TrimPrefix(c.line(), "+"))
		if err != nil || told >= n {
			t.Fatalf("told of %d of %d at first: %v", told, n, err)
		}
		disk := b.setup.disk.Crash(crashfs.Nothing())
		b.stop() // the dead one
		b = start(t, setup{disk: disk})
		b.drain("orders.dlq?redrive")
		times := make(map[string]int)
		for m := range strings.Lines(b.drain("orders")) {
			times[m]++
		}
		for i := range n {
			m := "m" + itoa(int64(i)) + "\n"
			if times[m] == 0 || times[m] > 1 && i < told && always { // else a position may be the interval old
				t.Fatalf("%+v: of %d messages %d were counted, and number %d is there %d times", log, n, told, i, times[m])
			}
		}
	}
}

// awaitSynced waits until what was published to a topic is durable.
func awaitSynced(b *bus, topic string) {
	b.t.Helper()
	found, err := b.broker.Topic(topic)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, log := range found.Partitions() {
		done := make(chan error, 1)
		log.Sync(func(err error) { done <- err })
		if err := <-done; err != nil {
			b.t.Fatal(err)
		}
	}
}

func TestARedriveTellsOfWhatIsDurable(t *testing.T) {
	b := start(t, setup{disk: crashfs.New(), log: commitlog.Options{SyncEvery: time.Hour}})
	b.produce("orders.dlq?format=json\n" + `{"payload":"p","headers":["mbus-topic","orders"]}` + "\n")
	b.publish("orders", "there")
	g := newGate()
	b.setup.disk.SetHook(func(c crashfs.Call) error {
		if c.Op == crashfs.Sync && segmentOf(c, "orders") {
			g.pass()
		}
		return nil
	})
	c := b.dial(b.consumers, "orders.dlq?redrive\n")
	<-g.held
	c.mustBeSilent()
	if at := b.position(broker.RedriveGroup, "orders.dlq", 0).Committed(); at != 0 {
		t.Errorf("before the sync of orders the group is at %d", at)
	}
	b.setup.disk.SetHook(nil)
	close(g.opened)
	c.mustEnd("+1\n")
	b.mustDrain("orders", "there\np\n")
}

func TestARedriveTellsOfWhatItsPositionKeeps(t *testing.T) {
	b := start(t, setup{disk: crashfs.New()})
	b.produce("orders.dlq?format=json\n" + `{"payload":"p","headers":["mbus-topic","orders"]}` + "\n")
	g := newGate()
	b.setup.disk.SetHook(func(c crashfs.Call) error {
		if c.Op == crashfs.Sync && segmentOf(c, broker.PositionsTopic) {
			g.pass()
		}
		return nil
	})
	release := sync.OnceFunc(func() {
		b.setup.disk.SetHook(nil)
		close(g.opened)
	})
	t.Cleanup(release)
	c := b.dial(b.consumers, "orders.dlq?redrive\n")
	<-g.held
	c.mustBeSilent()
	release()
	c.mustEnd("+1\n")
	b.mustDrain("orders", "p\n")
}

func TestARedrivePassesOverWhatIsDamagedAndSaysSo(t *testing.T) {
	b := start(t, setup{})
	for _, m := range []string{"a", "b", "c"} {
		b.produce("orders.dlq?format=json\n" + `{"payload":"` + m + `","headers":["mbus-topic","orders"]}` + "\n")
	}
	b.damage("orders.dlq", 1)
	if got := b.drain("orders.dlq?redrive"); !strings.HasPrefix(got, "+2\n-DAMAGED orders.dlq/0: offsets 1 to 1 ") {
		t.Errorf("answered %q", got)
	}
	b.mustDrain("orders", "a\nc\n")
	b.restart()
	b.mustDrain("orders.dlq?redrive", "+0\n")
}

func TestARedrivePassesOverAllThatIsDamaged(t *testing.T) {
	b := start(t, setup{})
	for _, m := range []string{"a", "b", "c", "d", "e"} {
		b.produce("orders.dlq?format=json\n" + `{"payload":"` + m + `","headers":["mbus-topic","orders"]}` + "\n")
	}
	b.damage("orders.dlq", 1)
	b.damage("orders.dlq", 3)
	got := b.drain("orders.dlq?redrive")
	if !strings.HasPrefix(got, "+3\n-DAMAGED orders.dlq/0: offsets 1 to 1 ") || !strings.HasSuffix(got, "; places more that are damaged or gone: 1\n") {
		t.Errorf("answered %q", got)
	}
	b.mustDrain("orders", "a\nc\ne\n")
	b.mustDrain("orders.dlq?redrive", "+0\n")
}

func TestARedrivePassesOverWhatTheLogHasForgotten(t *testing.T) {
	b := start(t, setup{})
	b.produce("orders.dlq?format=json\n" + `{"payload":"a","headers":["mbus-topic","orders"]}` + "\n")
	b.drain("orders.dlq?redrive")
	for _, m := range []string{"b", "c"} {
		b.produce("orders.dlq?format=json\n" + `{"payload":"` + m + `","headers":["mbus-topic","orders"]}` + "\n")
	}
	topic, err := b.broker.Topic("orders.dlq")
	if err != nil {
		t.Fatal(err)
	}
	if err := topic.Partitions()[0].Trim(2); err != nil {
		t.Fatal(err)
	}
	b.mustDrain("orders.dlq?redrive", "+1\n"+goneBelow(2)+"\n")
	b.mustDrain("orders.dlq?redrive", "+0\n")
	b.mustDrain("orders", "a\nc\n")
}

// Letters that a client made, each of which names another one as its message: a redrive that
// opened these again would never end.
func TestARedriveOfLettersThatNameEachOtherEnds(t *testing.T) {
	b := start(t, setup{})
	const letters = 2 * redriveSteps
	var text strings.Builder
	for i := range letters {
		text.WriteString(`{"payload":"x","ts":1,"headers":["mbus-topic","orders.dlq","mbus-partition","0","mbus-offset","` +
			strconv.Itoa((i+letters/2)%letters) + `","mbus-group","redrive"]}` + "\n")
	}
	b.produce("orders.dlq?format=json\n" + text.String())
	b.drain("?reset&group=redrive&topic=orders.dlq&to=beginning&execute") // so that the group has a position
	b.mustDrain("orders.dlq?redrive", strings.Repeat("+0\n", 3)+
		`# 512 letters stay: header mbus-topic is "orders.dlq"; publish by hand what is still wanted`+"\n")
}

// Among dead letters, too, offsets may be missing, and control records stand.
func TestARedrivePassesOverWhatIsNoLetter(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "a", "b")
	holes := func() {
		for _, hole := range []batch.Batch{batchtest.Control(2), batchtest.Empty(1000), batchtest.Sparse(3)} {
			if _, err := b.write("orders.dlq", 0, hole); err != nil {
				t.Fatal(err)
			}
		}
	}
	c := b.dial(b.consumers, "orders?follow&ack&window=1&attempts=1\n")
	c.mustSay("a")
	c.send("-1 bad\n")
	c.mustSay("b")
	awaitCommitted(b, "default", 1) // the letter of the first is there
	holes()
	c.send("-2 bad\n")
	awaitCommitted(b, "default", 2)
	c.mustConfirm()
	holes()
	if answers := b.drain("orders.dlq?redrive"); !strings.HasSuffix("\n"+answers, "\n+2\n") {
		t.Fatalf("answered %q", answers)
	}
	b.mustDrain("orders", join([]string{"a", "b"}))
	b.mustDrain("orders.dlq?redrive", "+0\n")
}
