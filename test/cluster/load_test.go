package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"mbus/test/brokertest"
)

// topics are several, because each has a leader of its own in the engine.
var topics = []string{"orders", "bills", "parcels"}

// patience bounds what one client does, such as waiting for an answer.
const patience = 5 * time.Second

// A load is clients that publish through all ways in, and consume, until it ends. A publisher never sends a message
// twice: what gets no answer stays uncertain.
type load struct {
	t       *testing.T
	cluster *brokertest.Cluster
	ctx     context.Context
	end     context.CancelFunc
	running sync.WaitGroup

	publishers []*publisher
	consumers  map[string]*consumer // by topic
}

// A publisher numbers its messages, and notes which were acknowledged, and when.
type publisher struct {
	name, topic string

	mu    sync.Mutex // guards what follows
	sent  int
	acked map[int]bool
	times []time.Time // of the acknowledgements
}

func (p *publisher) next() (n int, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent++
	return p.sent, fmt.Sprintf("%s %d", p.name, p.sent)
}

func (p *publisher) acknowledge(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.acked[n] = true
	p.times = append(p.times, time.Now())
}

// pause is the longest time without an acknowledgement from a moment on, and whether there was one after it.
func (p *publisher) pause(since time.Time) (longest time.Duration, over bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, _ := slices.BinarySearchFunc(p.times, since, time.Time.Compare)
	last := since
	for _, at := range p.times[i:] {
		longest, last = max(longest, at.Sub(last)), at
	}
	return max(longest, time.Since(last)), i+5 < len(p.times)
}

// startLoad has clients begin. Each knows the addresses of all nodes, and begins with another one.
func startLoad(t *testing.T, c *brokertest.Cluster) *load {
	t.Helper()
	l := &load{t: t, cluster: c, consumers: make(map[string]*consumer)}
	l.ctx, l.end = context.WithCancel(t.Context())
	for i := range c.Nodes {
		l.publish(fmt.Sprint("lines", i+1), i, l.asLines)
		l.publish(fmt.Sprint("http", i+1), i, l.asHTTP)
	}
	l.publish("kafka", 0, l.asKafka)
	for i, topic := range topics {
		l.consumers[topic] = &consumer{topic: topic, got: make(map[string]int)}
		l.running.Go(func() { l.consume(l.consumers[topic], i) })
	}
	return l
}

