package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"mbus/bench/bus"
	"mbus/bench/load"
	"mbus/bench/measure"
)

// The ways in which many clients publish, and where to.
const (
	wayLines   = "lines"
	wayKafka   = "Kafka clients"
	oneTopic   = "on one topic"
	topicsEach = "on a topic each"
)

// pace is the messages a second of each client that does not publish as fast as it
// can.
const pace = 10

// singlyBy and pacedBy are names of rows.
func (t *table) singlyBy(way, topics string) string {
	return fmt.Sprintf("%s, %s one at a time, %s", way, whole(t.clientCount), topics)
}

func (t *table) pacedBy(way, topics string) string {
	return fmt.Sprintf("%s, %s at %d a second each, %s", way, whole(t.pacedCount), pace, topics)
}

// sharing has the same published to one topic and to many, as lines and by Kafka
// clients, to a broker of its own.
func (r *round) sharing() error {
	r.clientCount, r.pacedCount = r.clients, r.paced
	if err := r.launch("sharing", numberEmpty); err != nil {
		return err
	}
	defer os.RemoveAll(filepath.Join(r.dir, "sharing"))
	defer r.kill()
	kafka, err := bus.OpenKafka(r.b.Kafka())
	if err != nil {
		return err
	}
	defer kafka.Close()
	for _, way := range []string{wayLines, wayKafka} {
		b := kafka
		if way == wayLines {
			b = bus.OpenLines(r.b.Producers(), r.b.Consumers())
		}
		for _, topics := range []string{oneTopic, topicsEach} {
			singly, paced := r.singlyBy(way, topics), r.pacedBy(way, topics)
			if err := r.clientsRow(singly, topics, b, r.clients, r.inTurn); err != nil {
				return fmt.Errorf("%s: %w", singly, err)
			}
			if err := r.clientsRow(paced, topics, b, r.paced, r.steadily); err != nil {
				return fmt.Errorf("%s: %w", paced, err)
			}
		}
	}
	return nil
}

// A sending has clients send, and gives the time of each message and how long all took.
type sending func(load.Clients) ([]time.Duration, time.Duration, error)

func (r *round) inTurn(c load.Clients) ([]time.Duration, time.Duration, error) {
	return c.Singly(r.size.singly)
}

func (r *round) steadily(c load.Clients) ([]time.Duration, time.Duration, error) {
	return c.Paced(pace, r.size.singly)
}

// clientsRow connects n clients and makes a row, with latencies, of what they send.
func (r *round) clientsRow(name, topics string, b bus.Bus, n int, send sending) error {
	clients, err := r.connect(b, name, topics, n)
	if err != nil {
		return err
	}
	defer clients.Close()
	var list []time.Duration
	var s sample
	s.processor, err = r.ours().spends(func() (err error) {
		list, s.took, err = send(clients)
		return err
	})
	if err != nil {
		return err
	}
	s.messages, s.bytes = len(list), len(list)*measure.Size
	r.add(name, s)
	r.percentiles(name, list)
	return nil
}

// connect makes the topics of a row, and n clients of them.
func (r *round) connect(b bus.Bus, name, topics string, n int) (load.Clients, error) {
	prefix, made := nonWord.ReplaceAllString(name, "-"), n
	if topics == oneTopic {
		made = 1
	}
	topic := func(i int) string { return prefix + "-" + strconv.Itoa(i%made) }
	if err := forEach(made, func(i int) error { return b.Topic(topic(i)) }); err != nil {
		return nil, err
	}
	return load.Connect(b, n, topic)
}

var nonWord = regexp.MustCompile(`\W+`)
