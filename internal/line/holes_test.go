package line_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
)

// A logWithHoles is a topic in which offsets are missing and control records stand, and what a
// group has done with its messages.
type logWithHoles struct {
	t       *testing.T
	b       *bus
	rng     *rand.Rand
	ordered bool
	key     map[string]string // of each message
	settled map[string]bool
	dead    []string
}

// Whatever is missing in a log, an acknowledgement settles the message that was sent, in every
// format, for counts, ranges, failures, time-outs and dead letters alike; what is settled does
// not come again, also after a restart, and everything comes.
func TestAnAcknowledgementSettlesTheMessageThatWasSent(t *testing.T) {
	lives := 24
	if testing.Short() {
		lives = 8
	}
	for seed := range lives {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			l := &logWithHoles{t: t, rng: rand.New(rand.NewPCG(uint64(seed), 7)), key: make(map[string]string), settled: make(map[string]bool)}
			l.b, l.ordered = start(t, setup{}), seed%3 == 0
			l.fill()
			for len(l.settled) < len(l.key) {
				if l.rng.IntN(4) == 0 {
					l.b.restart()
				}
				l.work()
			}
			l.finish()
		})
	}
}

// fill publishes messages, and between them what has none.
func (l *logWithHoles) fill() {
	l.b.publish("orders", l.message())
	for range 5 + l.rng.IntN(15) {
		var b batch.Batch
		switch l.rng.IntN(5) {
		case 0:
			b = batchtest.Empty(1 + l.rng.IntN(1<<20))
		case 1:
			b = batchtest.Control(1 + l.rng.IntN(3))
		case 2:
			l.b.publish("orders", l.message(), l.message())
			continue
		default:
			b = l.sparse()
		}
		if _, err := l.b.write("orders", 0, b); err != nil {
			l.t.Fatal(err)
		}
	}
}

// message makes one without a key.
func (l *logWithHoles) message() string {
	m := fmt.Sprint("m", len(l.key))
	l.key[m] = m // none waits for it
	return m
}

// sparse makes a batch in which offsets are missing, compressed or not.
func (l *logWithHoles) sparse() batch.Batch {
	var records []batchtest.Record
	delta := 0
	for range 1 + l.rng.IntN(6) {
		delta += l.rng.IntN(4)
		m, key := l.message(), fmt.Sprint("k", l.rng.IntN(3))
		l.key[m] = key
		records = append(records, batchtest.Record{Delta: delta, Key: []byte(key), Value: []byte(m)})
		delta++
	}
	b := batchtest.Sparse(delta+l.rng.IntN(3), records...)
	return batchtest.Compress(l.t, batchtest.Codecs[l.rng.IntN(len(batchtest.Codecs))], b)
}

// A taker is a consumer that acknowledges, in one of the formats.
type taker struct {
	*client
	l      *logWithHoles
	format string
	got    []string // by number
	open   map[string]bool
	queue  []string // of a batch that has come, and is not taken yet
	ended  string   // the line that ended the stream
}

// work has a consumer come, say something about what it gets, and leave.
func (l *logWithHoles) work() {
	window := 1 + l.rng.IntN(8)
	w := &taker{l: l, format: []string{"lines", "json", "batch"}[l.rng.IntN(3)], open: make(map[string]bool)}
	request := fmt.Sprintf("orders?group=g&follow&ack&window=%d&retry=1ms&attempts=100", window) // none goes to the dead letters by itself
	if w.format != "lines" {
		request += "&confirm&format=" + w.format
	}
	if l.ordered {
		request += "&ordered"
	}
	expires := l.rng.IntN(6) == 0
	if expires {
		request += "&ack-timeout=100ms"
	}
	w.client = l.b.dial(l.b.consumers, request+"\n")
	for range 1 + l.rng.IntN(6) {
		for len(w.open) < window && l.available(w.open) && w.ended == "" {
			w.take()
		}
		if len(w.got) == 0 || expires {
			break
		}
		w.answer()
	}
	if expires {
		for w.ended == "" {
			w.take()
		}
		if !strings.HasPrefix(w.ended, "-TIMEOUT ") {
			l.t.Fatalf("the stream ends with %q", w.ended)
		}
		w.Close()
		return
	}
	w.finish()
	if _, err := io.Copy(io.Discard, w.r); err != nil { // then all is on the disk
		l.t.Fatal(err)
	}
	w.Close()
}

