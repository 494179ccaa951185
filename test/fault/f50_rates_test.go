package fault

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mbus/test/brokertest"
)

// work is what bystanders want: messages a second in each protocol, 0 for as many as they can.
type work struct {
	lines, kafka, web float64
	http              bool // there is one of HTTP
}

// wanted is a steady rate that all clients have room for.
var wanted = work{lines: 1400, kafka: 300, web: 300, http: true}

func (w work) sum() float64 { return w.lines + w.kafka + w.web }

// A steadiness holds up a bystander that is ahead of its rate.
type steadiness struct {
	begun time.Time
	rate  float64
}

func newSteadiness(rate float64) steadiness { return steadiness{time.Now(), rate} }

// await waits until another message is due behind n.
func (s steadiness) await(n int) {
	if s.rate > 0 {
		time.Sleep(time.Until(s.begun.Add(time.Duration(float64(n) / s.rate * float64(time.Second)))))
	}
}

// bystandHTTP publishes a message and reads it by its offset, again and again.
func (s *siege) bystandHTTP(stop <-chan struct{}) (tally, error) {
	l := newLedger(fmt.Sprintf("http%d", time.Now().UnixNano()))
	transport := &http.Transport{TLSClientConfig: brokertest.SecureClient(s.t, "")}
	defer transport.CloseIdleConnections()
	cl := &http.Client{Transport: transport, Timeout: patience}
	do := func(method, path, body string) (string, error) {
		req, err := http.NewRequest(method, "https://"+s.HTTP()+"/topics/"+l.topic+path, strings.NewReader(body))
		if err != nil {
			return "", err
		}
		req.SetBasicAuth(friend, friendPassword)
		resp, err := cl.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		p, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode/100 != 2 {
			err = fmt.Errorf("%s: %s", resp.Status, p)
		}
		return string(p), err
	}
	var read []string
	pace := newSteadiness(s.work.web)
	for round := 0; round == 0 || !closed(stop); round++ {
		pace.await(round)
		number := l.send("p", min(round, 1)-1)
		if _, err := do("POST", "", l.message("p", number, round*1009%9000)); err != nil {
			return l.judge(read), fmt.Errorf("round %d: publishing: %w", round, err)
		}
		l.acknowledge("p", number)
		text, err := do("GET", fmt.Sprintf("/messages?n=1&from=%d", number), "")
		if err != nil {
			return l.judge(read), fmt.Errorf("round %d: reading: %w", round, err)
		}
		read = append(read, strings.TrimSuffix(text, "\n"))
	}
	return l.judge(read), nil
}

// measureHostile is the long run of F50. Hostile clients are a process of their own on the last processor; the broker and
// its working clients have the others, also while nobody attacks: so the clients' time is not what is measured.
func measureHostile(t *testing.T) {
	last := runtime.NumCPU() - 1
	if last < 1 {
		t.Skip("there is one processor only")
	}
	var others []int
	for i := range last {
		others = append(others, i)
	}
	pin(t, os.Getpid(), others...)
	t.Cleanup(func() { pin(t, os.Getpid(), append(others, last)...) })
	s := stranger.besiege(t)
	s.measure(t, *hostileFor/40) // fills pools
	before := s.measure(t, *hostileFor/10)
	var under rates
	s.mustStaySmall(t, hostileMemory, func() {
		h := beginHostiles(t, s, last)
		begun, spent := time.Now(), processorTime(t, s.Pid())
		under = s.measure(t, *hostileFor)
		took, spent := time.Since(begun), processorTime(t, s.Pid())-spent
		s.mustGetIn(t)
		sent := h.end()
		under.tally.Runs = int(sent)
		t.Logf("%.0f hostile connections a second; the broker took %.2f of a processor", sent/time.Since(begun).Seconds(), spent.Seconds()/took.Seconds())
	})
	report(t, under.tally)
	after := s.measure(t, *hostileFor/10)
	steady, most := before.mean(after)
	t.Logf("working clients want %.0f messages a second: %.2f of them come, %.2f without an attack", wanted.sum(), under.steady/wanted.sum(), steady/wanted.sum())
	t.Logf("at most they can do %.0f messages a second, without an attack %.0f: they keep %.2f", under.most, most, under.most/most)
	if kept := under.steady / steady; kept < keptRate {
		t.Errorf("working clients keep %.2f of their rate, not %v", kept, keptRate)
	}
	s.end(t)
}

// rates are those of the bystanders, in messages a second.
type rates struct {
	steady float64 // where they want so many
	most   float64 // where they do as many as they can
	tally  tally
}

func (r rates) mean(q rates) (steady, most float64) {
	return (r.steady + q.steady) / 2, (r.most + q.most) / 2
}

// measure measures both, for half of the time each.
func (s *siege) measure(t *testing.T, d time.Duration) (r rates) {
	t.Helper()
	rate := func(w work) float64 {
		s.work = w
		begun := time.Now()
		c := s.bystand(func() { time.Sleep(d / 2) })
		c.mustKeep(t)
		r.tally.add(c)
		return float64(c.Read) / time.Since(begun).Seconds()
	}
	r.steady, r.most = rate(wanted), rate(work{http: true})
	s.work = work{}
	return r
}

// pin has the threads of a process, and those that they start, run on some processors only.
func pin(t *testing.T, pid int, processors ...int) {
	t.Helper()
	var set unix.CPUSet
	for _, p := range processors {
		set.Set(p)
	}
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil || len(threads) == 0 {
		t.Fatal(err, "no threads")
	}
	for _, path := range threads {
		id, err := strconv.Atoi(filepath.Base(path))
		if err == nil {
			err = unix.SchedSetaffinity(id, &set)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// hostilesVariable has the test program be hostile clients of the ports that it names.
const hostilesVariable = "MBUS_TEST_HOSTILES"

// A hostileProcess is that of hostile clients.
type hostileProcess struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.Closer
	out *bufio.Reader
}

func beginHostiles(t *testing.T, s *siege, processor int) *hostileProcess {
	t.Helper()
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var ports []string
	for _, p := range append(s.ports(), s.httpPort()) {
		ports = append(ports, p.name+"="+p.address)
	}
	cmd := exec.Command(own, "-test.run", "^TestHostileProcess$", "-test.timeout", "0")
	cmd.Env = append(os.Environ(), hostilesVariable+"="+strings.Join(ports, ","))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	h := &hostileProcess{t, cmd, in, bufio.NewReader(out)}
	pin(t, cmd.Process.Pid, processor)
	h.line() // it has begun
	return h
}

func (h *hostileProcess) line() string {
	line, err := h.out.ReadString('\n')
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.TrimSuffix(line, "\n")
}

// end gives the number of connections.
func (h *hostileProcess) end() float64 {
	h.in.Close()
	n, err := strconv.Atoi(h.line())
	if err != nil {
		h.t.Fatal(err)
	}
	return float64(n)
}

// It is hostile clients until its standard input ends, where measureHostile has started it.
func TestHostileProcess(t *testing.T) {
	var ports []port
	for text := range strings.SplitSeq(os.Getenv(hostilesVariable), ",") {
		if name, address, found := strings.Cut(text, "="); found {
			ports = append(ports, port{name, address})
		}
	}
	if len(ports) == 0 {
		t.Skip("it is for the long run of F50")
	}
	h := newHostiles(ports)
	go func() {
		io.Copy(io.Discard, os.Stdin)
		h.stop.Store(true)
	}()
	fmt.Println("begun")
	n := h.send(1<<62, hostilePace)
	h.gone.Wait()
	fmt.Println(n)
}
