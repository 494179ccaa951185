package fault

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// A phoenix is a topic and a group that are made and deleted over and over, under
// the same names and with other content each time. It knows what may be left of
// them after a crash.
type phoenix struct {
	generation int
	topic      fate // what the topic holds
	position   fate // of the group in another topic
}

// Names of a phoenix. What the group reads stays.
const (
	phoenixTopic  = "phoenix"
	phoenixGroup  = "ashes"
	phoenixSource = "nest"
)

// A fate is what a state may be after a crash.
type fate map[string]bool

// change has do change the state; while it has not answered either may be true.
func (f fate) change(to string, do func() error) error {
	f[to] = true
	err := do()
	if err == nil {
		f.settle(to)
	}
	return err
}

func (f fate) settle(to string) {
	clear(f)
	f[to] = true
}

func newPhoenix(b *brokertest.Broker) *phoenix {
	b.Publish(phoenixSource, "an egg")
	return &phoenix{topic: fate{"": true}, position: fate{"": true}}
}

// work goes on until the broker is gone. Only what it answers wrongly is an error.
func (p *phoenix) work(b *brokertest.Process) error {
	for n := 0; ; n++ {
		err := p.step(b, n%phoenixSteps)
		var wrong wrongAnswer
		switch {
		case err == nil:
			continue
		case errors.As(err, &wrong):
			return err
		}
		select {
		case <-b.Ended():
			return nil
		case <-time.After(patience):
			return err
		}
	}
}

// phoenixSteps is how many there are in one life of the topic and the group.
const phoenixSteps = 6

// step does a part of a life. The first two finish the life before.
func (p *phoenix) step(b *brokertest.Process, n int) error {
	text := fmt.Sprintf("life %d", p.generation)
	switch n {
	case 0, 4:
		return p.topic.change("", func() error { return remove(b, "topic="+phoenixTopic) })
	case 1:
		return p.position.change("", func() error { return remove(b, "group="+phoenixGroup) })
	case 2:
		p.generation++
		text = fmt.Sprintf("life %d", p.generation)
		return p.topic.change(text+"\n", func() error { return putOne(b, phoenixTopic, text) })
	case 3: // the group has a position in the topic; that must die with it
		return take(b, phoenixTopic, text)
	default:
		return p.position.change("1", func() error { return take(b, phoenixSource, "an egg") })
	}
}

// A wrongAnswer is one that the broker must not give.
type wrongAnswer string

func (w wrongAnswer) Error() string { return string(w) }

// dial connects, for so long as anything here may take.
func dial(address, text string) (net.Conn, *bufio.Reader, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, nil, err
	}
	conn.SetDeadline(time.Now().Add(time.Minute)) // where these fail, so does reading
	io.WriteString(conn, text)
	return conn, bufio.NewReader(conn), nil
}

// expect reads a line.
func expect(in *bufio.Reader, holds string) error {
	line, err := in.ReadString('\n')
	if err == nil && !strings.Contains(line, holds) {
		err = wrongAnswer(fmt.Sprintf("%q was answered, without %q", line, holds))
	}
	if strings.HasPrefix(line, "-FAILED ") { // it has lost its disk
		err = io.ErrUnexpectedEOF
	}
	return err
}

// putOne publishes a message.
func putOne(b *brokertest.Process, topic, text string) error {
	conn, in, err := dial(b.Producers(), topic+"\n"+text+"\n")
	if err != nil {
		return err
	}
	defer conn.Close()
	return expect(in, "+1")
}

// take consumes the first message of a topic, which must be new to the group.
func take(b *brokertest.Process, topic, text string) error {
	conn, in, err := dial(b.Consumers(), topic+"?window=1&follow&ack&confirm&format=json&group="+phoenixGroup+"\n")
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := expect(in, `"payload":"`+text+`"`); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "+1\n"); err != nil {
		return err
	}
	return expect(in, "+1")
}

// remove deletes a topic or a group, if it exists. A group that a connection is
// just leaving is asked for again.
func remove(b *brokertest.Process, what string) error {
	for {
		err := removeOnce(b, what)
		if err != errBusy {
			return err
		}
	}
}

var errBusy = errors.New("the group is in use")

func removeOnce(b *brokertest.Process, what string) error {
	conn, in, err := dial(b.Consumers(), "?delete&execute&"+what+"\n")
	if err != nil {
		return err
	}
	defer conn.Close()
	line, err := in.ReadString('\n')
	switch {
	case err != nil:
		return err
	case strings.HasPrefix(line, "-BUSY "):
		return errBusy
	case strings.HasPrefix(line, "-GONE "), !strings.HasPrefix(line, "-"):
		return nil
	}
	return io.ErrUnexpectedEOF
}

// check compares the stored messages with those that may be there.
func (p *phoenix) check(t *testing.T, b *brokertest.Broker) {
	t.Helper()
	if got := b.Drain(phoenixTopic + "?from=beginning"); p.topic[got] {
		p.topic.settle(got)
	} else {
		t.Errorf("the topic holds %q, and may hold %v", got, p.topic)
	}
	got := ""
	if at := positionOf(b, phoenixGroup, phoenixSource); at > 0 {
		got = fmt.Sprint(at)
	}
	if p.position[got] {
		p.position.settle(got)
	} else {
		t.Errorf("the group is at %q, and may be at %v", got, p.position)
	}
}
