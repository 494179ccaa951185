package bus

import (
	"context"
	"io"
	"path/filepath"

	"mbus/internal/batch"
	"mbus/internal/client"
)

func mbusSystems(program string) []*System {
	start := func(dir string) (*Process, error) { return startMbus(program, dir) }
	version := func() (string, error) { return Version(program) }
	const answers = "written and synced; no consumer sees it before"
	return []*System{
		{
			Name: "mbus", Answers: answers, Config: "defaults", Version: version, Start: start, Unfit: always,
			Client: "the packages of producer and consumer, format=batch; one at a time: a line and +N",
			Open:   func(p *Process) (Bus, error) { return &mbus{p.addresses["producers"], p.addresses["consumers"]}, nil },
		},
		{
			Name: "mbus (plain lines)", Answers: answers, Config: "defaults", Version: version, Start: start, Unfit: always,
			Client: "a socket with lines, as nc has it; consumers ask with follow&ack, but to drain",
			Open: func(p *Process) (Bus, error) {
				return OpenLines(p.addresses["producers"], p.addresses["consumers"]), nil
			},
		},
		{
			Name: "mbus (Kafka port)", Answers: answers, Config: "defaults", Version: version, Start: start, Unfit: always,
			Client: kafkaClient,
			Open:   func(p *Process) (Bus, error) { return OpenKafka(p.addresses["kafka"]) },
		},
	}
}

// Version is what mbus's broker, the program, calls itself.
func Version(program string) (string, error) { return firstLine(program, "-version") }

func startMbus(program, dir string) (*Process, error) {
	list, err := freeAddresses(4)
	if err != nil {
		return nil, err
	}
	args := []string{"-data", filepath.Join(dir, "data")}
	for i, flag := range []string{"-pport", "-cport", "-kport", "-hport"} {
		args = append(args, flag, port(list[i]))
	}
	p, err := run(dir, list[0], nil, program, args...)
	if err == nil {
		p.addresses = map[string]string{"producers": list[0], "consumers": list[1], "kafka": list[2], "http": list[3]}
	}
	return p, err
}

// mbus speaks the line protocol with record batches.
type mbus struct{ producers, consumers string }

// Topic does nothing: topics come with their first message, groups with their
// first request.
func (m *mbus) Topic(string, ...string) error { return nil }

func (m *mbus) Close() {}

func (m *mbus) Publisher(topic string, _ bool) (Publisher, error) {
	conn, err := client.DialProducer(client.Broker{Addr: m.producers}, client.ProduceRequest{Topic: topic})
	if err != nil {
		return nil, err
	}
	return batches{conn}, nil
}

type batches struct{ *client.Producer }

func (b batches) Add(message []byte) error { return b.Producer.Add(0, message) }

// window is how many messages a consumer may hold unacknowledged: what the program
// consumer asks for.
const window = 100_000

// ackEvery is how many messages a consumer takes before it acknowledges them
// without there being a pause.
const ackEvery = 20_000

func (m *mbus) Consume(ctx context.Context, r Reading, take func([]byte)) error {
	var conn *client.Consumer
	var taken int64
	request := client.ConsumeRequest{
		Topic: r.Topic, Group: r.Group,
		Idle: func() error {
			conn.Ack(taken)
			return nil
		},
	}
	if !r.Drain {
		request.Follow, request.Ack, request.Window = true, true, window
	}
	conn, err := client.DialConsumer(client.Broker{Addr: m.consumers}, request)
	if err != nil {
		return err
	}
	defer conn.Close()
	if !r.Drain { // which ends by itself, and must not be interrupted while it commits
		defer context.AfterFunc(ctx, conn.Interrupt)()
	}
	var it batch.Iterator
	for said := int64(0); ; {
		b, err := conn.Next()
		if r.Drain && err == io.EOF {
			return conn.Commit()
		}
		if err != nil {
			return endedBy(ctx, err)
		}
		if err := it.Reset(b); err != nil {
			return err
		}
		for it.Next() {
			take(it.Record().Value)
			taken++
		}
		if taken-said >= ackEvery {
			conn.Ack(taken)
			said = taken
		}
	}
}

// endedBy is nil where an error comes from the end of ctx.
func endedBy(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (m *mbus) Sender(topic string) (Sender, error) {
	conn, err := dialLines(m.producers, topic)
	return lineSender{conn}, err
}
