package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"mbus/test/brokertest"
)

// expect reads a line that the consumer sends to the broker.
func expect(t *testing.T, r *bufio.Reader, want string) {
	t.Helper()
	if got, err := r.ReadString('\n'); got != want+"\n" {
		t.Fatalf("the broker got %q, %v; want %q", got, err, want)
	}
}

// expectEOF waits for the consumer to close its sending side.
func expectEOF(t *testing.T, r *bufio.Reader) {
	t.Helper()
	if got, err := r.ReadString('\n'); got != "" || !errors.Is(err, io.EOF) {
		t.Fatalf("the broker got %q, %v; want the end", got, err)
	}
}

// printed reads a line of the consumer's standard output.
func printed(t *testing.T, out *bufio.Reader, want string) {
	t.Helper()
	if got, err := out.ReadString('\n'); got != want+"\n" {
		t.Fatalf("printed %q, %v; want %q", got, err, want)
	}
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// check waits for the process to end, having said want and no more.
func (p *process) check(t *testing.T, code int, want string) {
	t.Helper()
	if got := p.finish(); got != code || p.stderr.String() != want {
		t.Errorf("exit %d, said %q; want exit %d, %q", got, p.stderr.String(), code, want)
	}
}

func TestFollowPrintsAndThenAcknowledges(t *testing.T) {
	b := listen(t)
	p, out := start(t, b, "-follow", "-f", `%s\n`)
	conn := b.accept()
	if want := "orders?format=batch&group=default&follow&ack&window=1000\n"; b.request != want {
		t.Errorf("request %q, want %q", b.request, want)
	}
	acks := bufio.NewReader(conn)
	send(t, conn, "@0\n"+batchOf(0, "a", "b"))
	printed(t, out, "a")
	printed(t, out, "b")
	expect(t, acks, "+2")
	send(t, conn, "+2\n"+batchOf(2, "c"))
	printed(t, out, "c")
	expect(t, acks, "+3")
	p.signal(t, syscall.SIGTERM)
	expectEOF(t, acks)
	send(t, conn, "+3\n")
	conn.Close()
	p.check(t, 0, "")
}

func TestFollowDoesNotAcknowledgeWhatItCouldNotWrite(t *testing.T) {
	b := listen(t)
	p, out := start(t, b, "-follow", "-f", `%s\n`)
	conn := b.accept()
	send(t, conn, strings.TrimSuffix(unread(1500), ".\n")) // more than a pipe holds
	if _, err := out.ReadByte(); err != nil {
		t.Fatal(err)
	}
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); len(got) > 0 {
		t.Errorf("the broker got %q, %v", got, err)
	}
}

func TestInterruptWaitsForTheConfirmationAndDropsWhatComesMeanwhile(t *testing.T) {
	b := listen(t)
	p, out := start(t, b, "-follow", "-f", `%s\n`)
	conn := b.accept()
	acks := bufio.NewReader(conn)
	send(t, conn, "@0\n"+batchOf(0, "a"))
	printed(t, out, "a")
	expect(t, acks, "+1")
	p.signal(t, syscall.SIGINT)
	expectEOF(t, acks)
	send(t, conn, batchOf(1, "too late")+batchOf(2, "in the middle")[:30])
	conn.Close()
	if rest, _ := io.ReadAll(out); len(rest) > 0 {
		t.Errorf("printed %q after the signal", rest)
	}
	p.check(t, 0, "")
}

func TestErrorInsteadOfTheConfirmationIsSaid(t *testing.T) {
	b := listen(t)
	p, out := start(t, b, "-follow", "-f", `%s\n`)
	conn := b.accept()
	acks := bufio.NewReader(conn)
	send(t, conn, "@0\n"+batchOf(0, "a"))
	printed(t, out, "a")
	expect(t, acks, "+1")
	p.signal(t, syscall.SIGINT)
	expectEOF(t, acks)
	send(t, conn, "-FAILED an I/O error\n")
	conn.Close()
	p.check(t, 1, "consumer: connection lost before the position was moved: the broker answered -FAILED an I/O error\n")
}

