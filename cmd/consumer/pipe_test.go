package main

import (
	"bufio"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
)

// pipes makes a pipe for the output of a consumer, and starts one.
func pipes(t *testing.T, b *fakeBroker, args ...string) (*process, *os.File) {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reader.Close() })
	return commandTo(t, writer, append([]string{"-port", b.port, "-topic", "orders", "-f", `%s\n`}, args...)...), reader
}

// endsAsAWriterWithoutAReader waits for an end that is a shell's 141, without a word.
func (p *process) endsAsAWriterWithoutAReader(t *testing.T) {
	t.Helper()
	_ = p.Wait()
	if s := p.ProcessState.Sys().(syscall.WaitStatus); !s.Signaled() || s.Signal() != syscall.SIGPIPE || p.stderr.Len() > 0 {
		t.Errorf("%v, said %q", p.ProcessState, p.stderr.String())
	}
}

func take(t *testing.T, reader *os.File, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(reader, got); string(got) != want {
		t.Fatalf("read %q, %v, want %q", got, err, want)
	}
}

// What is in a pipe is not printed yet: its reader may leave.
func TestFollowAcknowledgesWhatTheReaderOfItsPipeHasTaken(t *testing.T) {
	b := listen(t)
	p, reader := pipes(t, b, "-follow")
	conn := b.accept()
	send(t, conn, "@0\n"+batchOf(0, "a", "b", "c"))
	acks := bufio.NewReader(conn)
	take(t, reader, "a\nb")
	expect(t, acks, "+1")
	take(t, reader, "\n")
	expect(t, acks, "+2")
	send(t, conn, batchOf(3, "d"))
	take(t, reader, "c\nd\n")
	if line, err := acks.ReadString('\n'); line == "+3\n" {
		expect(t, acks, "+4")
	} else if line != "+4\n" {
		t.Errorf("the broker got %q, %v", line, err)
	}
	p.signal(t, syscall.SIGTERM)
	expectEOF(t, acks)
	conn.Close()
	p.check(t, 0, "")
}

// `consumer -follow | head -1` ends with head, also while nothing comes, and gives back what
// head has not taken, in good order: no attempt is counted.
func TestFollowEndsWhenTheReaderOfItsPipeLeaves(t *testing.T) {
	b := listen(t)
	p, reader := pipes(t, b, "-follow")
	conn := b.accept()
	send(t, conn, "@0\n"+batchOf(0, "a", "b"))
	acks := bufio.NewReader(conn)
	take(t, reader, "a\n")
	expect(t, acks, "+1")
	reader.Close()
	expectEOF(t, acks)
	conn.Close()
	p.endsAsAWriterWithoutAReader(t)
}

func TestFollowThatIsIdleEndsWhenTheReaderOfItsPipeLeaves(t *testing.T) {
	b := listen(t)
	p, reader := pipes(t, b, "-follow")
	conn := b.accept()
	reader.Close()
	expectEOF(t, bufio.NewReader(conn))
	conn.Close()
	p.endsAsAWriterWithoutAReader(t)
}

func TestFollowThatWritesToAPipeWithoutAReaderGivesBack(t *testing.T) {
	b := listen(t)
	p, reader := pipes(t, b, "-follow")
	conn := b.accept()
	send(t, conn, strings.TrimSuffix(unread(1500), ".\n")) // more than a pipe holds
	take(t, reader, strings.Repeat("x", 10))
	reader.Close()
	if got, err := io.ReadAll(conn); len(got) > 0 || err != nil {
		t.Errorf("the broker got %q, %v; want the end", got, err)
	}
	conn.Close()
	p.endsAsAWriterWithoutAReader(t)
}

// A drain whose output fits in a pipe: it counts when it was taken.
func TestDrainIsConsumedWhenTheReaderOfItsPipeHasTakenIt(t *testing.T) {
	b := listen(t)
	p, reader := pipes(t, b)
	conn := b.serve("@0\n" + batchOf(0, "a", "b") + ".\n")
	take(t, reader, "a\n")
	reader.Close()
	p.endsAsAWriterWithoutAReader(t)
	if consumed(t, conn) {
		t.Error("what nobody has read is consumed")
	}
	p, reader = pipes(t, b)
	conn = b.serve("@0\n" + batchOf(0, "a", "b") + ".\n")
	take(t, reader, "a\nb\n")
	p.check(t, 0, "")
	if !consumed(t, conn) {
		t.Error("what was read is not consumed")
	}
}

func TestReplayIntoAPipeWaitsForNobody(t *testing.T) {
	b := listen(t)
	p, _ := pipes(t, b, "-from", "beginning")
	b.serve("@0\n" + batchOf(0, "a", "b") + ".\n")
	p.check(t, 0, "")
}
