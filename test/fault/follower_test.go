package fault

import (
	"bufio"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// A follower is a consumer that looks at a topic as it grows, and keeps what it
// has been shown.
type follower struct {
	conn net.Conn

	mu   sync.Mutex // guards what follows
	seen []sight
	end  chan struct{} // closed when the connection has ended
}

// A sight is a message and when it was seen.
type sight struct {
	text string
	at   time.Time
}

// follow looks at a topic from its beginning on, until the test ends or the
// connection does.
func follow(t *testing.T, b *brokertest.Broker, topic string) *follower {
	t.Helper()
	f := &follower{conn: brokertest.Dial(t, b.Consumers(), topic+"?from=beginning&follow\n"), end: make(chan struct{})}
	if err := f.conn.SetDeadline(time.Time{}); err != nil { // it may take as long as the test
		t.Fatal(err)
	}
	go func() {
		defer close(f.end)
		for in := bufio.NewReader(f.conn); ; {
			line, err := in.ReadString('\n')
			if err != nil {
				return // what has no LF was cut off, and is no message
			}
			if strings.HasPrefix(line, "-") {
				continue // an error of the broker
			}
			f.mu.Lock()
			f.seen = append(f.seen, sight{strings.TrimSuffix(line, "\n"), time.Now()})
			f.mu.Unlock()
		}
	}()
	return f
}

func (f *follower) sights() []sight {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen[:len(f.seen):len(f.seen)]
}

// vanished counts the messages that were seen and are not among those read.
func (f *follower) vanished(read []string) (n int) {
	there := make(map[string]bool, len(read))
	for _, text := range read {
		there[text] = true
	}
	for _, s := range f.sights() {
		if !there[s.text] {
			n++
		}
	}
	return n
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	brokertest.Await(t, time.Minute, what, holds)
}
