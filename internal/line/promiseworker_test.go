package line_test

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"mbus/internal/group"
)

// A delivery is a message as format=json tells it.
type delivery struct {
	Partition int
	Offset    int64
	Attempt   int
	Payload   string
	Headers   []string
}

// A worker is a consumer of a life: one connection.
type worker struct {
	name  string
	c     *client
	p     *promise
	got   []*had
	gone  string // the error line that ended its stream
	lines chan string
	hangs bool
	since time.Time // not later than it asked
	reset bool      // the stream was; it may be read when lines is closed
}

func (w *worker) String() string { return w.name }

// hangTime is the ack-timeout of workers that hang.
const hangTime = 10 * time.Millisecond

// mayBeOverdue says whether the broker may have given the worker up: not before it has hung
// for its time-out. The worker gets that later.
func (w *worker) mayBeOverdue() bool { return w.hangs && time.Since(w.since) >= hangTime }

// connect begins a worker, and a goroutine that reads for it to the end.
func (l *life) connect(p *promise, request string) *worker {
	l.connected++
	w := &worker{name: fmt.Sprint("w", l.connected), p: p, since: time.Now(), lines: make(chan string, 4096)}
	l.note("%v: %s", w, request)
	w.c = l.b.dial(l.b.consumers, request+"\n")
	go func() {
		defer close(w.lines)
		for {
			line, err := w.c.r.ReadString('\n')
			if err != nil {
				w.reset = err != io.EOF
				return
			}
			w.lines <- strings.TrimSuffix(line, "\n")
		}
	}()
	return w
}

// take has a worker see what has come, or comes in a moment.
func (l *life) take(w *worker) {
	soon := time.After(2 * time.Millisecond)
	for {
		select {
		case line, ok := <-w.lines:
			if !ok {
				return
			}
			l.see(w, line)
		case <-soon:
			return
		}
	}
}

// see takes a line of the broker.
func (l *life) see(w *worker, line string) {
	switch line[0] {
	case '+', '=':
		l.broken(w.confirmed(line))
		return
	case '-':
		l.note("%v gets %s", w, line)
		w.gone = line
		return
	}
	var d delivery
	if err := json.Unmarshal([]byte(line), &d); err != nil {
		l.broken(fmt.Errorf("%q: %w", line, err))
		return
	}
	l.note("%v gets %s at %d/%d, attempt %d", w, d.Payload, d.Partition, d.Offset, d.Attempt)
	h, err := w.p.delivered(w, d)
	if err != nil {
		l.broken(err)
		return
	}
	w.got = append(w.got, h)
}

// confirmed takes "+N", "=N" or "=N-M".
func (w *worker) confirmed(line string) error {
	from, to, isRange := strings.Cut(line[1:], "-")
	if !isRange {
		to = from
	}
	first, err1 := strconv.Atoi(from)
	last, err2 := strconv.Atoi(to)
	if err1 != nil || err2 != nil || first < 1 || last > len(w.got) {
		return fmt.Errorf("%v gets %q, and has had %d", w, line, len(w.got))
	}
	if line[0] == '+' {
		first = 1
	}
	for _, h := range w.got[first-1 : last] {
		h.confirm()
	}
	return nil
}

// answer has a worker say something about what it has had.
func (l *life) errorLinef(w *worker) {
	if l.err != nil || len(w.got) == 0 || w.gone != "" {
		return
	}
	n := 1 + l.rng.IntN(len(w.got))
	switch k := l.rng.IntN(10); {
	case k < 5:
		l.say(w, "+"+itoa(int64(n)))
		for _, h := range w.got[:n] {
			h.acknowledge()
		}
	case k < 7:
		l.say(w, "="+itoa(int64(n)))
		w.got[n-1].acknowledge()
	case k < 9:
		l.say(w, "-"+itoa(int64(n))+" fails")
		w.got[n-1].fail(false)
	default:
		l.say(w, "-"+itoa(int64(n))+" dead")
		w.got[n-1].fail(true)
	}
}

func (l *life) say(w *worker, line string) {
	l.note("%v says %s", w, line)
	_, _ = w.c.Write([]byte(line + "\n")) // it may have ended
}

// part has a worker go. ends are the codes of error lines that it may have got.
func (l *life) part(w *worker, ends ...string) {
	l.note("%v leaves", w)
	w.c.CloseWrite()
	l.readOut(w)
	code, _, _ := strings.Cut(strings.TrimPrefix(w.gone, "-"), " ")
	var first int64
	var partition int
	if n, _ := fmt.Sscanf(w.gone, "-GAP first=%d partition=%d", &first, &partition); n == 2 {
		w.p.told[partition] = max(w.p.told[partition], first)
	}
	switch {
	case w.gone != "" && !slices.Contains(ends, code):
		l.broken(fmt.Errorf("%v gets %q", w, w.gone))
	case code == "TIMEOUT" || w.mayBeOverdue() || w.reset && slices.Contains(ends, "SHUTDOWN"):
		w.p.lose(w) // after the end of its stream, too, it may have hung for too long
		return
	case w.reset:
		l.broken(fmt.Errorf("%v is reset", w))
	}
	for _, h := range w.got {
		w.p.end(h)
	}
}

// readOut sees all that comes until the broker closes.
func (l *life) readOut(w *worker) {
	within(l.t, "a worker's stream ends", func() {
		for line := range w.lines {
			l.see(w, line)
		}
	})
	w.c.Close()
}

// awaitGone waits until the broker has seen that a worker has gone.
func (l *life) awaitGone(w *worker) {
	here := w.c.LocalAddr().String()
	await(l.t, "a worker leaves its group", func() bool {
		return !slices.ContainsFunc(l.b.broker.Members(w.p.group), func(u group.Membership) bool { return u.Client == here })
	})
}
