package fault

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"mbus/test/brokertest"
)

// A siege is a broker that is attacked while bystanders work on it, and what it
// was like before.
type siege struct {
	*brokertest.Broker
	t     testing.TB
	over  transport
	work  work
	came  progress
	full  bool // the broker has fewer places than there are hostile clients
	files int  // open before
}

// besiege is the transport's besiege without TLS.
func besiege(t *testing.T, flags ...string) *siege {
	t.Helper()
	return plain.besiege(t, flags...)
}

// besiege starts a broker, lets the bystanders warm it up, and takes its measure.
func (over transport) besiege(t testing.TB, flags ...string) *siege {
	t.Helper()
	s := &siege{Broker: over.start(t, flags...), t: t, over: over}
	s.Publish("much", strings.Repeat("x", 100<<10)) // the first sync in the background opens a file for all
	s.files = s.openFiles()
	s.bystand(func() {}).mustKeep(t) // fills pools
	s.mustLetGo(t)
	return s
}

// attack runs f while bystanders work. Afterwards the broker must have taken no
// more memory at its peak than allowed, in bytes, hold no file that it did not
// hold before, and the bystanders must have lost nothing.
func (s *siege) attack(t *testing.T, allowed int64, f func()) {
	t.Helper()
	s.mustStaySmall(t, allowed, func() {
		c := s.bystand(f)
		report(t, c)
		c.mustKeep(t)
		if c.Duplicates > 0 {
			t.Errorf("%+v", c)
		}
		t.Logf("%d messages of bystanders", c.Read)
	})
}

// mustStaySmall is attack without bystanders.
func (s *siege) mustStaySmall(t *testing.T, allowed int64, f func()) {
	t.Helper()
	s.resetPeak()
	before := s.memory("VmRSS")
	f()
	s.mustLetGo(t)
	took := s.memory("VmHWM") - before
	t.Logf("%d MiB at the peak beyond %d MiB", took>>20, before>>20)
	if allowed = memoryOf(allowed); took > allowed {
		t.Errorf("the broker took %d KiB more than before, not %d at most", took>>10, allowed>>10)
	}
}

// memoryOf is what the broker may take where it would take n bytes without the
// race detector, which multiplies it.
func memoryOf(n int64) int64 {
	if brokertest.Race {
		return 10 * n
	}
	return n
}

// mustLetGo fails the test unless the broker closes what it did not have open
// before.
func (s *siege) mustLetGo(t testing.TB) {
	t.Helper()
	eventually(t, "the broker closes its connections", func() bool { return s.openFiles() <= s.files })
}

// end fails the test if the broker has more goroutines than an idle one. It asks
// for their stacks, which ends the broker.
func (s *siege) end(t *testing.T) {
	t.Helper()
	s.mustLetGo(t)
	if t.Failed() {
		return // what the broker has said so far is of more use
	}
	brokertest.AwaitRest(t, s.Pid()) // goroutines that have closed their connections may not have ended
	if err := syscall.Kill(s.Pid(), syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	_ = s.Wait() // SIGQUIT is a failure
	// A few for each port, retention, delayed messages, users, signals, and the runtime's.
	if n := len(stackOf.FindAllString(s.Output(), -1)); n == 0 || n > idleGoroutines {
		t.Errorf("the broker has %d goroutines, not 1 to %d:\n%s", n, idleGoroutines, s.Output())
	}
}

// stackOf finds goroutines, but not those of the garbage collector, one for each
// processor.
var stackOf = regexp.MustCompile(`(?m)^goroutine \d+ .*\[(?:[^G]|G[^C])`)

const idleGoroutines = 24

// openFiles counts the broker's file descriptors. Those of topics come and go as
// the log likes and don't count.
func (s *siege) openFiles() (n int) {
	s.t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", s.Pid())
	entries, err := os.ReadDir(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && !strings.HasPrefix(target, s.Data) {
			n++
		}
	}
	return n
}

// memory is a figure of the broker's /proc/PID/status, in bytes.
func (s *siege) memory(figure string) int64 {
	s.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Pid()))
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == figure+":" {
			n, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				s.t.Fatal(err)
			}
			return n << 10
		}
	}
	s.t.Fatalf("no %s in %s", figure, text)
	return 0
}