func TestFollowEndsAfterN(t *testing.T) {
	b := listen(t)
	p, out := start(t, b, "-follow", "-n", "2", "-f", `%s\n`)
	conn := b.accept()
	if !strings.Contains(b.request, "&n=2&follow") {
		t.Errorf("request %q", b.request)
	}
	acks := bufio.NewReader(conn)
	send(t, conn, "@0\n"+batchOf(0, "a", "b", "c"))
	printed(t, out, "a")
	printed(t, out, "b")
	expect(t, acks, "+2")
	expectEOF(t, acks)
	conn.Close()
	if rest, _ := io.ReadAll(out); len(rest) > 0 {
		t.Errorf("printed %q after 2 messages", rest)
	}
	p.check(t, 0, "")
}

// endings are what a follower connects again after.
var endings = []struct {
	name string
	end  func(*testing.T, *net.TCPConn)
	said string
}{
	{"a close", func(_ *testing.T, c *net.TCPConn) { c.Close() }, "connection lost before the end of the topic"},
	{"a shutdown", func(t *testing.T, c *net.TCPConn) {
		send(t, c, "-SHUTDOWN the broker is stopping\n")
		c.Close()
	}, "the broker answered -SHUTDOWN the broker is stopping"},
	{"a time-out", func(t *testing.T, c *net.TCPConn) {
		send(t, c, "-TIMEOUT no acknowledgement within 1s\n")
		c.Close()
	}, "the broker answered -TIMEOUT no acknowledgement within 1s"},
}

func TestFollowConnectsAgain(t *testing.T) {
	for _, tt := range endings {
		t.Run(tt.name, func(t *testing.T) {
			b := listen(t)
			p, out := start(t, b, "-follow", "-n", "3", "-f", `%s\n`)
			conn := b.accept()
			acks := bufio.NewReader(conn)
			send(t, conn, "@0\n"+batchOf(0, "a", "b"))
			printed(t, out, "a")
			printed(t, out, "b")
			expect(t, acks, "+2")
			tt.end(t, conn)
			conn = b.accept()
			if !strings.Contains(b.request, "&n=1&") {
				t.Errorf("request %q", b.request)
			}
			acks = bufio.NewReader(conn)
			send(t, conn, "@0\n"+batchOf(2, "c"))
			printed(t, out, "c")
			expect(t, acks, "+1") // counted again on each connection
			expectEOF(t, acks)
			conn.Close()
			p.check(t, 0, "consumer: "+tt.said+"; connecting again\nconsumer: connected again\n")
		})
	}
}

func TestFollowTriesUntilTheBrokerIsBack(t *testing.T) {
	b := listen(t)
	p, out := start(t, b, "-follow", "-n", "1", "-f", `%s\n`)
	for range 3 { // each with a longer pause
		b.accept().Close()
	}
	conn := b.accept()
	send(t, conn, "@0\n"+batchOf(0, "a"))
	printed(t, out, "a")
	acks := bufio.NewReader(conn)
	expect(t, acks, "+1")
	expectEOF(t, acks)
	conn.Close()
	p.check(t, 0, "consumer: connection lost before the end of the topic; connecting again\nconsumer: connected again\n")
}

func TestErrorsThatEndAFollower(t *testing.T) {
	for _, line := range []string{
		"-BADREQUEST unknown option \"follow\"",
		"-BUSY group \"default\" is in use by Kafka clients",
		"-GONE the topic was deleted",
	} {
		b := listen(t)
		p, _ := start(t, b, "-follow")
		conn := b.accept()
		send(t, conn, line+"\n")
		_ = conn.CloseWrite()
		p.check(t, 1, "consumer: the broker answered "+line+"\n")
	}
}

func TestFollowerGoesOnBehindWhatIsMissing(t *testing.T) {
	for _, line := range []string{"-GAP first=120 partition=0", "-DAMAGED orders/0: offsets 5 to 9 can't be read"} {
		b := listen(t)
		p, out := start(t, b, "-follow", "-n", "2", "-f", `%s\n`)
		conn := b.accept()
		send(t, conn, "@0\n"+batchOf(0, "a")+line+"\n")
		printed(t, out, "a")
		acks := bufio.NewReader(conn)
		expect(t, acks, "+1")
		expectEOF(t, acks)
		conn.Close()
		conn = b.accept()
		if !strings.Contains(b.request, "&n=1&") {
			t.Errorf("request %q", b.request)
		}
		send(t, conn, "@0\n"+batchOf(120, "b"))
		printed(t, out, "b")
		acks = bufio.NewReader(conn)
		expect(t, acks, "+1")
		expectEOF(t, acks)
		conn.Close()
		p.check(t, 1, "consumer: the broker answered "+line+wentOn)
	}
}