func (l *load) publish(name string, node int, by func(p *publisher, node int)) {
	p := &publisher{name: name, topic: topics[len(l.publishers)%len(topics)], acked: make(map[int]bool)}
	l.publishers = append(l.publishers, p)
	l.running.Go(func() {
		for ; l.ctx.Err() == nil; node++ { // the next one, after each error
			by(p, node%len(l.cluster.Nodes))
			sleep(l.ctx, 10*time.Millisecond)
		}
	})
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// dial connects, and closes with ctx, so that nothing waits longer.
func (l *load) dial(address string) (net.Conn, error) {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err == nil {
		context.AfterFunc(l.ctx, func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(10 * patience))
	}
	return conn, err
}

// asLines publishes one message after the other over one connection, until an error.
func (l *load) asLines(p *publisher, node int) {
	conn, err := l.dial(l.cluster.Nodes[node].Producers())
	if err != nil {
		return
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	io.WriteString(conn, p.topic+"\n")
	for count := 1; ; count++ {
		n, text := p.next()
		if _, err := io.WriteString(conn, text+"\n"); err != nil {
			return
		}
		conn.SetReadDeadline(time.Now().Add(patience))
		answer, err := answers.ReadString('\n')
		if err != nil || answer != fmt.Sprintf("+%d\n", count) {
			return
		}
		p.acknowledge(n)
	}
}

// asHTTP publishes one message after the other, until an error.
func (l *load) asHTTP(p *publisher, node int) {
	client := &http.Client{Timeout: patience}
	defer client.CloseIdleConnections()
	for {
		n, text := p.next()
		request, err := http.NewRequestWithContext(l.ctx, http.MethodPost, "http://"+l.cluster.Nodes[node].HTTP()+"/topics/"+p.topic, strings.NewReader(text))
		if err != nil {
			l.t.Error(err)
			return
		}
		answer, err := client.Do(request)
		if err != nil {
			return
		}
		_, err = io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode/100 != 2 {
			return
		}
		p.acknowledge(n)
	}
}

// asKafka publishes with an idempotent client, which tries again by itself.
func (l *load) asKafka(p *publisher, _ int) {
	var seeds []string
	for _, b := range l.cluster.Nodes {
		seeds = append(seeds, b.Kafka())
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.DefaultProduceTopic(p.topic), kgo.AllowAutoTopicCreation(),
		kgo.DialTimeout(time.Second), kgo.RetryTimeout(10*patience), kgo.ProduceRequestTimeout(patience), kgo.RequestTimeoutOverhead(time.Second), kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
		kgo.MetadataMinAge(100*time.Millisecond), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		l.t.Error(err)
		return
	}
	defer client.Close()
	for l.ctx.Err() == nil {
		n, text := p.next()
		if err := client.ProduceSync(l.ctx, kgo.StringRecord(text)).FirstErr(); err == nil {
			p.acknowledge(n)
		} else if !errors.Is(err, context.Canceled) {
			l.t.Logf("the Kafka client: %v", err)
		}
	}
}

// A consumer is of a group, and acknowledges each message.
type consumer struct {
	topic string

	mu  sync.Mutex // guards what follows
	got map[string]int
}

func (c *consumer) note(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got[text]++
}

// lacks says whether the consumer has not had all of these.
func (c *consumer) lacks(all []string) bool {
	return slices.ContainsFunc(all, func(text string) bool { return c.got[text] == 0 })
}

// consume follows the topic, from a node on on one after the other.
func (l *load) consume(c *consumer, node int) {
	for ; l.ctx.Err() == nil; node++ {
		conn, err := l.dial(l.cluster.Nodes[node%len(l.cluster.Nodes)].Consumers())
		if err != nil {
			sleep(l.ctx, 10*time.Millisecond)
			continue
		}
		io.WriteString(conn, c.topic+"?group=all&follow&ack\n")
		messages := bufio.NewReader(conn)
		for n := 1; ; n++ {
			text, err := messages.ReadString('\n')
			if err != nil || strings.HasPrefix(text, "-") {
				break
			}
			c.note(strings.TrimSuffix(text, "\n"))
			fmt.Fprintf(conn, "+%d\n", n)
		}
		conn.Close()
		sleep(l.ctx, 10*time.Millisecond)
	}
}

// A pause is the longest time for which a client of lines or HTTP, and the Kafka client, had no acknowledgement.
type pause struct{ here, kafka time.Duration }

func (p pause) String() string {
	return fmt.Sprintf("%v, the Kafka client %v", p.here.Round(time.Millisecond), p.kafka.Round(time.Millisecond))
}

// recover waits until all publishers have acknowledgements again from a moment on.
func (l *load) recover(since time.Time) (longest pause) {
	l.t.Helper()
	for _, p := range l.publishers {
		var none time.Duration
		brokertest.Await(l.t, time.Minute, p.name+" gets acknowledgements again", func() (over bool) {
			none, over = p.pause(since)
			return over
		})
		if p.name == "kafka" {
			longest.kafka = none
		} else {
			longest.here = max(longest.here, none)
		}
	}
	return longest
}

// A judgement counts what must not be.
type judgement struct{ lost, doubled, foreign, unread int }

// judge ends the clients, reads the topics, and compares.
func (l *load) judge() (j judgement, acked int) {
	l.t.Helper()
	l.end()
	l.running.Wait()
	times := make(map[string]int) // by topic and text
	for topic, c := range l.consumers {
		there := l.read(topic, "from=beginning")
		for _, text := range there {
			times[topic+" "+text]++
		}
		// What the consumer has not had yet. Some may be leased to its connection, whose end the owner gets to know later.
		for end := time.Now().Add(10 * time.Second); c.lacks(there) && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			for _, text := range l.read(topic, "group=all") {
				c.note(text)
			}
		}
	}
	for _, p := range l.publishers {
		acked += len(p.acked)
		for n := range p.sent + 1 {
			text := fmt.Sprintf("%s %d", p.name, n)
			switch count := times[p.topic+" "+text]; {
			case count == 0 && p.acked[n]:
				j.lost++
			case count > 1:
				j.doubled++
			}
			if times[p.topic+" "+text] > 0 && l.consumers[p.topic].got[text] == 0 {
				j.unread++
			}
			delete(times, p.topic+" "+text)
		}
	}
	j.foreign = len(times)
	return j, acked
}

// mustBeWhole is judge for a test that takes nothing else than all.
func (l *load) mustBeWhole() {
	l.t.Helper()
	j, acked := l.judge()
	l.t.Logf("%d acknowledged: %+v", acked, j)
	if j != (judgement{}) || acked == 0 {
		l.t.Errorf("%+v of %d", j, acked)
	}
}

// since counts the messages that were acknowledged after a moment.
func (l *load) since(at time.Time) (n int) {
	for _, p := range l.publishers {
		p.mu.Lock()
		i, _ := slices.BinarySearchFunc(p.times, at, time.Time.Compare)
		n += len(p.times) - i
		p.mu.Unlock()
	}
	return n
}

// read reads a topic to its end by a request of lines.
func (l *load) read(topic, options string) (all []string) {
	l.t.Helper()
	answer, err := l.cluster.Nodes[0].Read(topic + "?" + options)
	if err != nil {
		l.t.Fatal(err)
	}
	for line := range strings.Lines(answer) {
		all = append(all, strings.TrimSuffix(line, "\n"))
	}
	return all
}