// resetPeak has VmHWM begin again: proc(5), clear_refs.
func (s *siege) resetPeak() {
	s.t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.Pid()), []byte("5"), 0); err != nil {
		s.t.Fatal(err)
	}
}

// patience bounds waits for what must happen.
const patience = time.Minute

// eventually waits for a condition that nothing announces.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// bystand publishes and consumes with both protocols while f runs, and judges
// what came through. Each message must have come back before the next ones go.
func (s *siege) bystand(f func()) (c tally) {
	stop := make(chan struct{})
	var both sync.WaitGroup
	stands := []func(*siege, <-chan struct{}) (tally, error){(*siege).bystandLines, (*siege).bystandKafka}
	if s.work.http {
		stands = append(stands, (*siege).bystandHTTP)
	}
	results := make(chan tally, len(stands))
	for _, stand := range stands {
		both.Go(func() {
			c, err := stand(s, stop)
			if err != nil {
				s.t.Errorf("a bystander was harmed: %v", err)
			}
			results <- c
		})
	}
	f()
	close(stop)
	both.Wait()
	for range stands {
		c.add(<-results)
	}
	c.Runs = 1
	return c
}

// bystandLines is a publisher and a follower of the line protocol.
func (s *siege) bystandLines(stop <-chan struct{}) (tally, error) {
	l := newLedger(fmt.Sprintf("lines%d", time.Now().UnixNano()))
	producer, err := s.dialFriend(s.Producers(), l.topic)
	if err != nil {
		return tally{}, err
	}
	defer producer.Close()
	follower, err := s.dialFriend(s.Consumers(), l.topic+"?follow&from=beginning")
	if err != nil {
		return tally{}, err
	}
	defer follower.reset()
	var read []string
	first := -1
	pace := newSteadiness(s.work.lines)
	for round := 0; round == 0 || !closed(stop); round++ {
		pace.await(len(read))
		var burst strings.Builder
		n := 1 + round%20
		for i := range n {
			number := l.send("p", first)
			first = 0
			burst.WriteString(l.message("p", number, (round*37+i*1009)%9000) + "\n")
		}
		texts, err := exchange(producer, follower, burst.String(), len(read)+n, n)
		if err != nil {
			return l.judge(read), fmt.Errorf("round %d: %w", round, err)
		}
		for range n {
			l.acknowledge("p", len(read))
			read = append(read, texts[0])
			texts = texts[1:]
		}
		s.came.lines.Add(int64(n))
	}
	return l.judge(read), nil
}

