package schedule

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"mbus/internal/vfs/crashfs"
)

func TestMessagesAreDeliveredInTheOrderOfTheirTimes(t *testing.T) {
	w := newWorld(t)
	r := w.start(1 << 20)
	defer r.end()
	to := Target{Topic: orders, Partition: 3}
	r.keep(to, map[string]time.Duration{"third": 3 * time.Second, "first": time.Second, "second": 2 * time.Second, "later": time.Hour}).Deliver()
	r.pass(time.Minute)
	w.await("three arrive", func() bool { return len(w.arrived(to)) == 3 })
	if got := fmt.Sprint(w.arrived(to)); got != "[first second third]" {
		t.Errorf("there are %s", got)
	}
}

func TestWhatWasDeliveredIsNotDeliveredAgainAfterAStart(t *testing.T) {
	w := newWorld(t)
	r := w.start(1 << 20)
	one, other := Target{Topic: orders}, Target{Topic: stock}
	r.keep(one, map[string]time.Duration{"a": time.Second}).Deliver()
	r.keep(other, map[string]time.Duration{"b": time.Hour}).Deliver()
	r.pass(time.Minute)
	w.await("the first arrives", func() bool { return len(w.arrived(one)) == 1 })
	r.end()
	r = w.start(1 << 20)
	defer r.end()
	r.pass(time.Hour)
	w.await("the other arrives", func() bool { return len(w.arrived(other)) == 1 })
	w.await("all is noted", r.noted)
	if got := w.arrived(one); len(got) != 1 {
		t.Errorf("there are %s", got)
	}
}

// The log says that a message was delivered, and its partition does not have it: the data
// directory is a copy.
func TestWhatDidNotArriveIsDeliveredAgain(t *testing.T) {
	w := newWorld(t)
	r := w.start(1 << 20)
	to := Target{Topic: orders}
	r.keep(to, map[string]time.Duration{"a": time.Second}).Deliver()
	r.pass(time.Minute)
	w.await("it arrives", func() bool { return len(w.arrived(to)) == 1 })
	w.await("it is noted", r.noted)
	r.end()
	w.set(func() { w.got[to] = nil })
	r = w.start(1 << 20)
	defer r.end()
	w.await("it arrives again", func() bool { return len(w.arrived(to)) == 1 })
}

func TestCancelledMessagesAreNotDelivered(t *testing.T) {
	w := newWorld(t)
	r := w.start(1 << 20)
	to := Target{Topic: orders}
	r.keep(to, map[string]time.Duration{"a": time.Second, "b": time.Second}).Cancel()
	w.await("they are noted", r.noted)
	r.end()
	r = w.start(1 << 20)
	defer r.end()
	r.keep(to, map[string]time.Duration{"c": time.Second}).Deliver()
	r.pass(time.Minute)
	w.await("one arrives", func() bool { return len(w.arrived(to)) > 0 })
	w.await("it is noted", r.noted)
	if got := fmt.Sprint(w.arrived(to)); got != "[c]" {
		t.Errorf("there are %s", got)
	}
}

func TestMessagesForADeletedTopicAreDropped(t *testing.T) {
	w := newWorld(t)
	r := w.start(1 << 20)
	defer r.end()
	r.keep(Target{Topic: orders}, map[string]time.Duration{"a": time.Hour}).Deliver()
	r.keep(Target{Topic: orders, Partition: 1}, map[string]time.Duration{"b": time.Hour}).Deliver()
	w.set(func() { w.deleted[orders] = true })
	r.Abandon(orders)
	w.await("they are dropped", r.noted)
}

func TestWhatCanNotBeAppendedWaits(t *testing.T) {
	w := newWorld(t)
	r := w.start(1 << 20)
	defer r.end()
	one, other := Target{Topic: orders}, Target{Topic: stock}
	w.set(func() { w.fails = errors.New("not now") })
	r.keep(one, map[string]time.Duration{"a": time.Second}).Deliver()
	r.keep(other, map[string]time.Duration{"b": time.Minute}).Deliver()
	r.pass(2 * time.Second)
	w.await("it is reported", func() bool { return len(w.log.Lines("tried again")) == 1 })
	w.set(func() { w.fails = nil })
	r.pass(time.Hour)
	w.await("both arrive", func() bool { return len(w.arrived(one)) == 1 && len(w.arrived(other)) == 1 })
}

// One message that waits for a year does not hold the log of all that come after it, and a
// power cut at any time loses none.
func TestTheLogIsCompactedAroundWhatWaits(t *testing.T) {
	w := newWorld(t)
	r := w.start(8 << 10)
	to := Target{Topic: orders}
	r.keep(to, map[string]time.Duration{"in a year": 365 * 24 * time.Hour}).Deliver()
	sent := 0
	w.await("the log is trimmed", func() bool {
		r.keep(to, map[string]time.Duration{fmt.Sprint("message ", sent): time.Second}).Deliver()
		sent++
		r.pass(time.Minute)
		start, _ := r.log.Offsets()
		return start > 0
	})
	w.await("the others arrive", func() bool { return len(w.arrived(to)) == sent })
	dead := w.disk
	w.disk = dead.Crash(crashfs.Nothing())
	dead.Kill()
	r.halt()
	again := w.start(8 << 10)
	defer again.end()
	again.pass(366 * 24 * time.Hour)
	w.await("the last one arrives", func() bool { return slices.Contains(w.arrived(to), "in a year") })
}

func TestDuesComeInOrder(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var pushed, built dues
		for range rnd.IntN(100) {
			d := due{rnd.Int64N(20), rnd.Int64N(1000)}
			pushed.push(d)
			built = append(built, d)
		}
		built.init()
		var last due
		for i := range len(pushed) {
			d := pushed.pop()
			if e := built.pop(); e != d {
				t.Fatalf("%v, and of a heap that was made at once %v", d, e)
			}
			if i > 0 && last.compare(d) > 0 {
				t.Fatalf("%v after %v", d, last)
			}
			last = d
		}
	}
}
