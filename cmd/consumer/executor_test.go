package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"mbus/internal/batch"
	"mbus/test/brokertest"
)

func TestCommandGetsTheMessageAndWhereItIsFrom(t *testing.T) {
	b := listen(t)
	p, out := start(t, b, "-exec", `printf '%s %s %s [%s] %s: ' $MBUS_MSG_TOPIC $MBUS_MSG_PARTITION $MBUS_MSG_OFFSET "$MBUS_MSG_KEY" $MBUS_MSG_TIMESTAMP; cat`)
	conn := b.accept()
	if want := "orders?format=batch&group=default&ack&window=1&ack-timeout=30s\n"; b.request != want {
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
	p.check(t, 4, "consumer: orders/0 offset 1, attempt 1: exit status 3; again in 1s\n"+
		"consumer: orders/0 offset 2, attempt 1: signal: killed; again in 1s\n")
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

// runs has a consumer run the command for the message, which must succeed, and returns
// what it printed.
func runs(t *testing.T, messages *batch.Builder, command string, args ...string) string {
	t.Helper()
	b := listen(t)
	p, out := start(t, b, append(args, "-exec", command)...)
	conn := b.accept()
	messages.Close(0)
	send(t, conn, "@0\n"+string(messages.Bytes())+".\n")
	_ = conn.CloseWrite()
	expect(t, bufio.NewReader(conn), "+1")
	all, _ := io.ReadAll(out)
	p.check(t, 0, "")
	return string(all)
}

func TestCommandIsToldAnyKey(t *testing.T) {
	const command = `printf '%s|' "${MBUS_MSG_KEY-none}" "${MBUS_MSG_KEY_BASE64-none}" "${MBUS_MSG_KEY_SIZE-none}" | cut -c -70`
	long := strings.Repeat("k", maxVariable)
	for _, tt := range []struct {
		name      string
		key       []byte
		want, cut string
	}{
		{"null", nil, "none|none|none|", ""},
		{"empty", []byte{}, "|none|0|", ""},
		{"a NUL", []byte("\x00\x00\x00\x07"), "none|AAAABw==|4|", ""},
		{"not UTF-8", []byte("\xff"), "none|/w==|1|", ""},
		{"the longest", []byte(long), strings.Repeat("k", 70), ""},
		{"too long", []byte(long + "k"), "none|none|122881|", ""},
		{"too long in base64", []byte("\x00" + long[1:]), "none|none|122880|", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var messages batch.Builder
			messages.Add(1, tt.key, nil)
			if got := runs(t, &messages, command); got != tt.want+"\n" {
				t.Errorf("printed %q, want %q", got, tt.want)
			}
		})
	}
}

func TestCommandIsToldAllOfItsMessage(t *testing.T) {
	t.Setenv("MBUS_MSG_KEY", "another message's")
	var messages batch.Builder
	messages.Add(1, nil, []byte("four"), batch.Header{Key: "h", Value: []byte("a b")}, batch.Header{Key: headerAttempt, Value: []byte("3")})
	got := runs(t, &messages, `echo "$MBUS_MSG_SIZE $MBUS_MSG_ATTEMPT $MBUS_MSG_GROUP $MBUS_MSG_HEADERS ${MBUS_MSG_KEY-none}"; env | grep ^MBUS_ | grep -v ^MBUS_MSG_; true`, "-group", "mail")
	if want := `4 3 mail ["h","a b"] none` + "\n"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
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
	p, out := start(t, b, "-follow", "-grace", "1h", "-exec", "echo begun; cat "+gate+"; echo ended")
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
	p, out := start(t, b, "-follow", "-grace", "1h", "-exec", "echo begun; (cat "+fifo(t, "gate")+"); echo ended")
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

func TestSignalEndsACommandThatGoesOnPastItsGrace(t *testing.T) {
	for name, command := range map[string]string{
		"ended by SIGTERM": "",
		"that ignores it":  "trap '' TERM; ",
	} {
		t.Run(name, func(t *testing.T) {
			b := listen(t)
			p, out := start(t, b, "-follow", "-grace", "1ms", "-exec", command+"echo begun; (cat "+fifo(t, "gate")+"); echo ended")
			conn := b.accept()
			acks := bufio.NewReader(conn)
			send(t, conn, "@0\n"+batchOf(0, "a"))
			printed(t, out, "begun")
			p.signal(t, syscall.SIGTERM)
			expectEOF(t, acks) // neither done nor failed
			conn.Close()
			if rest, _ := io.ReadAll(out); len(rest) > 0 { // and all that hold the pipe are gone
				t.Errorf("printed %q after the signal", rest)
			}
			p.check(t, 0, "")
		})
	}
}

func TestCommandThatCleansUpAtTheSignalHasDoneItsMessage(t *testing.T) {
	b := listen(t)
	p, out := start(t, b, "-follow", "-grace", "1ms", "-exec", "exec 2>/dev/null; trap 'exit 0' TERM; (echo begun; exec cat "+fifo(t, "gate")+")")
	conn := b.accept()
	acks := bufio.NewReader(conn)
	send(t, conn, "@0\n"+batchOf(0, "a"))
	printed(t, out, "begun")
	p.signal(t, syscall.SIGTERM)
	expect(t, acks, "+1")
	expectEOF(t, acks)
	conn.Close()
	p.check(t, 0, "")
}

// What hangs is ended with all that it has begun, its message has failed, and the next
// one is dealt with.
func TestCommandThatHangsIsEndedAndItsMessageHasFailed(t *testing.T) {
	b := listen(t)
	gate := fifo(t, "gate")
	p, out := start(t, b, "-follow", "-n", "2", "-window", "2", "-ack-timeout", "3s", "-attempts", "1",
		"-exec", `read -r m; [ "$m" != hang ] || (trap '' TERM; cat `+gate+`; echo goes on); echo "$m"`)
	conn := b.accept()
	if !strings.Contains(b.request, "&ack-timeout=30s&") {
		t.Errorf("request %q: the broker's patience is not that of the command", b.request)
	}
	acks := bufio.NewReader(conn)
	send(t, conn, "@0\n"+batchOf(0, "hang\n", "good\n"))
	expect(t, acks, "-1 no end within 3s")
	expect(t, acks, "+2")
	expectEOF(t, acks)
	conn.Close()
	if all, _ := io.ReadAll(out); string(all) != "good\n" {
		t.Errorf("printed %q", all)
	}
	p.check(t, 4, "consumer: orders/0 offset 0, attempt 1: no end within 3s; it goes to orders.dlq\n")
}

func TestCommandThatCannotBeRunEndsTheProgramAndItsMessageIsGivenBack(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	write(t, plain, "no program")
	for command, want := range map[string]string{
		"/no/such/command": "exit status 127",
		plain:              "exit status 126",
	} {
		b := listen(t)
		p, _ := start(t, b, "-follow", "-window", "2", "-exec", "exec 2>/dev/null; "+command)
		conn := b.accept()
		acks := bufio.NewReader(conn)
		send(t, conn, "@0\n"+batchOf(7, "a", "b"))
		expectEOF(t, acks)
		conn.Close()
		p.check(t, 1, "consumer: -exec: the shell can't run \"exec 2>/dev/null; "+command+"\": "+want+"; orders/0 offset 7 is given back\n")
	}
}

// No message is a dead letter because of what the shell can't read.
func TestCommandThatTheShellCannotReadIsRefused(t *testing.T) {
	for _, line := range []string{"if true", "echo 'a", "true; )", "(true", "true && "} {
		p := command(t, "-topic", "orders", "-exec", line)
		p.Dir = t.TempDir()
		code := -1
		if err := p.Start(); err == nil {
			code = p.finish()
		}
		want := fmt.Sprintf("consumer: -exec: the shell can't read %q: ", line)
		if got := p.stderr.String(); code != 2 || !strings.HasPrefix(got, want) || strings.Count(got, "\n") != 2 {
			t.Errorf("exit %d, said %q, not %q", code, got, want)
		}
	}
	if err := checkShell("touch " + filepath.Join(t.TempDir(), "file") + "; # what runs is not read"); err != nil {
		t.Error(err)
	}
}

// commandTo starts a consumer that prints to the pipe, whose writing end it closes here.
func commandTo(t *testing.T, pipe *os.File, args ...string) *process {
	t.Helper()
	p := command(t, args...)
	p.Stdout = pipe
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	pipe.Close()
	return p
}

func TestReaderThatLeavesEndsCommandsQuietlyAndTheMessageIsGivenBack(t *testing.T) {
	for name, command := range map[string]string{
		"the command dies of it": "cat",
		"the command notes it":   "trap '' PIPE; cat 2>/dev/null",
	} {
		t.Run(name, func(t *testing.T) {
			b := listen(t)
			reader, writer, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			p := commandTo(t, writer, "-port", b.port, "-topic", "orders", "-follow", "-exec", command)
			conn := b.accept()
			reader.Close()
			send(t, conn, "@0\n"+batchOf(0, "a"))
			expectEOF(t, bufio.NewReader(conn))
			conn.Close()
			_ = p.Wait()
			if s := p.ProcessState.Sys().(syscall.WaitStatus); !s.Signaled() || s.Signal() != syscall.SIGPIPE || p.stderr.Len() > 0 {
				t.Errorf("%v, said %q", p.ProcessState, p.stderr.String())
			}
		})
	}
}

// A command reads its message from a file: it can't take a part of it for the whole.
func TestKilledConsumersCommandHasReadAllOfItsMessageAndDoesNotGoOn(t *testing.T) {
	b := listen(t)
	path := filepath.Join(t.TempDir(), "done")
	p, out := start(t, b, "-exec", "echo $$; wc -c; cat "+fifo(t, "gate")+"; echo >"+path)
	conn := b.accept()
	send(t, conn, "@0\n"+batchOf(0, strings.Repeat("x", 900_000))+".\n")
	pid := brokertest.ReadLine(t, out)
	printed(t, out, "900000")
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool {
		_, err := os.Stat("/proc/" + pid)
		return os.IsNotExist(err)
	})
	if sizeOf(path) > 0 {
		t.Error("the command has gone on")
	}
	_ = p.Wait()
}

// All that the command has begun ends with the consumer, and what one before has left
// behind goes on.
func TestKilledConsumersCommandEndsWithAllThatItHasBegun(t *testing.T) {
	b := listen(t)
	gate := fifo(t, "gate")
	p, out := start(t, b, "-window", "2", "-exec", `read -r m; if [ "$m" = leaves ]; then cat `+gate+` & echo $!; else (echo $$; cat `+gate+`; echo); echo; fi`)
	conn := b.accept()
	send(t, conn, "@0\n"+batchOf(0, "leaves\n", "works\n")+".\n")
	left := brokertest.ReadLine(t, out)
	brokertest.ReadLine(t, out)
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return len(readers(t, gate)) == 1 })
	if err := syscall.Kill(atoi(t, left), syscall.SIGKILL); err != nil {
		t.Errorf("what an earlier command left behind: %v", err)
	}
	_ = p.Wait()
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// readers are the processes whose command line names the file and that are not shells.
func readers(t *testing.T, path string) (pids []string) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		text, err := os.ReadFile(l)
		if err == nil && string(text) == "cat\x00"+path+"\x00" {
			pids = append(pids, l)
		}
	}
	return pids
}
