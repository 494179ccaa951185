package bus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func natsSystems(tools string) []*System {
	program, version := tool(tools, "github.com/nats-io/nats-server/v2")
	system := func(name, answers, sync string) *System {
		return &System{
			Name: name, Answers: answers, Version: version, Unfit: always,
			Config: "JetStream, file storage, sync_interval " + sync,
			Client: "nats.go, asynchronous publishing, a durable pull consumer for each group, acknowledging all up to every 500th message",
			Start:  func(dir string) (*Process, error) { return startNats(program, dir, sync) },
			Open:   openNats,
		}
	}
	return []*System{
		system("NATS JetStream", "written; synced every 2 minutes", "2m"),
		system("NATS JetStream (syncing)", "written and synced, each message by itself", "always"),
	}
}

func startNats(program func() (string, error), dir, sync string) (*Process, error) {
	path, err := program()
	if err != nil {
		return nil, err
	}
	address, err := FreeAddress()
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "nats.conf")
	text := fmt.Sprintf("listen: %q\njetstream { store_dir: %q, sync_interval: %s }\n", address, filepath.Join(dir, "data"), sync)
	if err := os.WriteFile(config, []byte(text), 0o666); err != nil {
		return nil, err
	}
	return run(dir, address, nil, path, "-c", config)
}

type natsBus struct {
	url  string
	conn *nats.Conn
	js   jetstream.JetStream
}

func openNats(p *Process) (Bus, error) {
	b := &natsBus{url: "nats://" + p.Address}
	var err error
	b.conn, b.js, err = b.connect()
	if err != nil {
		return nil, err
	}
	return b, b.ready()
}

// ready waits for JetStream, which comes a little later than the first
// connection.
func (b *natsBus) ready() error {
	for deadline := time.Now().Add(patience); ; {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err := b.js.AccountInfo(ctx)
		cancel()
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// maxPending is how many messages may be unanswered: the client's default.
const maxPending = 4000

func (b *natsBus) connect() (*nats.Conn, jetstream.JetStream, error) {
	conn, err := nats.Connect(b.url)
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(maxPending))
	return conn, js, err
}

func (b *natsBus) Close() { b.conn.Close() }

func (b *natsBus) Topic(name string, groups ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := b.js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name}, Storage: jetstream.FileStorage})
	if err != nil {
		return err
	}
	for _, group := range groups {
		_, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
			Durable: group, AckPolicy: jetstream.AckAllPolicy, AckWait: redeliverAfter, MaxAckPending: -1,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *natsBus) Publisher(topic string, _ bool) (Publisher, error) {
	conn, err := nats.Connect(b.url)
	if err != nil {
		return nil, err
	}
	p := &natsPublisher{conn: conn, topic: topic}
	p.js, err = jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(maxPending),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) { p.failed.Store(&err) }))
	return p, err
}

type natsPublisher struct {
	conn   *nats.Conn
	js     jetstream.JetStream
	topic  string
	failed atomic.Pointer[error]
}

func (p *natsPublisher) Add(message []byte) error {
	_, err := p.js.PublishAsync(p.topic, message, jetstream.WithStallWait(patience))
	return err
}

// Flush does nothing: the client writes what it has without being asked.
func (p *natsPublisher) Flush() error { return nil }

func (p *natsPublisher) Close() error {
	defer p.conn.Close()
	select {
	case <-p.js.PublishAsyncComplete():
	case <-time.After(patience):
		return errors.New("not all messages are acknowledged")
	}
	if err := p.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (b *natsBus) Sender(topic string) (Sender, error) {
	conn, js, err := b.connect()
	return &natsSender{conn, js, topic}, err
}

type natsSender struct {
	conn  *nats.Conn
	js    jetstream.JetStream
	topic string
}

func (s *natsSender) Send(message []byte) error {
	_, err := s.js.Publish(context.Background(), s.topic, message)
	return err
}

func (s *natsSender) Close() { s.conn.Close() }

// natsAckEvery is how many messages an acknowledgement is for.
const natsAckEvery = 500

func (b *natsBus) Consume(ctx context.Context, r Reading, take func([]byte)) error {
	conn, js, err := b.connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	c, err := js.Consumer(ctx, r.Topic, r.Group)
	if err != nil {
		return endedBy(ctx, err)
	}
	n := 0
	consuming, err := c.Consume(func(m jetstream.Msg) {
		take(m.Data())
		if n++; n%natsAckEvery == 0 {
			_ = m.Ack() // without it messages come again, which the count shows
		}
	}, jetstream.PullMaxMessages(5000))
	if err != nil {
		return endedBy(ctx, err)
	}
	<-ctx.Done()
	consuming.Stop()
	<-consuming.Closed()
	return nil
}