// All connect at the same time after a restart, and some are too many for a while.
func TestFollowerThatIsRefusedWhenItConnectsAgainGoesOn(t *testing.T) {
	b := listen(t)
	p, out := start(t, b, "-follow", "-n", "1", "-f", `%s\n`)
	b.accept().Close()
	const busy = "-BUSY 10000 connections are open"
	for range 2 {
		conn := b.accept()
		send(t, conn, busy+"\n")
		conn.Close()
	}
	conn := b.accept()
	send(t, conn, "@0\n"+batchOf(0, "a"))
	printed(t, out, "a")
	acks := bufio.NewReader(conn)
	expect(t, acks, "+1")
	expectEOF(t, acks)
	conn.Close()
	p.check(t, 0, "consumer: connection lost before the end of the topic; connecting again\nconsumer: connected again\n"+
		"consumer: the broker answered "+busy+"; connecting again\nconsumer: connected again\n")
}

func TestTopicThatDoesNotExistIsSaid(t *testing.T) {
	b := listen(t)
	b.setTopic("")
	p, _ := start(t, b)
	b.serve(".\n")
	p.check(t, 0, "consumer: topic \"orders\" does not exist\n")
	b = listen(t)
	b.setTopic("")
	p, _ = start(t, b, "-follow")
	conn := b.accept()
	p.signal(t, syscall.SIGINT)
	expectEOF(t, bufio.NewReader(conn))
	conn.Close()
	p.check(t, 0, "consumer: topic \"orders\" does not exist yet; waiting\n")
}

// What comes into a topic while the follower that waits for it is away comes after the end
// that it asked for.
func TestFollowFromTheEndOfATopicThatDoesNotExistMissesNothing(t *testing.T) {
	b := listen(t)
	b.setTopic("")
	p, out := start(t, b, "-follow", "-start", "end", "-n", "1", "-f", `%s\n`)
	b.accept().Close()
	conn := b.accept()
	if !strings.Contains(b.request, "&start=beginning&") {
		t.Errorf("request %q", b.request)
	}
	send(t, conn, "@0\n"+batchOf(0, "a"))
	printed(t, out, "a")
	acks := bufio.NewReader(conn)
	expect(t, acks, "+1")
	expectEOF(t, acks)
	conn.Close()
	p.check(t, 0, "consumer: topic \"orders\" does not exist yet; waiting\n"+
		"consumer: connection lost before the end of the topic; connecting again\nconsumer: connected again\n")
}

func TestMessagesThatOthersHoldAreSaid(t *testing.T) {
	for groups, want := range map[string]string{
		`{"unacknowledged":2,"waiting":0}` + "\n" + `{"unacknowledged":3,"waiting":1}` + "\n": "other consumers of group \"default\" hold 5 messages of topic \"orders\"",
		`{"unacknowledged":0,"waiting":4}` + "\n":                                             "4 messages of topic \"orders\" wait in group \"default\": they have failed, or are behind one of their key",
	} {
		b := listen(t)
		b.groups = groups
		p, _ := start(t, b)
		b.serve(".\n")
		p.check(t, 0, "consumer: "+want+"\n")
	}
}

func TestFollowerEndsWhenTheFirstConnectionFails(t *testing.T) {
	p := command(t, "-port", brokertest.Port(brokertest.Reserve(t)), "-topic", "orders", "-follow")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if code := p.finish(); code != 1 || !strings.HasPrefix(p.stderr.String(), "consumer: can't reach the broker: ") {
		t.Errorf("exit %d, said %q", code, p.stderr.String())
	}
}

