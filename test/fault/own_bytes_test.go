package fault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"mbus/internal/batch/batchtest"
	"mbus/internal/batch/codec"
	"mbus/test/brokertest"
)

// F40: 64 publishers of both protocols, with every codec, into shared topics, and
// followers in every format meanwhile, on a broker that has hardly any memory: each
// message that comes names its topic, its publisher and its number and has a
// checksum, so that no other's bytes can pass for it.
func TestF40EachPayloadIsItsOwn(t *testing.T) {
	const publishers, topics = 64, 4
	p := pressed(t)
	each := runs(200, 20_000)
	var ledgers []*ledger
	for i := range topics {
		ledgers = append(ledgers, newLedger(fmt.Sprintf("own%d", i)))
	}
	var followers, publishing sync.WaitGroup
	total := publishers / topics * each
	for _, l := range ledgers {
		for _, read := range []func(*brokertest.Process, string, int) ([]string, error){followLines, followJSON, followKafka} {
			followers.Go(func() {
				texts, err := read(p, l.topic, total)
				if err != nil {
					t.Errorf("%s, after %d of %d: %v", l.topic, len(texts), total, err)
				}
				publishing.Wait()
				c := l.judge(texts)
				report(t, c)
				c.mustKeep(t)
				if c.Duplicates > 0 || c.Acked != total {
					t.Errorf("%+v, not %d acknowledged", c, total)
				}
			})
		}
	}
	for i := range publishers {
		publishing.Go(func() {
			var err error
			if l := ledgers[i%topics]; i/topics%2 == 0 {
				err = l.publishSome(p.Producers(), name(i), each)
			} else {
				err = l.publishKafka(p.Kafka(), name(i), batchtest.Codecs[i/topics/2%len(batchtest.Codecs)], each)
			}
			if err != nil {
				t.Errorf("publisher %d: %v", i, err)
			}
		})
	}
	publishing.Wait()
	followers.Wait()
}

// F40: as many topics as a machine may have, each with a message of its own and a
// group of its own.
func TestF40ManyTopics(t *testing.T) {
	p := pressed(t)
	n := runs(200, 10_000)
	sideBySide(n, 16, func(i int) {
		l := newLedger(fmt.Sprintf("topic%d", i))
		if err := l.publishSome(p.Producers(), "p", 3); err != nil {
			t.Errorf("%s: %v", l.topic, err)
		}
		text, err := p.Read(l.topic + "?group=" + l.topic)
		if err != nil {
			t.Error(err)
		}
		c := l.judge(lines(text))
		report(t, c)
		c.mustKeep(t)
		if c.Acked != 3 || c.Read != 3 {
			t.Errorf("%+v", c)
		}
	})
}

// pressed starts a broker, in a long run with the race detector, whose collector
// has a limit of 24 MiB.
func pressed(t *testing.T) *brokertest.Process {
	t.Helper()
	t.Setenv("GOMEMLIMIT", "24MiB")
	path := brokertest.Program(t, "broker")
	if *long && !brokertest.Race {
		path = raceBroker(t)
	}
	p, err := brokertest.Launch("", path, "-pport", "0", "-cport", "0", "-kport", "0", "-hport", "0", "-data", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if out := p.Output(); strings.Contains(out, "DATA RACE") || strings.Contains(out, "panic") || t.Failed() {
			t.Errorf("the broker said:\n%s", out)
		}
	})
	return p
}

func raceBroker(t *testing.T) string {
	t.Helper()
	root, err := brokertest.Root()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "broker")
	cmd := exec.Command("go", "build", "-race", "-o", path, "./cmd/broker")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=1", "GOMEMLIMIT=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build -race: %v\n%s", err, out)
	}
	return path
}

// publishSome publishes n messages over one connection of the line protocol.
func (l *ledger) publishSome(address, publisher string, n int) error {
	c, err := dialLine(address, l.topic)
	if err != nil {
		return err
	}
	defer c.Close()
	r := rand.New(rand.NewPCG(40, uint64(n)))
	first, sent := -1, 0
	for sent < n {
		var burst strings.Builder
		for range min(1+r.IntN(50), n-sent) {
			number := l.send(publisher, first)
			first = max(first, 0)
			burst.WriteString(l.message(publisher, number, r.IntN(2000)) + "\n")
			sent++
		}
		if _, err := c.Write([]byte(burst.String())); err != nil {
			return err
		}
	}
	for acked := 0; acked < n; {
		line, err := c.line()
		if err != nil {
			return err
		}
		told, ok := count(line)
		if !ok {
			return errors.New(line)
		}
		for ; acked < told; acked++ {
			l.acknowledge(publisher, acked)
		}
	}
	return nil
}

// publishKafka publishes n messages with the Kafka protocol.
func (l *ledger) publishKafka(address, publisher string, c codec.Codec, n int) error {
	codec := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}[c]
	cl, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic(l.topic), kgo.ProducerBatchCompression(codec))
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*patience)
	defer cancel()
	for sent := 0; sent < n; {
		var records []*kgo.Record
		for ; len(records) < 50 && sent < n; sent++ {
			number := l.send(publisher, min(sent, 1)-1)
			records = append(records, kgo.StringRecord(l.message(publisher, number, number*7919%2000)))
		}
		if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
			return err
		}
		for i := range records {
			l.acknowledge(publisher, sent-len(records)+i)
		}
	}
	return nil
}

// followLines reads n messages of a topic as lines.
func followLines(p *brokertest.Process, topic string, n int) (texts []string, err error) {
	c, err := dialLine(p.Consumers(), topic+"?follow&from=beginning")
	if err != nil {
		return nil, err
	}
	defer c.reset()
	for len(texts) < n && err == nil {
		var text string
		if text, err = c.line(); err == nil {
			texts = append(texts, text)
		}
	}
	return texts, err
}

// followJSON is followLines with format=json and acknowledgements.
func followJSON(p *brokertest.Process, topic string, n int) (texts []string, err error) {
	c, err := dialLine(p.Consumers(), topic+"?follow&ack&group=json&format=json")
	if err != nil {
		return nil, err
	}
	defer c.reset()
	for len(texts) < n {
		line, err := c.line()
		if err != nil {
			return texts, err
		}
		var m struct{ Topic, Payload string }
		if err := json.Unmarshal([]byte(line), &m); err != nil || m.Topic != topic {
			return texts, fmt.Errorf("%q: %w", line, err)
		}
		if texts = append(texts, m.Payload); len(texts)%100 == 0 {
			if _, err := fmt.Fprintf(c, "+%d\n", len(texts)); err != nil {
				return texts, err
			}
		}
	}
	return texts, nil
}

// followKafka is followLines with the Kafka protocol.
func followKafka(p *brokertest.Process, topic string, n int) (texts []string, err error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(p.Kafka()), kgo.ConsumeTopics(topic), kgo.AllowAutoTopicCreation(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*patience)
	defer cancel()
	for len(texts) < n {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return texts, err
		}
		fetches.EachRecord(func(r *kgo.Record) { texts = append(texts, string(r.Value)) })
	}
	return texts, nil
}
