package fault

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// work is what bystanders want: messages a second in each protocol, 0 for as many as they can.
type work struct {
	lines, kafka, web float64
	http              bool // there is one of HTTP
}

// wanted is a steady rate that all clients have room for.
var wanted = work{lines: 1400, kafka: 300, web: 300, http: true}

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

// bystandHTTP publishes messages on one connection, and gets each back on another.
func (s *siege) bystandHTTP(stop <-chan struct{}) (tally, error) {
	l := newLedger(fmt.Sprintf("http%d", time.Now().UnixNano()))
	transport := &http.Transport{TLSClientConfig: brokertest.SecureClient(s.t, "")}
	defer transport.CloseIdleConnections()
	cl := &http.Client{Transport: transport}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	late := time.AfterFunc(patience, cancel)
	defer late.Stop()
	do := func(method, path, body string) (*http.Response, error) {
		late.Reset(patience)
		req, err := http.NewRequestWithContext(ctx, method, "https://"+s.HTTP()+"/topics/"+l.topic+path, strings.NewReader(body))
		if err != nil {
			return nil, err
		}
		req.SetBasicAuth(friend, friendPassword)
		resp, err := cl.Do(req)
		if err == nil && resp.StatusCode/100 != 2 {
			resp.Body.Close()
			err = errors.New(resp.Status)
		}
		return resp, err
	}
	resp, err := do("GET", "/messages?follow&from=beginning", "")
	if err != nil {
		return tally{}, fmt.Errorf("following: %w", err)
	}
	defer resp.Body.Close()
	followed := bufio.NewReader(resp.Body)
	var read []string
	pace := newSteadiness(s.work.web)
	for round := 0; round == 0 || !closed(stop); round++ {
		pace.await(round)
		number := l.send("p", min(round, 1)-1)
		resp, err := do("POST", "", l.message("p", number, round*1009%9000))
		if err != nil {
			return l.judge(read), fmt.Errorf("round %d: publishing: %w", round, err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		l.acknowledge("p", number)
		text, err := followed.ReadString('\n')
		if err != nil {
			return l.judge(read), fmt.Errorf("round %d: reading: %w", round, err)
		}
		read = append(read, strings.TrimSuffix(text, "\n"))
		s.came.web.Add(1)
	}
	return l.judge(read), nil
}

// progress is how many messages have come back to bystanders, by protocol.
type progress struct{ lines, kafka, web atomic.Int64 }

// rates are messages a second.
type rates struct{ lines, kafka, web float64 }

func (r rates) sum() float64 { return r.lines + r.kafka + r.web }

func (r rates) String() string {
	return fmt.Sprintf("%.0f a second (lines %.0f, Kafka %.0f, HTTP %.0f)", r.sum(), r.lines, r.kafka, r.web)
}

// rates measures those of bystanders, who work already.
func (s *siege) rates(d time.Duration) rates {
	begun := time.Now()
	lines, kafka, web := s.came.lines.Load(), s.came.kafka.Load(), s.came.web.Load()
	time.Sleep(d)
	took := time.Since(begun).Seconds()
	return rates{float64(s.came.lines.Load()-lines) / took, float64(s.came.kafka.Load()-kafka) / took, float64(s.came.web.Load()-web) / took}
}

// workOn has bystanders work, and calls f when messages of each have come back.
func (s *siege) workOn(t *testing.T, w work, f func()) tally {
	t.Helper()
	s.work = w
	lines, kafka, web := s.came.lines.Load(), s.came.kafka.Load(), s.came.web.Load()
	c := s.bystand(func() {
		eventually(t, "all work", func() bool {
			return s.came.lines.Load() > lines && s.came.kafka.Load() > kafka && s.came.web.Load() > web
		})
		f()
	})
	c.mustKeep(t)
	s.work = work{}
	return c
}

// measureHostile is the long run of F50. Hostile clients are a process of their own, working ones are this one, and all of
// them and the broker share the processors.
func measureHostile(t *testing.T) {
	s := stranger.besiege(t)
	s.mustStaySmall(t, hostileMemory, func() {
		before, under, after := s.ratesUnderAttack(t, wanted, *hostileFor)
		t.Logf("of the messages that working clients want, %v come without an attack, %v with it, and %v then", before, under, after)
		// Clients that were late catch up, and have more than they want for a while.
		for _, kept := range []float64{
			under.lines / min(before.lines, wanted.lines), under.kafka / min(before.kafka, wanted.kafka), under.web / min(before.web, wanted.web),
		} {
			if kept < keptRate {
				t.Errorf("working clients keep %.2f of their rate, not %v", kept, keptRate)
			}
		}
	})
	before, under, after := s.ratesUnderAttack(t, work{http: true}, *hostileFor/10)
	t.Logf("as many messages as they can: %v without an attack, %v with it, and %v then", before, under, after)
	s.end(t)
}

// ratesUnderAttack measures the rates of bystanders, whose connections are open before, while an attack goes on.
func (s *siege) ratesUnderAttack(t *testing.T, w work, d time.Duration) (before, under, after rates) {
	t.Helper()
	runs := 0
	c := s.workOn(t, w, func() {
		s.rates(time.Second) // fills pools
		before = s.rates(d / 10)
		h := beginHostiles(t, s)
		begun, broker, hostile, own := time.Now(), processorTime(t, s.Pid()), processorTime(t, h.cmd.Process.Pid), processorTime(t, os.Getpid())
		under = s.rates(d)
		took := time.Since(begun).Seconds()
		t.Logf("of a processor, the broker took %.2f, hostile clients %.2f, working ones %.2f", (processorTime(t, s.Pid())-broker).Seconds()/took,
			(processorTime(t, h.cmd.Process.Pid)-hostile).Seconds()/took, (processorTime(t, os.Getpid())-own).Seconds()/took)
		s.mustGetIn(t)
		sent, what := h.end()
		runs = sent
		t.Logf("%.0f hostile connections a second; done of those made: %s", float64(sent)/time.Since(begun).Seconds(), what)
		after = s.rates(d / 10)
	})
	c.Runs = runs
	report(t, c)
	return before, under, after
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

func beginHostiles(t *testing.T, s *siege) *hostileProcess {
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

// end gives the number of connections, and what came of them.
func (h *hostileProcess) end() (n int, what string) {
	h.in.Close()
	line := h.line()
	number, what, _ := strings.Cut(line, " ")
	n, err := strconv.Atoi(number)
	if err != nil {
		h.t.Fatal(line)
	}
	return n, what
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
	f, err := newFlood(ports)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		f.stop.Store(true)
	}()
	fmt.Println("begun")
	f.run(1<<62, hostilePace, kindOf)
	fmt.Println(f.sum(), f)
}
