package line_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/broker"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

var seeds = flag.Int("seeds", 150, "how many random lives of consumers to try against the model of the promises")

// A life is one broker with random clients, and what they were promised.
type life struct {
	t          *testing.T
	b          *bus
	rng        *rand.Rand
	promises   []*promise
	workers    []*worker
	partitions int
	attempts   int
	ordered    bool
	published  int
	connected  int
	history    []string
	err        error
}

// TestPromisesToRandomWorkers lets workers consume, fail, crash, hang and leave while the
// topic grows, is trimmed, deleted and created again, and the broker stops or dies. Messages
// that were acknowledged to a producer reach each group, or are reported to be gone; consumed
// messages do not come again; no message is with two workers; one that fails too often is a
// dead letter; and each request gets a response.
func TestPromisesToRandomWorkers(t *testing.T) {
	brokertest.Slow(t)
	const atATime = 100
	lives := *seeds
	if testing.Short() {
		lives /= 5
	}
	for first := 0; first < lives; first += atATime {
		t.Run(fmt.Sprint("from ", first), func(t *testing.T) {
			for seed := first; seed < min(first+atATime, lives); seed++ {
				t.Run(fmt.Sprint(seed), func(t *testing.T) {
					t.Parallel()
					liveOnce(t, uint64(seed))
				})
			}
		})
	}
}

func liveOnce(t *testing.T, seed uint64) {
	l := &life{t: t, rng: rand.New(rand.NewPCG(seed, 1)), partitions: 1}
	l.attempts, l.ordered = 2+l.rng.IntN(3), l.rng.IntN(3) == 0
	l.b = start(t, setup{disk: crashfs.New(), limits: func(limits *broker.Limits) {
		limits.SettleTime, limits.ResetTime, limits.PositionsPause = 0, time.Millisecond, time.Millisecond
	}})
	for i := range 1 + l.rng.IntN(2) {
		l.promises = append(l.promises, newPromise(fmt.Sprint("g", i), l.attempts, l.ordered))
	}
	l.publish()
	for range 30 + l.rng.IntN(30) {
		l.step()
		if l.err != nil {
			break
		}
	}
	if l.err == nil {
		l.finish()
	}
	if l.err != nil {
		t.Fatalf("seed %d: %v, behind\n%s", seed, l.err, strings.Join(l.history, "\n"))
	}
}

func (l *life) note(format string, args ...any) {
	l.history = append(l.history, fmt.Sprintf(format, args...))
}

func (l *life) broken(err error) {
	if err != nil && l.err == nil {
		l.err = err
	}
}

func (l *life) step() {
	switch n := l.rng.IntN(100); {
	case n < 12:
		l.publish()
	case n < 30 || len(l.workers) == 0:
		l.join()
	case n < 68:
		w := l.workers[l.rng.IntN(len(l.workers))]
		l.take(w)
		l.errorLinef(w)
	case n < 74:
		l.leave(l.rng.IntN(len(l.workers)))
	case n < 80:
		l.crash(l.rng.IntN(len(l.workers)))
	case n < 83:
		l.hang()
	case n < 87:
		l.drain()
	case n < 89:
		l.grow()
	case n < 93:
		l.trim()
	case n < 95:
		l.remake()
	case n < 97:
		l.restart()
	default:
		l.kill()
	}
}

func (l *life) publish() {
	var lines []string
	for range 1 + l.rng.IntN(8) {
		l.published++
		key, payload := fmt.Sprint("k", l.rng.IntN(3)), fmt.Sprint("m", l.published)
		lines = append(lines, key+"\t"+payload)
		for _, p := range l.promises {
			p.published(payload, key)
		}
	}
	l.note("publish %d up to m%d", len(lines), l.published)
	l.b.publish("orders?keyed", lines...)
	if l.rng.IntN(2) == 0 {
		l.publishHoles()
	}
}

// publishHoles has a partition get what compaction and transactions leave: offsets without a
// record, and records that are no messages.
func (l *life) publishHoles() {
	n := l.rng.IntN(l.partitions)
	for range 1 + l.rng.IntN(3) {
		var b batch.Batch
		switch l.rng.IntN(3) {
		case 0:
			b = batchtest.Empty(1 + l.rng.IntN(5))
		case 1:
			b = batchtest.Control(1 + l.rng.IntN(2))
		default:
			b = l.sparse(n)
		}
		at, err := l.b.write("orders", n, b)
		l.broken(err)
		l.note("partition %d gets offsets %d to %d with %d records, control: %v", n, at, at+int64(b.LastOffsetDelta()), b.Count(), b.IsControl())
	}
}

