package mbus

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/kafka"
	"mbus/internal/line"
	"mbus/internal/store"
	"mbus/internal/web"
)

// A trace notes which functions of mbus lead to the log.
type trace struct {
	store.Store
	mu     sync.Mutex // guards what follows
	writes [][]string
	reads  [][]string
}

func (w *trace) Partition(topic string, number int) (store.Partition, error) {
	p, err := w.Store.Partition(topic, number)
	if err != nil {
		return nil, err
	}
	return tracedPartition{p, w}, nil
}

// take takes what was noted.
func (w *trace) take() (writes, reads [][]string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	writes, reads = w.writes, w.reads
	w.writes, w.reads = nil, nil
	return writes, reads
}

type tracedPartition struct {
	store.Partition
	trace *trace
}

func (p tracedPartition) Write(batches []byte, done func(int64, error)) (store.Lead, error) {
	p.trace.mu.Lock()
	p.trace.writes = append(p.trace.writes, ownStack())
	p.trace.mu.Unlock()
	return p.Partition.Write(batches, done)
}

func (p tracedPartition) Read(offset int64, maxBytes int, c *store.Chunk) error {
	p.trace.mu.Lock()
	p.trace.reads = append(p.trace.reads, ownStack())
	p.trace.mu.Unlock()
	return p.Partition.Read(offset, maxBytes, c)
}

// ownStack is the functions of mbus that have been called, the innermost last.
func ownStack() (names []string) {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		names = appendOwn(names, f.Function)
	}
	slices.Reverse(names)
	return names
}

// pointer is how the runtime writes the receiver of a method.
var pointer = regexp.MustCompile(`\(\*(\w+)\)`)

// appendOwn adds a function as DESIGN.md names it, if it is of a package between the
// connection and the log.
func appendOwn(names []string, function string) []string {
	name, own := strings.CutPrefix(function, "mbus/internal/")
	if !own || strings.HasPrefix(name, "tcpserver.") {
		return names
	}
	return append(names, pointer.ReplaceAllString(name, "$1"))
}

// blockedStacks are the functions of mbus in each goroutine, the innermost last.
func blockedStacks() (all [][]string) {
	p := make([]byte, 4<<20)
	for g := range strings.SplitSeq(string(p[:runtime.Stack(p, true)]), "\n\n") {
		var names []string
		for l := range strings.Lines(g) {
			if i := strings.LastIndexByte(l, '('); i > 0 && !strings.HasPrefix(l, "created by") {
				names = appendOwn(names, l[:i])
			}
		}
		slices.Reverse(names)
		all = append(all, names)
	}
	return all
}

// ways are the lists of functions in DESIGN.md, by their titles.
func ways(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]string)
	for _, m := range regexp.MustCompile(`(?m)^- ((?:In|Read|Out), (?:lines|Kafka|HTTP|HTTP lines|lines and HTTP)):((?:\s*`+"`[\\w.]+`"+`,?)+)`).FindAllStringSubmatch(string(text), -1) {
		for _, name := range regexp.MustCompile("`([\\w.]+)`").FindAllStringSubmatch(m[2], -1) {
			all[m[1]] = append(all[m[1]], name[1])
		}
	}
	return all
}

// passes says whether a stack has the functions of a way one behind the other.
func passes(stack, way []string) bool {
	for i := range stack {
		if endsWith(stack[:i+1], way) {
			return true
		}
	}
	return false
}

// endsWith says whether the innermost functions of a stack are those of a way.
func endsWith(stack, way []string) bool {
	return len(stack) >= len(way) && slices.Equal(stack[len(stack)-len(way):], way)
}