// exchange publishes n messages, total with those before, and reads them back.
func exchange(producer, follower *lineConn, burst string, total, n int) (texts []string, err error) {
	if _, err := io.WriteString(producer, burst); err != nil {
		return nil, err
	}
	for answered := 0; answered < total; {
		line, err := producer.line()
		if err != nil {
			return nil, err
		}
		var ok bool
		if answered, ok = count(line); !ok {
			return nil, errors.New(line)
		}
	}
	for range n {
		text, err := follower.line()
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	return texts, nil
}

// bystandKafka is a producer and a consumer of the Kafka protocol.
func (s *siege) bystandKafka(stop <-chan struct{}) (tally, error) {
	l := newLedger(fmt.Sprintf("kafka%d", time.Now().UnixNano()))
	cl, err := kgo.NewClient(append(s.friendOfKafka(), kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic(l.topic),
		kgo.ConsumeTopics(l.topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(time.Second),
		kgo.MetadataMinAge(10*time.Millisecond), kgo.ProducerBatchCompression(kgo.NoCompression()))...)
	if err != nil {
		return tally{}, err
	}
	defer cl.Close()
	var read []string
	pace := newSteadiness(s.work.kafka)
	for round := 0; round == 0 || !closed(stop); round++ {
		pace.await(round)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		number := l.send("p", min(round, 1)-1)
		record := kgo.StringRecord(l.message("p", number, round*1009%9000))
		if err := cl.ProduceSync(ctx, record).FirstErr(); err != nil {
			cancel()
			return l.judge(read), fmt.Errorf("round %d: producing: %w", round, err)
		}
		l.acknowledge("p", number)
		for len(read) <= number {
			fetches := cl.PollFetches(ctx)
			if err := fetches.Err(); err != nil {
				cancel()
				return l.judge(read), fmt.Errorf("round %d: fetching: %w", round, err)
			}
			fetches.EachRecord(func(r *kgo.Record) { read = append(read, string(r.Value)) })
		}
		s.came.kafka.Add(1)
		cancel()
	}
	return l.judge(read), nil
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// A lineConn is a connection that is read line by line; each read and write may
// take as long as patience.
type lineConn struct {
	net.Conn
	reader *bufio.Reader
}

func dialLine(address, request string) (*lineConn, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return newLineConn(conn, request)
}

func newLineConn(conn net.Conn, request string) (*lineConn, error) {
	c := &lineConn{conn, bufio.NewReader(conn)}
	if _, err := io.WriteString(c, request+"\n"); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

func (c *lineConn) Write(p []byte) (int, error) {
	c.SetWriteDeadline(time.Now().Add(patience))
	return c.Conn.Write(p)
}

// reset has the broker see at once that a follower is gone: after a FIN the client
// may go on reading, and silence tells nothing else for a minute or so.
func (c *lineConn) reset() {
	c.Conn.(rough).SetLinger(0)
	c.Close()
}

func (c *lineConn) line() (string, error) {
	c.SetReadDeadline(time.Now().Add(patience))
	line, err := c.reader.ReadString('\n')
	return strings.TrimSuffix(line, "\n"), err
}

// A port is one of those that a broker listens on.
type port struct{ name, address string }

func (s *siege) ports() []port {
	return []port{{"producers", s.Producers()}, {"consumers", s.Consumers()}, {"kafka", s.Kafka()}}
}

// httpPort is the port on which most of the others' attacks are good requests.
func (s *siege) httpPort() port { return port{"http", s.HTTP()} }

// converse sends all and closes its sending side, then gives what was answered
// up to the end of the connection. Any goroutine may call it.
func (s *siege) converse(address string, sent []byte) (answer string, err error) {
	conn, err := s.dialFrom(0, address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	go func() {
		conn.Write(sent) // fails when the broker has seen enough
		conn.CloseWrite()
	}()
	p, err := io.ReadAll(conn)
	if errors.Is(err, syscall.ECONNRESET) {
		err = nil // it is an answer, too
	}
	return string(p), err
}

// deniedAnswer is what a client gets that has not logged in.
var deniedAnswer = regexp.MustCompile(`^(-DENIED [^\r\n]*\n|HTTP/1\.1 401 )`)

// lineAnswer is all that a producer may be answered with.
var lineAnswer = regexp.MustCompile(`^(\+[0-9]+\n)*(-[A-Z]+ [^\r\n]*\n)?$`)

// sideBySide calls f with 0 to n-1, so many at the same time.
func sideBySide(n, atOnce int, f func(i int)) {
	numbers := make(chan int)
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			for i := range numbers {
				f(i)
			}
		})
	}
	for i := range n {
		numbers <- i
	}
	close(numbers)
	workers.Wait()
}

// The checks of a siege must not be blind themselves.
func TestSiegeSeesWhatIsLeftBehind(t *testing.T) {
	s := besiege(t)
	conn := brokertest.Dial(t, s.Producers(), "orders\nmessage\n")
	brokertest.ReadLine(t, bufio.NewReader(conn))
	if s.openFiles() <= s.files {
		t.Error("a connection is not seen")
	}
	conn.Close()
	s.mustLetGo(t)
	s.end(t)
}
