package fault

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// An injection is strace at work on a process.
type injection struct {
	t    *testing.T
	cmd  *exec.Cmd
	file string // what it has traced
	done bool
}

// inject has strace tamper with the system calls of a running process, such as
// "fdatasync:error=EIO" or "pwrite64:retval=0", of all its threads from now on,
// but only of calls on the file at path.
func inject(t *testing.T, pid int, what, path string) *injection {
	t.Helper()
	i := &injection{t: t, file: filepath.Join(t.TempDir(), "trace")}
	call, _, _ := strings.Cut(what, ":")
	i.cmd = exec.Command("strace", "-f", "-p", strconv.Itoa(pid), "-o", i.file,
		"-P", path, "-e", "trace="+call, "-e", "inject="+what)
	i.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := i.cmd.StderrPipe()
	if err == nil {
		err = i.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { i.stop() })
	said := bufio.NewScanner(stderr)
	var all strings.Builder
	for said.Scan() {
		if strings.Contains(said.Text(), " attached") {
			go func() {
				for said.Scan() { // so that it is not held up
				}
			}()
			return i
		}
		all.WriteString(said.Text() + "\n")
	}
	i.done = true
	_ = i.cmd.Wait() // what it said tells more
	if strings.Contains(all.String(), "Operation not permitted") {
		t.Skipf("needs to be root: this system lets nobody else trace a process: %s", all.String())
	}
	t.Fatalf("strace: %s", all.String())
	return nil
}

// stop ends the tampering and gives a line for each call that was tampered with.
func (i *injection) stop() (calls []string) {
	i.t.Helper()
	if !i.done {
		i.done = true
		_ = i.cmd.Process.Signal(syscall.SIGINT)
		_ = i.cmd.Wait() // interrupted
	}
	trace, err := os.ReadFile(i.file)
	if err != nil {
		i.t.Fatal(err)
	}
	for line := range strings.Lines(string(trace)) {
		if strings.Contains(line, "INJECTED") || strings.Contains(line, "DELAYED") {
			calls = append(calls, line)
		}
	}
	return calls
}

// segment is the first segment of partition 0 of a topic.
func segment(data, topic string) string {
	return filepath.Join(data, "topics", topic, "0", "00000000000000000000.log")
}
