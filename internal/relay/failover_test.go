package relay

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mbus/internal/auth"
	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/tcpserver"
	"mbus/test/brokertest"
)

// overBoth runs a test with the owner in this process and on another node.
func overBoth(t *testing.T, test func(t *testing.T, r *rig)) {
	for _, far := range []bool{false, true} {
		t.Run(fmt.Sprintf("far %v", far), func(t *testing.T) { test(t, newRig(t, setup{far: far})) })
	}
}

// batches has messages in batches of so many.
func batches(first, last, each int) string {
	var b batch.Builder
	for n := first; n <= last; n++ {
		b.Add(1000, nil, fmt.Appendf(nil, "message %d", n))
		if (n-first+1)%each == 0 || n == last {
			b.Close(0)
		}
	}
	return string(b.Bytes())
}

// Each format has its own ends of messages.
func TestEachFormatGoesOnWithAnotherOwner(t *testing.T) {
	formats := map[string]func(first, last int) string{
		"": numbered,
		"?keyed": func(first, last int) string {
			return "key\t" + strings.ReplaceAll(strings.TrimSuffix(numbered(first, last), "\n"), "\n", "\nkey\t") + "\n"
		},
		"?format=json": func(first, last int) string {
			var text strings.Builder
			for n := first; n <= last; n++ {
				fmt.Fprintf(&text, "{\"payload\":\"message %d\"}\n", n)
			}
			return text.String()
		},
		"?format=batch":                     func(first, last int) string { return batches(first, last, 7) },
		"?producer=4711&new&format=%62atch": func(first, last int) string { return batches(first, last, 70) },
		"?producer=4712":                    numbered,
	}
	overBoth(t, func(t *testing.T, r *rig) {
		for request, text := range formats {
			t.Run(request, func(t *testing.T) {
				topic := "t" + fmt.Sprint(len(request))
				p := r.dial(topic + request + "\n")
				sent := 0
				for range 3 {
					more := text(sent+1, sent+2000)
					sent += 2000
					half := len(more) / 3 // in the middle of a message
					p.send(more[:half])
					r.lose()
					r.own()
					p.send(more[half:])
					p.mustAck(sent)
				}
				p.finish()
				p.mustEnd("")
				r.mustHave(topic, sent)
			})
		}
	})
}

// With several partitions each message is stored once, in the order of its partition.
func TestPartitionsGoOnWithAnotherOwner(t *testing.T) {
	overBoth(t, func(t *testing.T, r *rig) {
		if _, err := r.owner.broker.As(broker.Self).CreateTopic("orders", 5, nil); err != nil {
			t.Fatal(err)
		}
		p := r.dial("orders\n")
		sent := 0
		for range 4 {
			p.send(numbered(sent+1, sent+5000))
			sent += 5000
			r.lose()
			r.own()
		}
		p.mustAck(sent)
		got := r.messages("orders")
		slices.SortFunc(got, func(a, b string) int { return numberOf(a) - numberOf(b) })
		if text := strings.Join(got, "\n") + "\n"; text != numbered(1, sent) {
			t.Fatalf("%d messages are there, of %d", len(got), sent)
		}
	})
}

func numberOf(message string) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(message, "message "))
	return n
}

// A client that has logged in does so again at the next owner, and gets it where it may not any more.
func TestAClientLogsInAtEachOwner(t *testing.T) {
	overAll(t, func(t *testing.T, r *rig) {
		r.addUser("nobody", auth.Permission{Operations: auth.Consume, Kind: auth.Topic, Pattern: "*"})
		r.addUser("publisher", auth.Permission{Operations: auth.Publish, Kind: auth.Topic, Pattern: "*"})
		r.dial("AUTH nobody secret secret\norders\nx\n").mustRefuse("DENIED")
		r.dial("orders\nx\n").mustRefuse("DENIED")
		p := r.dial("AUTH publisher secret secret\norders\n")
		p.send(numbered(1, 10))
		p.mustAck(10)
		r.lose()
		p.send(numbered(11, 20))
		r.own()
		p.mustAck(20)
		r.lose()
		r.own()
		if err := r.editor().Delete("publisher"); err != nil {
			t.Fatal(err)
		}
		r.owner.server.EndInvalid()
		p.send(numbered(21, 30))
		p.mustRefuse("DENIED")
		r.mustHave("orders", 20)
	})
}

func (r *rig) addUser(name string, may ...auth.Permission) {
	r.Helper()
	all, err := auth.NewCredentials("secret secret")
	if err == nil {
		err = r.editor().Change(name, func(u *auth.User, _ bool) error {
			u.SetCredentials(all...)
			u.Grant(may...)
			return nil
		})
	}
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) editor() *auth.Editor {
	r.Helper()
	editor, err := r.owner.broker.As(broker.Self).UserEditor()
	if err != nil {
		r.Fatal(err)
	}
	return editor
}

