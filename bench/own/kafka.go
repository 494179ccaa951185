package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"mbus/bench/bus"
	"mbus/bench/load"
	"mbus/bench/measure"
	"mbus/internal/client"
)

// kafka has the same Kafka client publish to a server that only answers and to
// the broker, and consume from the broker and from a server that only sends the
// same bytes.
func (r *round) kafka() error {
	only, err := r.answerer()
	if err != nil {
		return err
	}
	if err := r.launch("kafka", numberEmpty); err != nil {
		return err
	}
	b, err := bus.OpenKafka(r.b.Kafka())
	if err != nil {
		return err
	}
	defer b.Close()
	if err := b.Topic("bulk"); err != nil {
		return err
	}
	s := sample{limit: "answers only", limitRate: only, byMessages: true}
	n, _, err := r.produceRow(rowKafkaIn, r.ours(), s, b)
	if err != nil {
		return err
	}
	only, err = r.sender(n)
	if err != nil {
		return err
	}
	s = sample{limit: "sends only", limitRate: only, byMessages: true}
	if _, err := r.fetchRow(rowKafkaOut, r.ours(), s, b, "", n); err != nil {
		return err
	}
	_, err = r.fetchRow(rowKafkaGroup, r.ours(), s, b, "readers", n)
	return err
}

// answerer measures the server that only answers, and gives its messages a second.
func (r *round) answerer() (rate float64, err error) {
	dir, err := os.MkdirTemp(r.dir, "answerer-")
	if err != nil {
		return 0, err
	}
	p, err := bus.Answerer().Start(dir)
	if err != nil {
		return 0, err
	}
	defer p.Stop()
	b, err := bus.OpenKafka(p.Address)
	if err != nil {
		return 0, err
	}
	defer b.Close()
	_, rate, err = r.produceRow(rowAnswers, theirs(p), sample{}, b)
	return rate, err
}

// sender measures the server that only sends, over a file with what is in the
// broker's log, and gives its messages a second.
func (r *round) sender(messages int) (rate float64, err error) {
	dir, err := os.MkdirTemp(r.dir, "sender-")
	if err != nil {
		return 0, err
	}
	file := filepath.Join(dir, "batches")
	if err := r.save("bulk", file); err != nil {
		return 0, err
	}
	p, err := bus.StartSender(dir, file)
	if err != nil {
		return 0, err
	}
	defer p.Stop()
	b, err := bus.OpenKafka(p.Address)
	if err != nil {
		return 0, err
	}
	defer b.Close()
	return r.fetchRow(rowSends, theirs(p), sample{}, b, "", messages)
}

// save writes the batches of a topic, as they are in the log, into a file.
func (r *round) save(topic, name string) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	defer file.Close()
	conn, err := client.DialConsumer(client.Broker{Addr: r.b.Consumers()}, client.ConsumeRequest{Topic: topic, From: "beginning"})
	if err != nil {
		return err
	}
	defer conn.Close()
	for {
		b, err := conn.Next()
		if err == io.EOF {
			return file.Close()
		}
		if err == nil {
			_, err = file.Write(b)
		}
		if err != nil {
			return err
		}
	}
}

func theirs(p *bus.Process) server { return server{p.Pids()[0], p.Said} }

// produceRow publishes for a time, and gives how many messages there were.
func (r *round) produceRow(name string, of server, s sample, b bus.Bus) (n int, rate float64, err error) {
	s.processor, err = of.spends(func() (err error) {
		n, s.took, err = load.Publish(b, "bulk", r.size.bulk, r.most)
		return err
	})
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", name, err)
	}
	return n, r.clientRow(name, s, n), nil
}

// fetchRow has n messages consumed, by a group if that is not empty.
func (r *round) fetchRow(name string, of server, s sample, b bus.Bus, group string, n int) (rate float64, err error) {
	s.processor, err = of.spends(func() (err error) {
		s.took, err = load.Drain(b, "bulk", group, n)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return r.clientRow(name, s, n), nil
}

func (r *round) clientRow(name string, s sample, n int) (rate float64) {
	s.messages, s.bytes = n, n*measure.Size
	r.add(name, s)
	return float64(n) / s.took.Seconds()
}
