package bus

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// rabbitProgram is where Debian has the script without the change of user.
const rabbitProgram = "/usr/lib/rabbitmq/bin/rabbitmq-server"

func rabbitSystems() []*System {
	system := func(name, answers, config, kind string) *System {
		return &System{
			Name: name, Answers: answers, Config: config, Version: rabbitVersion,
			Client: "amqp091-go, persistent messages, confirms with at most 10,000 open, a queue for each group behind a fanout exchange, prefetch 2,000, an acknowledgement every 500 messages",
			Start:  startRabbit,
			Open:   func(p *Process) (Bus, error) { return openRabbit(p.Address, kind) },
			Unfit:  always,
		}
	}
	return []*System{
		system("RabbitMQ (classic queue)", "written and synced in batches, as its documentation has it", "durable classic queues", "classic"),
		system("RabbitMQ (quorum queue)", "written and synced in batches, as its documentation has it", "quorum queues on one node", "quorum"),
	}
}

func rabbitVersion() (string, error) {
	if _, err := exec.LookPath(rabbitProgram); err != nil {
		return "", errors.New("it is not installed; on Debian: apt-get install rabbitmq-server")
	}
	return firstLine("dpkg-query", "-W", "-f", "rabbitmq-server ${Version}", "rabbitmq-server")
}

// startRabbit runs a node, and a port mapper for it alone: otherwise it would
// leave one behind.
func startRabbit(dir string) (*Process, error) {
	list, err := freeAddresses(3)
	if err != nil {
		return nil, err
	}
	mapper, err := run(dir, list[1], nil, "epmd", "-address", "127.0.0.1", "-port", port(list[1]))
	if err != nil {
		return nil, err
	}
	env := []string{
		"HOME=" + dir, "ERL_EPMD_ADDRESS=127.0.0.1", "ERL_EPMD_PORT=" + port(list[1]),
		"RABBITMQ_NODENAME=bench@localhost", "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
		"RABBITMQ_NODE_PORT=" + port(list[0]), "RABBITMQ_DIST_PORT=" + port(list[2]),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
		"RABBITMQ_MNESIA_BASE=" + filepath.Join(dir, "data"), "RABBITMQ_LOG_BASE=" + dir,
		"RABBITMQ_CONFIG_FILE=" + filepath.Join(dir, "none"), "RABBITMQ_ENABLED_PLUGINS_FILE=" + filepath.Join(dir, "plugins"),
	}
	p, err := run(dir, list[0], env, rabbitProgram)
	if err != nil {
		mapper.Stop()
		return nil, err
	}
	p.helpers = append(p.helpers, mapper)
	return p, nil
}

type rabbit struct {
	url, kind string
	conn      *amqp.Connection
	ch        *amqp.Channel
}

func openRabbit(address, kind string) (Bus, error) {
	b := &rabbit{url: "amqp://guest:guest@" + address + "/", kind: kind}
	var err error
	for deadline := time.Now().Add(startPatience); ; {
		b.conn, b.ch, err = b.dial()
		if err == nil || time.Now().After(deadline) {
			return b, err
		}
		time.Sleep(10 * time.Millisecond) // it accepts before it serves
	}
}

func (b *rabbit) dial() (*amqp.Connection, *amqp.Channel, error) {
	conn, err := amqp.Dial(b.url)
	if err != nil {
		return nil, nil, err
	}
	ch, err := conn.Channel()
	return conn, ch, err
}

func (b *rabbit) Close() { b.conn.Close() }

func (b *rabbit) Topic(name string, groups ...string) error {
	if err := b.ch.ExchangeDeclare(name, "fanout", true, false, false, false, nil); err != nil {
		return err
	}
	for _, group := range groups {
		queue := name + "." + group
		if _, err := b.ch.QueueDeclare(queue, true, false, false, false, amqp.Table{"x-queue-type": b.kind}); err != nil {
			return err
		}
		if err := b.ch.QueueBind(queue, "", name, false, nil); err != nil {
			return err
		}
	}
	return nil
}

func (b *rabbit) Publisher(topic string, _ bool) (Publisher, error) {
	return b.publisher(topic, maxUnconfirmed)
}

func (b *rabbit) publisher(topic string, open int) (*rabbitPublisher, error) {
	conn, ch, err := b.dial()
	if err != nil {
		return nil, err
	}
	p := &rabbitPublisher{conn: conn, ch: ch, topic: topic, confirms: ch.NotifyPublish(make(chan amqp.Confirmation, open))}
	return p, ch.Confirm(false)
}

// maxUnconfirmed is how many messages may be unconfirmed.
const maxUnconfirmed = 10_000

type rabbitPublisher struct {
	conn     *amqp.Connection
	ch       *amqp.Channel
	topic    string
	confirms chan amqp.Confirmation
	open     int
}

func (p *rabbitPublisher) Add(message []byte) error {
	for p.open == cap(p.confirms) || len(p.confirms) > 0 {
		if err := p.confirm(); err != nil {
			return err
		}
	}
	p.open++
	return p.ch.PublishWithContext(context.Background(), p.topic, "", false, false,
		amqp.Publishing{DeliveryMode: amqp.Persistent, Body: message})
}

func (p *rabbitPublisher) confirm() error {
	select {
	case c, ok := <-p.confirms:
		if !ok || !c.Ack {
			return errors.New("a message was not confirmed")
		}
		p.open--
		return nil
	case <-time.After(patience):
		return errors.New("no confirmation came")
	}
}

// Flush does nothing: each message is written at once.
func (p *rabbitPublisher) Flush() error { return nil }

func (p *rabbitPublisher) Close() error {
	defer p.conn.Close()
	for p.open > 0 {
		if err := p.confirm(); err != nil {
			return err
		}
	}
	return nil
}

func (b *rabbit) Sender(topic string) (Sender, error) {
	p, err := b.publisher(topic, 1)
	return rabbitSender{p}, err
}

type rabbitSender struct{ p *rabbitPublisher }

func (s rabbitSender) Send(message []byte) error {
	if err := s.p.Add(message); err != nil {
		return err
	}
	return s.p.confirm()
}

func (s rabbitSender) Close() { s.p.conn.Close() }

// rabbitAckEvery is how many messages an acknowledgement is for, unless there is
// a pause.
const rabbitAckEvery = 500

func (b *rabbit) Consume(ctx context.Context, r Reading, take func([]byte)) error {
	conn, ch, err := b.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := ch.Qos(2000, 0, false); err != nil {
		return err
	}
	deliveries, err := ch.Consume(r.Topic+"."+r.Group, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	for n := 1; ; n++ {
		select {
		case d, ok := <-deliveries:
			if !ok {
				return fmt.Errorf("the broker closed the channel after %d messages", n)
			}
			take(d.Body)
			if n%rabbitAckEvery == 0 || len(deliveries) == 0 {
				if err := d.Ack(true); err != nil {
					return err
				}
			}
		case <-ctx.Done():
			return nil
		}
	}
}