func TestOptionsOfAGroupArePassedOn(t *testing.T) {
	b := listen(t)
	p, _ := start(t, b, "-follow", "-group", "billing", "-start", "end", "-ordered", "-window", "7",
		"-ack-timeout", "90s", "-retry", "2s", "-attempts", "0")
	conn := b.accept()
	want := "orders?format=batch&group=billing&follow&ack&start=end&ordered&window=7&ack-timeout=1m30s&retry=2s&attempts=0\n"
	if b.request != want {
		t.Errorf("request %q, want %q", b.request, want)
	}
	p.signal(t, syscall.SIGINT)
	expectEOF(t, bufio.NewReader(conn))
	conn.Close()
	p.check(t, 0, "")
}

func TestFromConsumesNothing(t *testing.T) {
	b := listen(t)
	p, out := start(t, b, "-from", "-10", "-f", `%s\n`)
	conn := b.serve("@0\n" + batchOf(5, "a") + ".\n")
	if b.request != "orders?format=batch&from=-10\n" {
		t.Errorf("request %q", b.request)
	}
	printed(t, out, "a")
	p.check(t, 0, "")
	if got, _ := io.ReadAll(conn); len(got) > 0 {
		t.Errorf("the broker got %q", got)
	}
}

func TestFromGoesOnWhereItWasWhenItConnectsAgain(t *testing.T) {
	b := listen(t)
	p, out := start(t, b, "-from", "2h", "-follow", "-f", `%s\n`)
	b.resolve("2h", 0, 5)
	conn := b.accept()
	if b.request != "orders?format=batch&from=0%3A0%2C1%3A5&follow\n" {
		t.Errorf("request %q", b.request)
	}
	send(t, conn, "@1\n"+batchOf(5, "a", "b")+"@0\n"+batchOf(0, "c"))
	for _, want := range []string{"a", "b", "c"} {
		printed(t, out, want)
	}
	conn.Close()
	conn = b.accept()
	if want := "orders?format=batch&from=0%3A1%2C1%3A7&follow\n"; b.request != want {
		t.Errorf("request %q, want %q", b.request, want)
	}
	p.signal(t, syscall.SIGINT)
	p.check(t, 0, "consumer: connection lost before the end of the topic; connecting again\nconsumer: connected again\n")
	if got, _ := io.ReadAll(conn); len(got) > 0 {
		t.Errorf("the broker got %q", got)
	}
}

// resolve answers the question which offsets a position is.
func (b *fakeBroker) resolve(position string, offsets ...int) {
	b.t.Helper()
	conn := b.accept()
	if want := "?reset&group=default&topic=orders&to=" + position + "&format=json\n"; b.request != want {
		b.t.Errorf("request %q, want %q", b.request, want)
	}
	for p, offset := range offsets {
		send(b.t, conn, fmt.Sprintf(`{"group":"default","topic":"orders","partition":%d,"position":0,"new":%d}`+"\n", p, offset))
	}
	conn.Close()
}

func TestFromTheEndMissesNothingWhenItConnectsAgainBeforeTheFirstMessage(t *testing.T) {
	b := listen(t)
	p, out := start(t, b, "-from", "end", "-follow", "-n", "1", "-f", `%s\n`)
	b.resolve("end", 17, 4)
	for range 2 {
		conn := b.accept()
		if want := "orders?format=batch&from=0%3A17%2C1%3A4&n=1&follow\n"; b.request != want {
			t.Errorf("request %q, want %q", b.request, want)
		}
		conn.Close()
	}
	send(t, b.accept(), "@1\n"+batchOf(4, "a"))
	printed(t, out, "a")
	p.check(t, 0, "consumer: connection lost before the end of the topic; connecting again\nconsumer: connected again\n")
}

func TestFollowFromAPlaceInATopicThatDoesNotExist(t *testing.T) {
	b := listen(t)
	p, _ := start(t, b, "-from", "end", "-follow")
	asked := b.accept()
	send(t, asked, "-GONE there is no such topic\n")
	asked.Close()
	b.accept()
	if b.request != "orders?format=batch&from=beginning&follow\n" {
		t.Errorf("request %q", b.request)
	}
	p.signal(t, syscall.SIGINT)
	p.check(t, 0, "")
}

func TestGapBeforeFromIsSaid(t *testing.T) {
	_, stderr, code, _ := drain(t, "-GAP first=120\n", "-from", "5")
	if stderr != "consumer: the broker answered -GAP first=120\n" || code != 1 {
		t.Errorf("said %q, exit %d", stderr, code)
	}
}
