package machine

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	BeRelay()
	BeFloor()
	os.Exit(m.Run())
}

func TestProcessorTimeIsThatOfTheProcess(t *testing.T) {
	self := []int{os.Getpid()}
	before, err := ProcessorTime(self)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		now, err := ProcessorTime(self)
		if err != nil {
			t.Fatal(err)
		}
		if now >= before+3*tick {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("a minute of work took %v", now-before)
		}
	}
}

func TestFamilyHasWhatAProcessHasStarted(t *testing.T) {
	cmd := exec.Command("sh", "-c", "sleep 1000 & echo; wait")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = out.Read(make([]byte, 1)) // the child is there
	family := Family(cmd.Process.Pid)
	for _, pid := range family {
		p, _ := os.FindProcess(pid)
		_ = p.Kill()
	}
	_ = cmd.Wait() // it was killed
	if len(family) != 2 || family[0] != cmd.Process.Pid || !slices.Contains(Family(os.Getpid()), os.Getpid()) {
		t.Errorf("process %d has the family %v", cmd.Process.Pid, family)
	}
}

func TestMemoryIsAtItsHighestNoLessThanNow(t *testing.T) {
	now, err1 := Memory(os.Getpid(), "VmRSS")
	highest, err2 := Memory(os.Getpid(), "VmHWM")
	if err1 != nil || err2 != nil || now <= 0.1 || highest < now {
		t.Errorf("now %v MB (%v), at most %v MB (%v)", now, err1, highest, err2)
	}
	if _, err := Memory(os.Getpid(), "VmNothing"); err == nil {
		t.Error("a figure that does not exist has a value")
	}
}

func TestRelayPassesEverythingOn(t *testing.T) {
	for _, file := range []string{"", t.TempDir() + "/relayed"} {
		r, err := StartRelay(file)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_ = WriteRepeatedly(r.In, make([]byte, 1000), 100_000) // too little shows below
			_ = r.In.CloseWrite()
		}()
		if n, err := Discard(r.Out); n != 100_000 || err != nil {
			t.Errorf("%d bytes came (%v)", n, err)
		}
		r.Stop()
		if file == "" {
			continue
		}
		if info, err := os.Stat(file); err != nil || info.Size() != 100_000 {
			t.Errorf("the file: %v, %v", info, err)
		}
	}
}

func TestFloorAnswersEachLineWhenItIsWritten(t *testing.T) {
	file := t.TempDir() + "/lines"
	f, err := StartFloor(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Stop()
	conn, err := net.Dial("tcp", f.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("a request\n")); err != nil {
		t.Fatal(err)
	}
	answers, sent := bufio.NewReader(conn), ""
	for n := 1; n <= 3; n++ {
		line := fmt.Sprintf("message %d\n", n)
		if _, err := conn.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
		if answer, err := answers.ReadString('\n'); err != nil || answer != fmt.Sprintf("+%d\n", n) {
			t.Fatalf("line %d is answered %q, %v", n, answer, err)
		}
		sent += line
		if text, err := os.ReadFile(file); err != nil || string(text[:len(sent)]) != sent {
			t.Errorf("after line %d the file begins with %q, %v", n, text[:len(sent)], err)
		}
	}
}
