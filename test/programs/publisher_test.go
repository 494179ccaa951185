package programs

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A publisher sends numbered messages, over as many connections as it takes,
// none twice, and remembers which of them were acknowledged.
type publisher struct {
	name   string
	sent   int    // messages 0 to sent-1 were sent, if only in part
	acked  []span // ascending
	answer string // the last one on the last connection
}

// A span is the numbers from first up to but not including next.
type span struct{ first, next int }

// message is the text of message n, so that what comes back can be compared.
func (p *publisher) message(n int) string {
	return fmt.Sprintf("%s %d %s", p.name, n, strings.Repeat("x", n*7919%400))
}

// number is the inverse of message; ok is false for what this publisher did not
// send.
func (p *publisher) number(text string) (n int, ok bool) {
	rest, ok := strings.CutPrefix(text, p.name+" ")
	digits, _, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil && n < p.sent && p.message(n) == text
}

func (p *publisher) ackedCount() int {
	n := 0
	for _, s := range p.acked {
		n += s.next - s.first
	}
	return n
}

// session publishes over one connection, in bursts with more or less of them
// unanswered, until the connection fails. counted gets every message
// acknowledged.
func (p *publisher) session(address, topic string, r *rand.Rand, counted func(n int)) {
	p.answer = ""
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return // killed before it listened to us
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	answers := bufio.NewReader(conn)
	first := p.sent
	p.acked = append(p.acked, span{first, first})
	own := &p.acked[len(p.acked)-1]
	_, err = io.WriteString(conn, topic+"\n")
	for err == nil {
		_, err = io.WriteString(conn, p.burst(1+r.IntN(200)))
		allowed := r.IntN(1000) // unanswered
		for err != nil || p.sent-own.next > allowed {
			line, readErr := answers.ReadString('\n')
			if readErr != nil {
				return
			}
			p.answer = strings.TrimSuffix(line, "\n")
			if n, ok := count(p.answer); ok {
				counted(first + n - own.next)
				own.next = first + n
			}
		}
	}
}

func (p *publisher) burst(n int) string {
	var b strings.Builder
	for range n {
		b.WriteString(p.message(p.sent))
		b.WriteByte('\n')
		p.sent++
	}
	return b.String()
}

// count reads an answer of the form +N.
func count(answer string) (n int, ok bool) {
	digits, ok := strings.CutPrefix(answer, "+")
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil
}

// A countdown closes enough when so many messages have been counted.
type countdown struct {
	enough chan struct{}

	mu   sync.Mutex // guards left
	left int
}

func newCountdown(n int) *countdown { return &countdown{enough: make(chan struct{}), left: n} }

func (c *countdown) count(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left > 0 && c.left <= n {
		close(c.enough)
	}
	c.left -= n
}

// A tally compares what was read with what was sent and acknowledged.
type tally struct {
	acked, read, lost, duplicates int
}

// check reads the lines of a log and fails the test where one was not sent,
// where a publisher's are out of order, and where an acknowledged one is lost.
func check(t *testing.T, publishers []*publisher, log string) (sum tally) {
	t.Helper()
	seen := make([][]int, len(publishers))
	for line := range strings.Lines(log) {
		i, n := owner(publishers, strings.TrimSuffix(line, "\n"))
		if i < 0 {
			t.Fatalf("read what nobody sent: %q", line)
		}
		seen[i] = append(seen[i], n)
		sum.read++
	}
	for i, p := range publishers {
		last := -1
		found := make([]bool, p.sent)
		for _, n := range seen[i] {
			if n < last {
				t.Fatalf("%s: message %d comes after %d", p.name, n, last)
			}
			if found[n] {
				sum.duplicates++
			}
			found[n], last = true, n
		}
		sum.acked += p.ackedCount()
		sum.lost += p.missing(found)
	}
	return sum
}

func owner(publishers []*publisher, line string) (index, number int) {
	for i, p := range publishers {
		if n, ok := p.number(line); ok {
			return i, n
		}
	}
	return -1, 0
}

// missing counts the acknowledged messages that were not found.
func (p *publisher) missing(found []bool) (lost int) {
	for _, s := range p.acked {
		for n := s.first; n < s.next; n++ {
			if n >= len(found) || !found[n] { // the former was never sent
				lost++
			}
		}
	}
	return lost
}
