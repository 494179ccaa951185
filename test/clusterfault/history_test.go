package clusterfault

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// A history is what clients did with a log of one partition, each with one operation at a time, and what they were
// answered.
type history struct {
	begun time.Time

	mu      sync.Mutex // guards what follows
	clients int
	next    int
	acked   map[int64]string // texts by offset
	done    []porcupine.Operation
}

func newHistory() *history { return &history{begun: time.Now(), acked: make(map[int64]string)} }

// An input is an operation: an append of a text, or a read of the last message if that is "".
type input struct{ text string }

// An output is its answer: the offset of the message, or that of the last one and its text. It is not known of an append
// without an answer, which may happen at any time later, or never.
type output struct {
	known  bool
	offset int64
	text   string
}

// aLog is the model: a log is what was appended, one behind the other, and a read shows the last. Its state is output.
var aLog = porcupine.Model{
	Init: func() any { return output{offset: -1} },
	Step: func(state, in, out any) (bool, any) {
		s, i, o := state.(output), in.(input), out.(output)
		if i.text == "" {
			return o.offset == s.offset && o.text == s.text, s
		}
		next := output{offset: s.offset + 1, text: i.text}
		return o.offset == next.offset, next
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
}

func (h *history) now() int64 { return time.Since(h.begun).Nanoseconds() }

// client gives the number of a new client.
func (h *history) client() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clients++
	return h.clients
}

func (h *history) text() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next++
	return fmt.Sprint("entry ", h.next)
}

func (h *history) note(client int, in input, call int64, out output) {
	h.mu.Lock()
	defer h.mu.Unlock()
	end := h.now()
	if in.text != "" && !out.known {
		end = 1 << 62
	}
	if in.text != "" && out.known {
		h.acked[out.offset] = in.text
	}
	h.done = append(h.done, porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: end})
}

// useLog appends and reads on one node, until an operation has no answer: then that client does nothing more.
func (l *load) useLog(a *actor, node int) {
	client := l.log.client()
	for l.ctx.Err() == nil {
		rest(l.ctx, time.Duration(20+rand.IntN(40))*time.Millisecond)
		call := l.log.now()
		if rand.IntN(3) == 0 {
			out, ok := l.readLast(node)
			if !ok {
				return
			}
			l.log.note(client, input{}, call, out)
		} else {
			in, out := input{l.log.text()}, output{}
			status, answer, err := l.request(node, "POST", "/topics/log", in.text, nil)
			if err == nil && status == http.StatusOK {
				var place struct{ Offset int64 }
				if err := json.Unmarshal([]byte(answer), &place); err != nil {
					l.t.Errorf("answered %q: %v", answer, err)
				}
				out = output{known: true, offset: place.Offset}
			}
			l.log.note(client, in, call, out)
			if !out.known {
				return
			}
		}
		a.gotOn()
	}
}

// readLast reads the last message of the log.
func (l *load) readLast(node int) (out output, ok bool) {
	conn, err := l.dial(l.nodes[node].host, l.nodes[node].consumers)
	if err != nil {
		return out, false
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(answered))
	answer, err := drain(conn, "log?from=-1&format=json")
	if err != nil || strings.HasPrefix(answer, "-") {
		return out, false
	}
	if answer == "" {
		return output{known: true, offset: -1}, true
	}
	var d delivery
	if err := json.Unmarshal([]byte(answer), &d); err != nil {
		l.t.Errorf("a read of one message got %q: %v", answer, err)
	}
	return output{known: true, offset: d.Offset, text: d.Payload}, true
}

// compare checks that what was acknowledged stands at the place that was said.
func (h *history) compare(t *testing.T, read []string) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for offset, text := range h.acked {
		if offset >= int64(len(read)) || read[offset] != text {
			t.Errorf("%q was acknowledged as message %d of %d, and is at %d", text, offset, len(read), slices.Index(read, text))
		}
	}
}

// check looks for an order of all operations in which a log could have done them, each between its call and its answer.
// What the log holds at the end says of appends without an answer where they are, and which never happened.
func (h *history) check(t *testing.T, log []string) string {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	place := make(map[string]int64)
	for i, text := range log {
		place[text] = int64(i)
	}
	var done []porcupine.Operation
	for _, op := range h.done {
		in, out := op.Input.(input), op.Output.(output)
		if in.text != "" && !out.known {
			offset, happened := place[in.text]
			if !happened {
				continue
			}
			op.Output = output{known: true, offset: offset}
		}
		done = append(done, op)
	}
	result := porcupine.CheckOperationsTimeout(aLog, done, patience)
	if result == porcupine.Illegal {
		t.Errorf("no log could have done these %d operations", len(done))
	}
	return fmt.Sprintf("%d operations are linearizable: %s", len(done), result)
}