// While there is no owner a client waits, and then gets that there is none. What it has sent is not acknowledged.
func TestAClientWaitsForAnOwnerForSoLong(t *testing.T) {
	short := usualTimes
	short.patience = 20 * time.Millisecond
	r := newRig(t, setup{times: short, patience: 10 * time.Millisecond})
	p, idle := r.dial("orders\n"), r.dial("orders\n")
	p.send(numbered(1, 10))
	p.mustAck(10)
	brokertest.Await(t, bound, "both have logged in", func() bool { return r.admitted() == 2 })
	r.door.Set(tcpserver.Target{})
	r.lose()
	p.send(numbered(11, 20))
	p.mustRefuse("SHUTDOWN")
	r.dial("orders\nx\n").mustRefuse("SHUTDOWN")
	r.own()
	idle.send(numbered(11, 20)) // which had nothing to wait for
	idle.mustAck(10)
	r.mustHave("orders", 20)
}

// admitted is how many clients have logged in.
func (r *rig) admitted() (n int) {
	r.relay.conns.Each(func(c *client) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.admitted {
			n++
		}
	})
	return n
}

// A stop acknowledges what has come, and then says so.
func TestAStopAcknowledgesWhatHasCome(t *testing.T) {
	overBoth(t, func(t *testing.T, r *rig) {
		p, idle, silent := r.dial("orders\n"), r.dial("orders\n"), r.dial("")
		p.send(numbered(1, 1000) + "half")
		p.mustAck(1000)
		brokertest.Await(t, bound, "all are there", func() bool { return r.admitted() == 2 })
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			r.relay.Stop(context.Background())
		}()
		p.mustRefuse("SHUTDOWN")
		idle.mustRefuse("SHUTDOWN")
		silent.mustRefuse("SHUTDOWN")
		<-stopped
		r.mustHave("orders", 1000)
	})
}

// A client that is reset has stored whole messages only.
func TestMessagesOfAClientThatIsResetAreWhole(t *testing.T) {
	overBoth(t, func(t *testing.T, r *rig) {
		p := r.dial("orders\n" + numbered(1, 10) + "hal")
		p.mustAck(10)
		p.raw.SetLinger(0)
		p.raw.Close()
		brokertest.Await(t, bound, "the client is gone", func() bool { return r.count() == 0 })
		brokertest.Await(t, bound, "the owner knows it", func() bool { return len(r.owner.server.Connections()) == 0 })
		r.mustHave("orders", 10)
	})
}

func (r *rig) count() (n int) {
	r.relay.conns.Each(func(*client) { n++ })
	return n
}

// A client can't have the node keep more than a window, and one that has not logged in less. A message is as large as
// the owner takes it.
func TestWhatANodeKeepsOfAClientIsBounded(t *testing.T) {
	r := newRig(t, setup{far: true})
	p := r.dial("orders\n")
	p.send(numbered(1, 1))
	p.mustAck(1)
	r.lose()
	line := strings.Repeat("x", 1000) + "\n"
	most := r.fill(p, line, true)
	if most > window+largeChunk {
		t.Errorf("a client has %d bytes", most)
	}
	q := r.dial("orders\n")
	if most = r.fill(q, line, false); most > waitingWindow+largeChunk {
		t.Errorf("a client that has not logged in has %d bytes", most)
	}
	r.own()
	large := strings.Repeat("y", r.limits.MaxMessage) + "\n"
	p = r.dial("large\n" + large)
	p.mustAck(1)
	p.send("z" + large)
	p.mustRefuse("TOOLARGE")
}

// fill sends lines until the relay takes no more, and gives the most bytes that it keeps of a client that has logged in, or has
// not.
func (r *rig) fill(p *peer, line string, admitted bool) (most int) {
	r.Helper()
	p.conn.SetWriteDeadline(time.Now().Add(time.Second))
	for {
		if _, err := io.WriteString(p.conn, strings.Repeat(line, 100)); err != nil {
			break
		}
	}
	r.relay.conns.Each(func(c *client) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.admitted == admitted {
			most = max(most, c.log.size())
		}
	})
	return most
}

// All clients together have a budget. One whose message does not fit gets that.
func TestAllClientsTogetherHaveABudget(t *testing.T) {
	r := newRig(t, setup{limits: func(l *broker.Limits) { l.MaxInFlight = 8 * largeChunk }})
	half := strings.Repeat("x", 3*largeChunk)
	var all []*peer
	for range 3 {
		all = append(all, r.dial("orders\n"+half))
	}
	refused := make(chan int, len(all))
	for i, p := range all {
		go func() {
			if text, err := io.ReadAll(p.r); err == nil && strings.HasPrefix(string(text), "-BUSY") {
				refused <- i
			}
		}()
	}
	busy := <-refused
	p := all[(busy+1)%len(all)]
	p.finish()
	if r.relay.memory.IsShort(); r.count() == 0 {
		t.Error("all clients have ended")
	}
}

// What lies in the system since before this process stood still may be old: the clients may have sent it elsewhere.
func TestAProcessThatWasFrozenForwardsNothing(t *testing.T) {
	r := newRig(t, setup{})
	p := r.dial("orders\n" + numbered(1, 10))
	p.mustAck(10)
	r.relay.freeze.Set(2 * r.relay.times.frozen)
	p.send(numbered(11, 20))
	if text, err := io.ReadAll(p.r); err == nil {
		t.Errorf("it ends in good order after %q", text)
	}
	brokertest.Await(t, bound, "the client is gone", func() bool { return r.count() == 0 })
	r.mustHave("orders", 10)
}
