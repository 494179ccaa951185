package fault

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mbus/test/brokertest"
)

const (
	poisonAttempts = 4
	poisonRequest  = "jobs?group=g&follow&ack&retry=1ms&attempts=4&window="
)

// Injected: messages that kill each worker that takes them, beside good ones, and then
// a kill of the broker halfway. Expected: every good message is done, each poison is
// among the dead letters after it has killed as many workers as attempts says, and no
// good message is.
func TestF41MessagesThatKillTheirWorkers(t *testing.T) {
	for n := range runs(2, 20) {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			b := brokertest.Start(t, filepath.Join(t.TempDir(), "data"), "-partitions", "3")
			p := newPoisoning(t, b, runs(300, 3000), runs(6, 40))
			kills := n % 2
			if kills == 1 {
				p.work(t, p.good/2)
				b.Restart()
			}
			p.work(t, p.good)
			p.check(t, kills)
		})
	}
}

// A poisoning is a topic with good messages and poison, and what workers made of them.
type poisoning struct {
	*brokertest.Broker
	good, poison int

	mu    sync.Mutex
	done  map[string]bool
	kills map[string]int // workers, by the message that they died of
	err   error
}

func newPoisoning(t *testing.T, b *brokertest.Broker, good, poison int) *poisoning {
	p := &poisoning{Broker: b, good: good, poison: poison, done: make(map[string]bool), kills: make(map[string]int)}
	var messages []string
	for i := range good {
		messages = append(messages, fmt.Sprintf("good %d", i))
		if i%(good/poison) == 0 && i/(good/poison) < poison {
			messages = append(messages, fmt.Sprintf("poison %d", i/(good/poison)))
		}
	}
	for len(messages) > 0 { // from several connections, which the partitions take in turn
		n := min(len(messages), 20)
		b.Publish("jobs", messages[:n]...)
		messages = messages[n:]
	}
	return p
}

// work has workers at it until so many good messages are done and, at the end of all, the
// group has nothing left.
func (p *poisoning) work(t *testing.T, enough int) {
	t.Helper()
	stop := make(chan struct{})
	var working sync.WaitGroup
	for _, window := range []string{"1", "1", "5", "20"} {
		working.Go(func() {
			for !closed(stop) && p.failure() == nil {
				p.note(p.life(poisonRequest+window, stop))
			}
		})
	}
	eventually(t, "the workers are done", func() bool {
		p.mu.Lock()
		n, err := len(p.done), p.err
		p.mu.Unlock()
		return err != nil || n >= enough && (n < p.good || p.lag(t) == 0)
	})
	close(stop)
	working.Wait()
	if err := p.failure(); err != nil {
		t.Fatal(err)
	}
}

// life is that of one worker: until it dies of a message, or gets the signal to stop. Then it
// leaves in good order, and so all that has been counted is durable.
func (p *poisoning) life(request string, stop <-chan struct{}) error {
	c, err := dialLine(p.Consumers(), request)
	if err != nil {
		return err
	}
	defer c.Close()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-stop:
			c.Conn.(*net.TCPConn).CloseWrite()
		case <-ended:
		}
	}()
	for n := 1; ; n++ {
		message, err := c.line()
		if closed(stop) {
			for err == nil {
				_, err = c.line()
			}
			return nil
		}
		if err != nil {
			return err
		}
		if strings.HasPrefix(message, "poison") {
			return p.die(c, message)
		}
		p.mu.Lock()
		p.done[message] = true
		p.mu.Unlock()
		answer := fmt.Sprintf("+%d\n", n)
		if n%3 == 0 {
			answer = fmt.Sprintf("=%d\n", n)
		}
		if _, err := c.Write([]byte(answer)); err != nil && !closed(stop) {
			return err
		}
	}
}

// die is the end of a worker, when what it has said has reached the broker's system: a
// reset takes with it what is still on its way. It may not go on for ever.
func (p *poisoning) die(c *lineConn, of string) error {
	for {
		n, err := brokertest.Unacknowledged(c.Conn.(*net.TCPConn))
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	c.reset()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kills[of]++
	if n := p.kills[of]; n > 10*poisonAttempts {
		return fmt.Errorf("%d workers have died of %q", n, of)
	}
	return nil
}

func (p *poisoning) note(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
}

func (p *poisoning) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// lag is what the group has not consumed.
func (p *poisoning) lag(t *testing.T) (all int) {
	t.Helper()
	for _, line := range lines(p.Drain("?groups&group=g&format=json")) {
		var row struct{ Lag int }
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all += row.Lag
	}
	return all
}

// check looks what has become of the messages. Each kill of the broker may have undone a
// burial, after which the message is tried once more.
func (p *poisoning) check(t *testing.T, kills int) {
	t.Helper()
	if len(p.done) != p.good {
		t.Errorf("%d of %d good messages are done", len(p.done), p.good)
	}
	letters := make(map[string]bool)
	for _, line := range lines(p.Drain("jobs.dlq?from=beginning&format=json")) {
		var letter struct {
			Payload string
			Headers []string
		}
		if err := json.Unmarshal([]byte(line), &letter); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if letters[letter.Payload] && kills == 0 {
			t.Errorf("%q is twice among the dead letters", letter.Payload)
		}
		letters[letter.Payload] = true
		if !strings.HasPrefix(letter.Payload, "poison") {
			t.Errorf("%q is among the dead letters: %q", letter.Payload, letter.Headers)
		}
	}
	if len(letters) != p.poison || len(p.kills) != p.poison {
		t.Errorf("%d of %d are among the dead letters", len(letters), p.poison)
	}
	for message, n := range p.kills {
		if n < poisonAttempts || n > poisonAttempts+kills {
			t.Errorf("%d workers died of %q, which may be tried %d times", n, message, poisonAttempts)
		}
	}
	report(t, tally{Runs: p.poison * poisonAttempts, Acked: p.good, Read: len(p.done), Lost: p.good - len(p.done)})
}