// A message passes through the functions that DESIGN.md names, and no others.
func TestTheWayOfAMessage(t *testing.T) {
	all := ways(t)
	for title, most := range map[string]int{"In, lines": 6, "In, Kafka": 6, "Read, lines and HTTP": 5, "Out, lines": 5, "Read, Kafka": 5, "Out, Kafka": 5, "In, HTTP": 5, "In, HTTP lines": 7, "Out, HTTP": 5} {
		if n := len(all[title]); n == 0 || n > most {
			t.Fatalf("%s: DESIGN.md names %d functions, 1 to %d are meant to be", title, n, most)
		}
	}
	must := func(title string, stacks [][]string) {
		t.Helper()
		for _, s := range stacks {
			if !endsWith(s, all[title]) {
				t.Errorf("%s: the way is\n%s\nand DESIGN.md has\n%s", title, strings.Join(s, "\n"), strings.Join(all[title], "\n"))
			}
		}
		if len(stacks) == 0 {
			t.Errorf("%s: nothing came", title)
		}
	}
	w := newTraced(t)
	big := strings.Repeat(strings.Repeat("x", 1000)+"\n", 20_000)

	if got := w.ask(t, w.producers, "orders\nfirst\n"); got != "+1\n" {
		t.Fatalf("the producer got %q", got)
	}
	writes, _ := w.take()
	must("In, lines", writes)
	if got := w.ask(t, w.consumers, "orders?from=0\n"); got != "first\n" {
		t.Fatalf("the consumer got %q", got)
	}
	_, reads := w.take()
	must("Read, lines and HTTP", reads)

	w.kafka(t)
	writes, reads = w.take()
	must("In, Kafka", writes)
	must("Read, Kafka", slices.DeleteFunc(reads, func(s []string) bool { return slices.Contains(s, "broker.sequences.load") })) // once after a start

	const httpRequest = "%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\nContent-Type: text/plain%s\r\n\r\n%s"
	w.ask(t, w.http, fmt.Sprintf(httpRequest, "POST /topics/orders", 5, "", "third"))
	writes, _ = w.take()
	must("In, HTTP", writes)
	w.ask(t, w.http, fmt.Sprintf(httpRequest, "POST /topics/orders", 7, ";lines", "fourth\n"))
	writes, _ = w.take()
	must("In, HTTP lines", writes)
	if got := w.ask(t, w.http, fmt.Sprintf(httpRequest, "GET /topics/orders/messages?from=3", 0, "", "")); !strings.Contains(got, "\nfourth\n") {
		t.Fatalf("the client of HTTP got %q", got)
	}
	_, reads = w.take()
	must("Read, lines and HTTP", reads)

	w.ask(t, w.producers, "big\n"+big)
	stalled := w.dial(t, w.consumers, []byte("big?from=0\n"))
	defer stalled.Close()
	mustBlock(t, "Out, lines", all["Out, lines"])
	stuck := w.dial(t, w.http, fmt.Appendf(nil, httpRequest, "GET /topics/big/messages?from=0", 0, "", ""))
	defer stuck.Close()
	mustBlock(t, "Out, HTTP", all["Out, HTTP"])
	fetching := w.dial(t, w.kafkas, bytesOf(fetchBig(), 20))
	defer fetching.Close()
	mustBlock(t, "Out, Kafka", all["Out, Kafka"])
}

// mustBlock waits until a goroutine is at the end of a way: its client does not read.
func mustBlock(t *testing.T, title string, way []string) {
	t.Helper()
	var seen [][]string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		seen = blockedStacks()
		if slices.ContainsFunc(seen, func(s []string) bool { return passes(s, way) }) {
			return
		}
	}
	t.Errorf("%s: no goroutine writes by way of\n%s\nbut there are", title, strings.Join(way, "\n"))
	for _, s := range seen {
		if len(s) > 0 {
			t.Log(strings.Join(s, "\n"))
		}
	}
}

// A traced is a broker with its ports.
type traced struct {
	*trace
	producers, consumers, kafkas, http string // addresses
}

func newTraced(t *testing.T) *traced {
	t.Helper()
	s, err := commitlog.Open(t.TempDir(), commitlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &traced{trace: &trace{Store: s}}
	b, err := broker.New(w.trace, broker.Options{Limits: broker.DefaultLimits()})
	if err != nil {
		t.Fatal(err)
	}
	lines, fetches, pages := line.NewServer(b), kafka.NewServer(b, kafka.Options{}), web.NewServer(b, web.Options{})
	w.producers, w.consumers, w.kafkas, w.http = listen(t, lines.ServeProducers), listen(t, lines.ServeConsumers), listen(t, fetches.Serve), listen(t, pages.Serve)
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		lines.Stop(ended)
		fetches.Stop(ended)
		pages.Stop(ended)
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func listen(t *testing.T, serve func(net.Listener)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go serve(l)
	return l.Addr().String()
}

func (w *traced) dial(t *testing.T, address string, text []byte) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(text); err != nil {
		t.Fatal(err)
	}
	return c
}

// ask sends all of a request, and reads the response to its end.
func (w *traced) ask(t *testing.T, address, text string) string {
	t.Helper()
	c := w.dial(t, address, []byte(text))
	defer c.Close()
	_ = c.(*net.TCPConn).CloseWrite()
	p, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(p)
}

// kafka produces a message, and fetches it.
func (w *traced) kafka(t *testing.T) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.kafkas), kgo.DefaultProduceTopic("orders"), kgo.ConsumeTopics("orders"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := cl.ProduceSync(ctx, kgo.StringRecord("second")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := cl.PollFetches(ctx).Err(); err != nil {
		t.Fatal(err)
	}
}

// fetchBig asks for as much as it gets.
func fetchBig() kmsg.Request {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxBytes = 11, 4<<20
	p := kmsg.NewFetchRequestTopicPartition()
	p.PartitionMaxBytes, p.CurrentLeaderEpoch = 4<<20, -1
	req.Topics = []kmsg.FetchRequestTopic{{Topic: "big", Partitions: []kmsg.FetchRequestTopicPartition{p}}}
	return req
}

// bytesOf is a request n times, as it is on the wire.
func bytesOf(req kmsg.Request, n int) (all []byte) {
	for i := range n {
		p := binary.BigEndian.AppendUint16(make([]byte, 4), uint16(req.Key()))
		p = binary.BigEndian.AppendUint16(p, uint16(req.GetVersion()))
		p = binary.BigEndian.AppendUint32(p, uint32(i))
		p = req.AppendTo(append(p, 0, 0))
		binary.BigEndian.PutUint32(p, uint32(len(p)-4))
		all = append(all, p...)
	}
	return all
}
