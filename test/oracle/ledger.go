// Package oracle judges what a broker that is abused gives back, by what was sent to it and what it has acknowledged. The
// suites of faults share it.
package oracle

import (
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"sync"
)

// A Ledger knows what was sent to one topic and what was acknowledged of it, and
// judges what is read back. Its methods may be called by any goroutine.
type Ledger struct {
	Topic string

	mu         sync.Mutex // guards what follows
	publishers map[string]*account
}

// An account is of one publisher: its messages are numbered from 0, none is sent
// twice, and the numbers of each connection follow each other.
type account struct {
	sent  int
	acked map[int]bool
	first map[int]int // of each number sent: the first one on the same connection
}

// NewLedger begins the ledger of a topic.
func NewLedger(topic string) *Ledger {
	return &Ledger{Topic: topic, publishers: make(map[string]*account)}
}

// Message is the text of message n of a publisher: it names its topic, its
// publisher and its number, is size bytes long or a little more, and carries a
// checksum, so that nobody else's bytes can be taken for it.
func (l *Ledger) Message(publisher string, n, size int) string {
	text := fmt.Sprintf("%s %s %d ", l.Topic, publisher, n)
	text += strings.Repeat(string(rune('a'+n%26)), max(0, size-len(text)-9))
	return fmt.Sprintf("%s %08x", text, crc32.ChecksumIEEE([]byte(text)))
}

func (l *Ledger) account(publisher string) *account {
	a := l.publishers[publisher]
	if a == nil {
		a = &account{acked: make(map[int]bool), first: make(map[int]int)}
		l.publishers[publisher] = a
	}
	return a
}

// Send gives the next number of a publisher, on the connection whose first
// number is given; -1 begins a new connection.
func (l *Ledger) Send(publisher string, first int) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(publisher)
	n = a.sent
	a.sent++
	if first < 0 {
		first = n
	}
	a.first[n] = first
	return n
}

// Acknowledge says that message n of the publisher was acknowledged.
func (l *Ledger) Acknowledge(publisher string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.account(publisher).acked[n] = true
}

// Acknowledged calls f with each message that was acknowledged.
func (l *Ledger) Acknowledged(f func(publisher string, n int)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for publisher, a := range l.publishers {
		for n := range a.acked {
			f(publisher, n)
		}
	}
}

// Judge compares what was read back, in its order, with what was sent. Order is
// that of each publisher: read the partitions of a topic one after the other only
// if a publisher writes to one of them.
func (l *Ledger) Judge(read []string) Tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := Tally{Runs: 1, Read: len(read)}
	times := make(map[string]map[int]int)
	latest := make(map[string]int)
	for _, text := range read {
		publisher, n, ok := l.parse(text)
		if !ok {
			c.Phantoms++
			continue
		}
		if times[publisher] == nil {
			times[publisher], latest[publisher] = make(map[int]int), -1
		}
		if times[publisher][n]++; times[publisher][n] > 1 {
			c.Duplicates++
		} else if n < latest[publisher] {
			c.Reordered++
		}
		latest[publisher] = max(latest[publisher], n)
	}
	for name, a := range l.publishers {
		c.Acked += len(a.acked)
		lost, holes := a.missing(times[name])
		c.Lost, c.Holes = c.Lost+lost, c.Holes+holes
	}
	return c
}

// missing counts what was acknowledged and not read, and what was not read
// although a later one of the same connection was.
func (a *account) missing(times map[int]int) (lost, holes int) {
	reached := make(map[int]int) // the highest number read of each connection
	for n := range times {
		reached[a.first[n]] = max(reached[a.first[n]], n)
	}
	for n, first := range a.first {
		if times[n] > 0 {
			continue
		}
		if a.acked[n] {
			lost++
		}
		if n < reached[first] {
			holes++
		}
	}
	return lost, holes
}

// Parse takes a message apart; ok is false for what was never sent.
func (l *Ledger) Parse(text string) (publisher string, n int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.parse(text)
}

// parse is Parse. The caller holds mu.
func (l *Ledger) parse(text string) (publisher string, n int, ok bool) {
	fields := strings.SplitN(text, " ", 4)
	if len(fields) < 4 || fields[0] != l.Topic || len(text) < 9 {
		return "", 0, false
	}
	n, err := strconv.Atoi(fields[2])
	a := l.publishers[fields[1]]
	if err != nil || a == nil || n < 0 || n >= a.sent {
		return "", 0, false
	}
	body, sum := text[:len(text)-9], text[len(text)-8:]
	return fields[1], n, text[len(body)] == ' ' && sum == fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(body)))
}