// sparse makes a batch of a partition in which offsets are missing.
func (l *life) sparse(partition int) batch.Batch {
	var records []batchtest.Record
	delta := 0
	for range 1 + l.rng.IntN(4) {
		delta += l.rng.IntN(4)
		key := fmt.Sprint("k", l.rng.IntN(3))
		if broker.ForKey([]byte(key), l.partitions) == partition {
			l.published++
			payload := fmt.Sprint("m", l.published)
			records = append(records, batchtest.Record{Delta: delta, Key: []byte(key), Value: []byte(payload)})
			for _, p := range l.promises {
				p.published(payload, key)
			}
		}
		delta++
	}
	return batchtest.Sparse(delta+l.rng.IntN(3), records...)
}

// request is that of a worker which acknowledges.
func (l *life) request(p *promise, window int) string {
	r := fmt.Sprintf("orders?group=%s&follow&ack&confirm&format=json&window=%d&retry=1ms&attempts=%d", p.group, window, l.attempts)
	if l.ordered {
		r += "&ordered"
	}
	return r
}

func (l *life) anyPromise() *promise { return l.promises[l.rng.IntN(len(l.promises))] }

func (l *life) join() {
	if len(l.workers) < 6 {
		p := l.anyPromise()
		l.workers = append(l.workers, l.connect(p, l.request(p, 1+l.rng.IntN(4))))
	}
}

// remove takes a worker off the list.
func (l *life) remove(i int) *worker {
	w := l.workers[i]
	l.workers = slices.Delete(l.workers, i, i+1)
	return w
}

// leave has a worker go in good order: then all that it has said is on disk.
func (l *life) leave(i int) { l.part(l.remove(i), "GAP") }

// crash has the system of a worker reset its connection.
func (l *life) crash(i int) {
	w := l.remove(i)
	l.note("%v crashes", w)
	w.c.reset()
	for range w.lines { // what it has not read is lost
	}
	l.awaitGone(w) // until then more may be on its way to it
	w.p.lose(w)
}

// hang has a worker come that says nothing.
func (l *life) hang() {
	p := l.anyPromise()
	w := l.connect(p, l.request(p, 1+l.rng.IntN(4))+"&ack-timeout="+hangTime.String())
	w.hangs = true
	for soon := time.After(20 * time.Millisecond); w.gone == ""; {
		select {
		case line := <-w.lines:
			l.see(w, line)
			if l.err != nil {
				return
			}
			continue
		case <-soon:
		}
		if len(w.got) == 0 {
			break // there was nothing for it
		}
		soon = nil
	}
	l.part(w, "GAP", "TIMEOUT")
}

// drain has a reader come that acknowledges by its close, or closes otherwise.
func (l *life) drain() {
	if l.ordered {
		return // all of the group say so
	}
	p := l.anyPromise()
	w := l.connect(p, "orders?format=json&group="+p.group)
	how := l.rng.IntN(3)
	if how == 0 {
		w.c.CloseWrite()
	}
	within(l.t, "a drain ends", func() {
		for line := range w.lines {
			l.see(w, line)
		}
	})
	if l.note("%v has read to the end, and closes in way %d", w, how); how == 1 {
		w.c.reset()
		l.letGo(w, false)
		return
	}
	w.c.Close()
	var first int64
	var partition int
	if n, _ := fmt.Sscanf(w.gone, "-GAP first=%d partition=%d", &first, &partition); n == 2 {
		p.told[partition] = max(p.told[partition], first)
	} else if w.gone != "" {
		l.broken(fmt.Errorf("%v gets %q", w, w.gone))
	}
	l.letGo(w, true)
}

// letGo notes what a drain has read, when the broker has seen that it has closed.
func (l *life) letGo(w *worker, read bool) {
	l.awaitGone(w)
	for _, h := range w.got {
		if h.m.with == h {
			h.m.with, h.m.said, h.m.done = nil, read, read
		}
	}
}

func (l *life) grow() {
	if l.partitions < 4 {
		l.partitions++
		l.note("the topic gets %d partitions", l.partitions)
		l.mustDo(fmt.Sprintf("?grow&topic=orders&partitions=%d&execute", l.partitions))
	}
}

func (l *life) mustDo(request string) {
	if got := l.b.drain(request); strings.HasPrefix(got, "-") {
		l.broken(fmt.Errorf("%s: %s", request, got))
	}
}

