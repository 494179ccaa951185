package clusterfault

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// publishLines publishes over one connection, with some messages unanswered, until an error. Each connection is a
// publisher of its own, whose unanswered messages may be there or not.
func (l *load) publishLines(a *actor, node int) {
	conn, err := l.dial(l.nodes[node].host, l.nodes[node].producers)
	if err != nil {
		a.failed(err)
		return
	}
	defer conn.Close()
	publisher := fmt.Sprintf("%s-%d", a.name, time.Now().UnixNano())
	answers := bufio.NewReader(conn)
	io.WriteString(conn, "orders\n")
	for sent, acked := 0, 0; l.ctx.Err() == nil; {
		var burst strings.Builder
		for range 1 + rand.IntN(20) {
			burst.WriteString(l.orders.Message(publisher, l.orders.Send(publisher, 0), rand.IntN(400)) + "\n")
			sent++
		}
		conn.SetDeadline(time.Now().Add(answered))
		if _, err := io.WriteString(conn, burst.String()); err != nil {
			a.failed(err)
			return
		}
		for sent-acked > 30 || sent > acked && answers.Buffered() > 0 {
			line, err := answers.ReadString('\n')
			n, isCount := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "+")
			count, notNumber := strconv.Atoi(n)
			if err != nil || !isCount || notNumber != nil || count > sent {
				a.failed(fmt.Errorf("answered %q: %w", line, err))
				return
			}
			for ; acked < count; acked++ {
				l.orders.Acknowledge(publisher, acked)
			}
			a.gotOn()
		}
		rest(l.ctx, 5*time.Millisecond)
	}
}

// request makes one request of HTTP on a node.
func (l *load) request(node int, method, target, body string, header http.Header) (status int, answer string, err error) {
	dial := func(_ context.Context, _, address string) (net.Conn, error) { return l.nodes[node].host.Dial(address) }
	client := &http.Client{Timeout: answered, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	r, err := http.NewRequestWithContext(l.ctx, method, "http://"+l.nodes[node].http+target, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	for name, values := range header {
		r.Header[name] = values
	}
	resp, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(all), err
}

// publishHTTP publishes messages one after the other, with a key, each again on all nodes until it is acknowledged: the
// idempotency key has it stored once.
func (l *load) publishHTTP(a *actor, node int) {
	for l.ctx.Err() == nil {
		n := l.bills.Send(a.name, 0)
		header := http.Header{"Idempotency-Key": {fmt.Sprintf("%s-%d", a.name, n)}}
		for ; l.ctx.Err() == nil; node = (node + 1) % len(l.nodes) {
			status, answer, err := l.request(node, "POST", "/topics/bills?key="+url.QueryEscape(a.name), l.bills.Message(a.name, n, 100), header)
			if err == nil && status == http.StatusOK {
				l.bills.Acknowledge(a.name, n)
				a.gotOn()
				break
			}
			a.failed(fmt.Errorf("answered %d %s: %w", status, answer, err))
			if err == nil && status/100 == 4 && status != http.StatusTooManyRequests {
				l.t.Errorf("%s, message %d: %d %s", a.name, n, status, answer)
			}
			rest(l.ctx, 20*time.Millisecond)
		}
		rest(l.ctx, 10*time.Millisecond)
	}
}

// kafkaClient gives a client that knows all nodes.
func (l *load) kafkaClient(options ...kgo.Opt) (*kgo.Client, error) {
	var seeds []string
	for _, p := range l.nodes {
		seeds = append(seeds, p.kafka)
	}
	return kgo.NewClient(append(options, kgo.SeedBrokers(seeds...), kgo.RequestTimeoutOverhead(answered),
		kgo.MetadataMinAge(100*time.Millisecond), kgo.Dialer(func(_ context.Context, _, address string) (net.Conn, error) { return l.dial(l.away, address) }))...)
}

// publishKafka publishes with an idempotent client, which tries again by itself until all is acknowledged.
func (l *load) publishKafka(a *actor, _ int) {
	publisher := fmt.Sprintf("%s-%d", a.name, time.Now().UnixNano())
	client, err := l.kafkaClient(kgo.DefaultProduceTopic("orders"), kgo.MaxBufferedRecords(50))
	if err != nil {
		l.t.Error(err)
		return
	}
	var waiting sync.WaitGroup
	for l.ctx.Err() == nil {
		n := l.orders.Send(publisher, 0)
		waiting.Add(1)
		client.Produce(l.ctx, kgo.StringRecord(l.orders.Message(publisher, n, 200)), func(_ *kgo.Record, err error) {
			defer waiting.Done()
			if err == nil {
				l.orders.Acknowledge(publisher, n)
				a.gotOn()
			} else if a.failed(err); l.ctx.Err() == nil {
				l.t.Errorf("the idempotent client gave up message %d: %v", n, err)
			}
		})
		rest(l.ctx, 5*time.Millisecond)
	}
	client.Close()
	waiting.Wait()
}
