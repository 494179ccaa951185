package fault

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// Injected: more connections than the broker may have files open. Expected:
// those that work go on publishing, following and acknowledging; what needs files
// of its own is answered so; the broker waits instead of trying to accept in a busy
// loop; when the others have gone everything is served again.
func TestF18NoFilesLeft(t *testing.T) {
	const files = 80
	b := brokertest.StartProgram(t, limitedTo(t, files), t.TempDir())
	l := newLedger("orders")
	publishTo(l, b, 1, 1)
	working := brokertest.Dial(t, b.Producers(), "orders\n")
	answers := bufio.NewReader(working)
	worker := newOneByOne(t, b, "orders", "one")
	for range l.judge(lines(b.Drain("orders?from=beginning"))).Read {
		worker.next()
	}
	waiting := []net.Conn{brokertest.Dial(t, b.Producers(), ""), brokertest.Dial(t, b.Producers(), "")}

	var hogs []net.Conn
	for range 2 * files {
		hogs = append(hogs, brokertest.Dial(t, b.Producers(), "hogs\n"))
	}
	refused := func() int { return strings.Count(b.Output(), "no connection can be taken") }
	await(t, "a connection can't be taken", func() bool { return refused() > 0 })
	begun, used := time.Now(), processorTime(t, b.Pid())
	await(t, "it has been measured for long enough", func() bool { return time.Since(begun) > time.Second })
	elapsed, used := time.Since(begun), processorTime(t, b.Pid())-used
	if n := refused(); n > 2 { // listeners
		t.Errorf("it is logged %d times that no connection can be taken", n)
	}
	t.Logf("%v of processor time in %v", used, elapsed)
	if used > elapsed/2 {
		t.Errorf("the broker took %v of processor time in %v", used, elapsed)
	}
	for i, first := 1, -1; i <= 50; i++ {
		n := l.send("working", first)
		if first < 0 {
			first = n
		}
		if _, err := fmt.Fprintf(working, "%s\n", l.message("working", n, 100)); err != nil {
			t.Fatal(err)
		}
		if line := brokertest.ReadLine(t, answers); line != fmt.Sprintf("+%d", i) {
			t.Fatalf("the publisher was answered %q", line)
		}
		l.acknowledge("working", n)
		worker.next()
	}
	for _, c := range waiting {
		if _, err := fmt.Fprint(c, "fresh\nhello\n"); err != nil {
			t.Fatal(err)
		}
		if line := brokertest.ReadLine(t, bufio.NewReader(c)); !strings.HasPrefix(line, "-BUSY ") {
			t.Errorf("a message to a topic that needs files was answered %q", line)
		}
	}
	for _, c := range hogs {
		c.Close()
	}
	await(t, "new connections are served", func() bool { return publishOne(t, b, "fresh", "hello") == "+1" })
	b.Restart()
	c := l.judge(lines(b.Drain("orders?from=beginning")))
	report(t, c)
	c.mustKeep(t)
	l.mustAnswer(t, b)
}

// limitedTo gives the path of a script that runs the broker with so many files
// open at most.
func limitedTo(t *testing.T, files int) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "broker")
	script := fmt.Sprintf("#!/bin/sh\nulimit -n %d\nexec '%s' \"$@\"\n", files, brokertest.Program(t, "broker"))
	if err := os.WriteFile(file, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return file
}

// processorTime is what a process has used so far, of proc_pid_stat(5).
func processorTime(t testing.TB, pid int) time.Duration {
	t.Helper()
	const ticks = 100 // a second
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')'):]))
	var sum int
	for _, f := range fields[12:14] { // user and system; the name, the second field, is cut off
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return time.Duration(sum) * time.Second / ticks
}