// trim removes the first messages of a partition.
func (l *life) trim() {
	topic, err := l.b.broker.Topic("orders")
	if err != nil {
		l.broken(err)
		return
	}
	for _, line := range strings.Split(strings.TrimSpace(l.b.drain("orders?from=beginning&format=json")), "\n") {
		var d delivery
		if json.Unmarshal([]byte(line), &d) != nil {
			continue // there is none
		}
		for _, p := range l.promises {
			p.messages[d.Payload].partition, p.messages[d.Payload].offset = d.Partition, d.Offset
		}
	}
	i := l.rng.IntN(len(topic.Partitions()))
	start, high := topic.Partitions()[i].Offsets()
	start += l.rng.Int64N(high - start + 1)
	l.note("partition %d is trimmed to %d", i, start)
	l.broken(topic.Partitions()[i].Trim(start))
	for _, p := range l.promises {
		p.trimmed(i, start)
	}
}

// remake deletes the topic, and all its readers get an error line; then it creates it again.
func (l *life) remake() {
	l.note("the topic is deleted")
	l.mustDo("?delete&topic=orders&execute")
	for _, w := range l.workers {
		if len(w.got) == 0 {
			w.c.reset() // its request may have come behind the deletion
			l.awaitGone(w)
			continue
		}
		l.readOut(w)
		if !strings.HasPrefix(w.gone, "-GONE ") && !strings.HasPrefix(w.gone, "-GAP ") {
			l.broken(fmt.Errorf("%v gets %q for the deletion", w, w.gone))
		}
	}
	l.workers = nil
	for i, p := range l.promises {
		l.promises[i] = newPromise(p.group, p.attempts, p.ordered)
	}
	l.partitions = 1
	l.publish()
}

// restart stops the broker in good order.
func (l *life) restart() {
	l.note("the broker stops")
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		l.b.stop()
	}()
	for len(l.workers) > 0 {
		l.part(l.remove(0), "GAP", "SHUTDOWN")
	}
	<-stopped
	l.b.begin()
}

// kill ends the broker as kill -9 does: its disk is as it is now.
func (l *life) kill() {
	l.note("the broker is killed")
	disk := l.b.setup.disk.KillClone()
	for len(l.workers) > 0 {
		w := l.remove(0)
		w.c.reset()
		for range w.lines {
		}
	}
	l.b.stop()
	l.b.setup.disk = disk
	l.b.begin()
	for _, p := range l.promises {
		p.die()
	}
}

// finish has each group consume all that is left, and compares.
func (l *life) finish() {
	for len(l.workers) > 0 && l.err == nil {
		l.leave(0)
	}
	for _, p := range l.promises {
		l.consumeAll(p)
		letters := l.letters(p.group)
		if l.err == nil {
			l.broken(p.broken(letters))
		}
	}
}

func (l *life) consumeAll(p *promise) {
	w := l.connect(p, l.request(p, 1000))
	for end := time.Now().Add(patience); l.err == nil; {
		if l.take(w); len(w.got) > 0 {
			l.say(w, "+"+itoa(int64(len(w.got))))
			for _, h := range w.got {
				h.acknowledge()
			}
		}
		switch {
		case w.gone != "":
			l.part(w, "GAP")
			w = l.connect(p, l.request(p, 1000))
		case l.left(p.group) == 0:
			l.part(w, "GAP")
			return
		case time.Now().After(end):
			l.broken(fmt.Errorf("%s never gets the rest:\n%s", p.group, l.b.drain("?groups")))
		}
	}
}

// left is by how much a group is behind the ends of the partitions.
func (l *life) left(name string) (left int) {
	rows := 0
	for _, line := range strings.Split(strings.TrimSpace(l.b.drain("?groups&format=json&topic=orders&group="+name)), "\n") {
		var row struct{ Position, End int }
		if json.Unmarshal([]byte(line), &row) == nil {
			left, rows = left+row.End-row.Position, rows+1
		}
	}
	return left + l.partitions - rows // of each partition a row is to come
}

// letters are the dead letters of a group, by payload.
func (l *life) letters(name string) map[string]bool {
	all := make(map[string]bool)
	for _, line := range strings.Split(strings.TrimSpace(l.b.drain("orders.dlq?from=beginning&format=json")), "\n") {
		var d delivery
		if json.Unmarshal([]byte(line), &d) == nil {
			if i := slices.Index(d.Headers, broker.HeaderGroup); i >= 0 && d.Headers[i+1] == name {
				all[d.Payload] = true
			}
		}
	}
	return all
}