// available says whether there is a message that a consumer does not have and may get.
func (l *logWithHoles) available(open map[string]bool) bool {
	busy := make(map[string]bool)
	for m := range open {
		busy[l.key[m]] = true
	}
	for m, key := range l.key {
		if !l.settled[m] && !open[m] && !(l.ordered && busy[key]) {
			return true
		}
	}
	return false
}

// take reads what comes next: a message, or a line of the broker.
func (w *taker) take() {
	w.l.t.Helper()
	m := w.next()
	switch {
	case m[0] == '-':
		w.ended = m
		return
	case m[0] != 'm':
		return
	case w.l.settled[m] || w.open[m] || w.l.key[m] == "":
		w.l.t.Fatalf("%q comes; settled: %v; the consumer has it: %v", m, w.l.settled[m], w.open[m])
	}
	w.got = append(w.got, m)
	w.open[m] = true
}

func (w *taker) next() string {
	w.l.t.Helper()
	for len(w.queue) == 0 {
		first, err := w.r.Peek(1)
		if err != nil {
			w.l.t.Fatal(err)
		}
		if w.format == "batch" && !strings.ContainsAny(string(first), "@+=-") {
			w.nextBatch()
			continue
		}
		line := w.line()
		if line[0] == '{' {
			var d delivery
			if err := json.Unmarshal([]byte(line), &d); err != nil {
				w.l.t.Fatal(err)
			}
			line = d.Payload
		}
		return line
	}
	m := w.queue[0]
	w.queue = w.queue[1:]
	return m
}

func (w *taker) nextBatch() {
	w.l.t.Helper()
	header, err := w.r.Peek(batch.HeaderSize)
	if err != nil {
		w.l.t.Fatal(err)
	}
	n, err := batch.Size(header, 1<<20)
	if err != nil {
		w.l.t.Fatal(err)
	}
	b := make(batch.Batch, n)
	if _, err := io.ReadFull(w.r, b); err != nil {
		w.l.t.Fatal(err)
	}
	var it batch.Iterator
	if err := it.Reset(b); err != nil || b.IsControl() {
		w.l.t.Fatalf("control batch: %v, %v", b.IsControl(), err)
	}
	for it.Next() {
		w.queue = append(w.queue, string(it.Record().Value))
	}
}

// answer says something about messages that were sent.
func (w *taker) answer() {
	n := 1 + w.l.rng.IntN(len(w.got))
	m := w.got[n-1]
	switch w.l.rng.IntN(6) {
	case 0, 1:
		w.send(fmt.Sprintf("+%d\n", n))
		w.settle(w.got[:n]...)
	case 2:
		w.send(fmt.Sprintf("=%d\n", n))
		w.settle(m)
	case 3:
		last := min(len(w.got), n+w.l.rng.IntN(3))
		w.send(fmt.Sprintf("=%d-%d\n", n, last))
		w.settle(w.got[n-1 : last]...)
	case 4:
		w.send(fmt.Sprintf("-%d is bad\n", n))
		delete(w.open, m)
		w.got[n-1] = "" // has no number any more
	default:
		w.send(fmt.Sprintf("-%d dead\n", n))
		if w.open[m] {
			w.l.dead = append(w.l.dead, m)
		}
		w.settle(m)
	}
}

func (w *taker) settle(messages ...string) {
	for _, m := range messages {
		if w.open[m] {
			w.l.settled[m] = true
			delete(w.open, m)
		}
	}
}

// finish compares the end.
func (l *logWithHoles) finish() {
	topic, err := l.b.broker.Topic("orders")
	if err != nil {
		l.t.Fatal(err)
	}
	_, high := topic.Partitions()[0].Offsets()
	l.b.mustDrain("orders?group=g", "")
	await(l.t, "the position comes to the end", func() bool { return l.b.position("g", "orders", 0).Committed() == high })
	letters := strings.Fields(l.b.drain("orders.dlq?from=beginning"))
	slices.Sort(letters)
	slices.Sort(l.dead)
	if len(l.dead) > 0 && !slices.Equal(letters, l.dead) {
		l.t.Errorf("dead letters are %q, not %q", letters, l.dead)
	}
	if all := strings.Fields(l.b.drain("orders?from=beginning")); len(all) != len(l.key) {
		l.t.Errorf("%d messages are read, not %d", len(all), len(l.key))
	}
}
