package main

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mbus/internal/batch"
	"mbus/test/brokertest"
)

func TestCommandGetsTheMessageAndWhereItIsFrom(t *testing.T) {
	b := listen(t)
	p, out := start(t, b, "-exec", `printf '%s %s %s [%s] %s: ' $MBUS_TOPIC $MBUS_PARTITION $MBUS_OFFSET "$MBUS_KEY" $MBUS_TIMESTAMP; cat`)
	conn := b.accept()
	if want := "orders?format=batch&group=default&ack&window=1\n"; b.request != want {
		t.Errorf("request %q, want %q", b.request, want)
	}
	var messages batch.Builder
	messages.Add(1718017201000, []byte("k 1"), []byte("first\norder\n"))
	messages.Add(1718017201001, nil, nil)
	messages.Close(7)
	send(t, conn, "@3\n"+string(messages.Bytes())+".\n")
	_ = conn.CloseWrite()
	acks := bufio.NewReader(conn)
	expect(t, acks, "+1")
	expect(t, acks, "+2")
	expectEOF(t, acks)
	all, _ := io.ReadAll(out)
	if want := "orders 3 7 [k 1] 1718017201000: first\norder\norders 3 8 [] 1718017201001: "; string(all) != want {
		t.Errorf("printed %q, want %q", all, want)
	}
	p.check(t, 0, "")
}

func TestCommandThatFailsHasItsMessageComeAgain(t *testing.T) {
	b := listen(t)
	p, _ := start(t, b, "-follow", "-n", "4", "-window", "10", "-exec", `case $(cat) in bad) exit 3;; killed) kill -9 $$;; esac`)
	conn := b.accept()
	send(t, conn, "@0\n"+batchOf(0, "good", "bad", "killed", "good"))
	acks := bufio.NewReader(conn)
	expect(t, acks, "+1")
	expect(t, acks, "-2 exit status 3")
	expect(t, acks, "-3 signal: killed")
	expect(t, acks, "+4")
	expectEOF(t, acks)
	conn.Close()
	p.check(t, 0, "consumer: partition 0, offset 1: exit status 3\nconsumer: partition 0, offset 2: signal: killed\n")
}

func TestCommandNeedNotReadItsMessage(t *testing.T) {
	b := listen(t)
	p, _ := start(t, b, "-exec", "true")
	conn := b.accept()
	send(t, conn, "@0\n"+batchOf(0, strings.Repeat("x", 1<<20))+".\n")
	_ = conn.CloseWrite()
	expect(t, bufio.NewReader(conn), "+1")
	p.check(t, 0, "")
}

func TestKeyThatCannotBeInAnEnvironmentFails(t *testing.T) {
	for _, key := range []string{"a\x00b", strings.Repeat("k", maxKey+1)} {
		b := listen(t)
		p, _ := start(t, b, "-exec", "true")
		conn := b.accept()
		var messages batch.Builder
		messages.Add(1, []byte(key), nil)
		messages.Close(0)
		send(t, conn, "@0\n"+string(messages.Bytes())+".\n")
		_ = conn.CloseWrite()
		expect(t, bufio.NewReader(conn), "-1 the key can't be an environment variable")
		p.check(t, 0, "consumer: partition 0, offset 0: the key can't be an environment variable\n")
	}
}

func TestLongestKeyOfACommand(t *testing.T) {
	b := listen(t)
	p, out := start(t, b, "-exec", `printf '%s\n' ${#MBUS_KEY}`)
	conn := b.accept()
	var messages batch.Builder
	messages.Add(1, []byte(strings.Repeat("k", maxKey)), nil)
	messages.Close(0)
	send(t, conn, "@0\n"+string(messages.Bytes())+".\n")
	_ = conn.CloseWrite()
	printed(t, out, "122880")
	p.check(t, 0, "")
}

// fifo makes a named pipe, by which a command says that it runs, or waits.
func fifo(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSignalLeavesTheRunningCommandToEnd(t *testing.T) {
	b := listen(t)
	gate := fifo(t, "gate")
	p, out := start(t, b, "-follow", "-exec", "echo begun; cat "+gate+"; echo ended")
	conn := b.accept()
	acks := bufio.NewReader(conn)
	send(t, conn, "@0\n"+batchOf(0, "a", "never begun"))
	printed(t, out, "begun")
	p.signal(t, syscall.SIGINT)
	brokertest.AwaitRest(t, p.Process.Pid)             // the signal must not come after the command's end
	if err := os.WriteFile(gate, nil, 0); err != nil { // opens when the command reads
		t.Fatal(err)
	}
	printed(t, out, "ended")
	expect(t, acks, "+1")
	expectEOF(t, acks)
	conn.Close()
	if rest, _ := io.ReadAll(out); len(rest) > 0 {
		t.Errorf("printed %q after the signal", rest)
	}
	p.check(t, 0, "")
}

func TestSecondSignalKillsTheCommandAndItsMessageIsNeitherDoneNorFailed(t *testing.T) {
	b := listen(t)
	p, out := start(t, b, "-follow", "-exec", "echo begun; (cat "+fifo(t, "gate")+"); echo ended")
	conn := b.accept()
	acks := bufio.NewReader(conn)
	send(t, conn, "@0\n"+batchOf(0, "a"))
	printed(t, out, "begun")
	p.signal(t, syscall.SIGINT)
	p.signal(t, syscall.SIGTERM) // another one: two of a kind can become one
	expectEOF(t, acks)
	conn.Close()
	if rest, _ := io.ReadAll(out); len(rest) > 0 { // and all that hold the pipe are gone
		t.Errorf("printed %q after the signals", rest)
	}
	p.check(t, 0, "")
}
