package fault

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"mbus/test/brokertest"
)

// Injected: SIGSTOP while publishers and consumers work, more than the sockets
// hold sent meanwhile, then SIGCONT. Expected: all go on over the connections they
// have, nothing is lost and nothing comes twice.
func TestF21StoppedAndContinued(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	l := newLedger("load")
	publishTo(l, b, 1, 1)
	f, worker := follow(t, b, "load"), newOneByOne(t, b, "load", "one")
	worker.next()
	loads := newLoads(l, b, 4)
	for i := range runs(3, 100) {
		loads.await(t, 500)
		signal(t, b, syscall.SIGSTOP)
		await(t, "the broker stands still", func() bool { return processState(t, b.Pid()) == "T" })
		stalled := l.stall(t, b, fmt.Sprintf("stalled%d", i))
		signal(t, b, syscall.SIGCONT)
		worker.next()
		stalled()
	}
	loads.await(t, 500)
	if answers := loads.end(); strings.Join(answers, "") != "" {
		t.Errorf("publishers were answered %q", answers)
	}
	read := lines(b.Drain("load?from=beginning"))
	await(t, "the follower has seen all", func() bool { return len(f.sights()) >= len(read) })
	worker.next()
	c := l.judge(read)
	report(t, c)
	c.mustKeep(t)
	l.mustAnswer(t, b)
	if n := len(f.sights()); n != len(read) || f.vanished(read) > 0 || c.Duplicates > 0 {
		t.Errorf("the follower has seen %d messages of %d, %d twice", n, len(read), c.Duplicates)
	}
	b.Stop()
}

// stall sends messages to a broker that stands still, more than the sockets take.
// finish waits until they are acknowledged.
func (l *ledger) stall(t *testing.T, b *brokertest.Broker, publisher string) (finish func()) {
	t.Helper()
	const n = 100
	conn := brokertest.Dial(t, b.Producers(), l.topic+"\n")
	first := l.send(publisher, -1)
	for range n - 1 {
		l.send(publisher, first)
	}
	sent := make(chan error, 1)
	go func() {
		var err error
		for i := 0; err == nil && i < n; i++ { // 10 MB
			_, err = io.WriteString(conn, l.message(publisher, first+i, 100_000)+"\n")
		}
		conn.CloseWrite()
		sent <- err
	}()
	return func() {
		t.Helper()
		err := <-sent
		answers, readErr := io.ReadAll(conn)
		if last := brokertest.LastLine(string(answers)); last != fmt.Sprintf("+%d", n) || err != nil || readErr != nil {
			t.Errorf("the publisher that was stalled was answered %q: %v, %v", last, err, readErr)
			return
		}
		for i := range n {
			l.acknowledge(publisher, first+i)
		}
	}
}

// Injected: SIGTERM under load. Expected: the broker ends in good order, each
// publisher gets an error or reads the end, and nothing acknowledged is lost.
func TestF21TerminatedUnderLoad(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	l := newLedger("load")
	for range runs(1, 100) {
		loads := newLoads(l, b, 8)
		f := follow(t, b, "load")
		newOneByOne(t, b, "load", "one").next()
		loads.await(t, 1000)
		b.Stop()
		for i, answer := range loads.end() {
			if answer != "" && !strings.HasPrefix(answer, "-SHUTDOWN ") {
				t.Errorf("publisher %d was answered %q", i, answer)
			}
		}
		<-f.end
		b.Restart()
		read := lines(b.Drain("load?from=beginning"))
		c := l.judge(read)
		report(t, tally{Runs: 1})
		c.mustKeep(t)
		if n := f.vanished(read); n > 0 || c.Duplicates > 0 {
			t.Errorf("%d messages that were shown have vanished, %d come twice", n, c.Duplicates)
		}
	}
	c := l.judge(lines(b.Drain("load?from=beginning")))
	c.Runs = 0
	report(t, c)
}

// Injected: a second broker on the directory, while the first works, and several
// at once after a kill. Expected: the second says whose it is and ends without
// touching it, and of those at once exactly one remains.
func TestF21SecondBrokerOnTheDirectory(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	l := newLedger("load")
	loads := newLoads(l, b, 2)
	loads.await(t, 500)
	for range runs(3, 50) {
		_, err := brokertest.Launch("", brokertest.Program(t, "broker"), "-pport", "0", "-cport", "0", "-kport", "0", "-hport", "0", "-data", b.Data)
		if want := fmt.Sprintf("in use by process %d", b.Pid()); err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("a second broker: %v", err)
		}
	}
	loads.await(t, 500)
	b.Kill()
	loads.end()

	var mu sync.Mutex
	var alive []*brokertest.Process
	var starting sync.WaitGroup
	for range 5 {
		starting.Go(func() {
			p, err := brokertest.Launch("", brokertest.Program(t, "broker"), "-pport", "0", "-cport", "0", "-kport", "0", "-hport", "0", "-data", b.Data)
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				alive = append(alive, p)
			}
		})
	}
	starting.Wait()
	if len(alive) != 1 {
		t.Errorf("%d brokers are on one directory", len(alive))
	}
	for _, p := range alive {
		p.Kill()
	}
	b.Restart()
	c := l.judge(lines(b.Drain("load?from=beginning")))
	report(t, c)
	c.mustKeep(t)
	l.mustAnswer(t, b)
}

func signal(t *testing.T, b *brokertest.Broker, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(b.Pid(), s); err != nil {
		t.Fatal(err)
	}
}

// processState is that of a process, as proc_pid_stat(5) has it.
func processState(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(text[strings.LastIndexByte(string(text), ')'):]))[1]
}

// Loads are publishers at work.
type loads struct {
	stop    chan struct{}
	working sync.WaitGroup
	answers []string // the last one of each, once it has ended

	mu    sync.Mutex // guards acked
	acked int
}

func newLoads(l *ledger, b *brokertest.Broker, n int) *loads {
	s := &loads{stop: make(chan struct{}), answers: make([]string, n)}
	address := b.Producers()
	for i := range n {
		last := 0
		s.working.Go(func() {
			s.answers[i] = l.publish(address, name(i), rand.New(rand.NewPCG(1, uint64(i))), s.stop, func(n int) {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.acked += n - last
				last = n
			})
		})
	}
	return s
}

func (s *loads) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acked
}

// await waits until so many messages more are acknowledged.
func (s *loads) await(t *testing.T, more int) {
	t.Helper()
	want := s.count() + more
	await(t, "messages are acknowledged", func() bool { return s.count() >= want })
}

// end has the publishers end in good order and gives the last answer of each.
func (s *loads) end() []string {
	close(s.stop)
	s.working.Wait()
	return s.answers
}
