package bus

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nsqio/go-nsq"
)

func nsqSystems(tools string) []*System {
	program, version := tool(tools, "github.com/nsqio/nsq/apps/nsqd")
	system := func(name, answers, config string, unfit func(string) string, flags ...string) *System {
		return &System{
			Name: name, Answers: answers, Config: config, Version: version, Unfit: unfit,
			Client: "go-nsq, MPUB of up to 200 messages with 10 under way, a channel for each group, at most 2,500 messages under way",
			Start:  func(dir string) (*Process, error) { return startNSQ(program, dir, flags) },
			Open: func(p *Process) (Bus, error) {
				return &nsqBus{p.Address, p.addresses["http"]}, nil
			},
		}
	}
	return []*System{
		system("NSQ", "in memory; beyond 10,000 messages written, synced every 2,500 messages or 2 s", "defaults", always),
		system("NSQ (syncing)", "written; the sync of each message follows its answer", "-mem-queue-size 0 -sync-every 1", tooManySyncs,
			"-mem-queue-size", "0", "-sync-every", "1"),
	}
}

// tooManySyncs has nsqd not measured where each message would be synced once for
// every group.
func tooManySyncs(measurement string) string {
	if strings.HasPrefix(measurement, "fanout") {
		return "it would sync each message once for every group"
	}
	return ""
}

func startNSQ(program func() (string, error), dir string, flags []string) (*Process, error) {
	path, err := program()
	if err != nil {
		return nil, err
	}
	list, err := freeAddresses(2)
	if err != nil {
		return nil, err
	}
	args := append([]string{
		"-data-path", dir, "-tcp-address", list[0], "-http-address", list[1],
		"-broadcast-address", "127.0.0.1", "-log-level", "warn",
	}, flags...)
	p, err := run(dir, list[0], nil, path, args...)
	if err == nil {
		p.addresses = map[string]string{"http": list[1]}
	}
	return p, err
}

type nsqBus struct{ tcp, http string }

func (b *nsqBus) Close() {}

func (b *nsqBus) Topic(name string, groups ...string) error {
	if err := b.post("/topic/create", url.Values{"topic": {name}}); err != nil {
		return err
	}
	for _, group := range groups {
		if err := b.post("/channel/create", url.Values{"topic": {name}, "channel": {group}}); err != nil {
			return err
		}
	}
	return nil
}

func (b *nsqBus) post(path string, query url.Values) error {
	resp, err := http.Post("http://"+b.http+path+"?"+query.Encode(), "", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New("nsqd answered " + resp.Status)
	}
	return nil
}

var silent = log.New(io.Discard, "", 0)

func (b *nsqBus) producer() (*nsq.Producer, error) {
	p, err := nsq.NewProducer(b.tcp, nsq.NewConfig())
	if err == nil {
		p.SetLogger(silent, nsq.LogLevelError)
	}
	return p, err
}

const (
	nsqBatch = 200 // messages of an MPUB
	nsqUnder = 10  // of them at most that wait for an answer
)

func (b *nsqBus) Publisher(topic string, _ bool) (Publisher, error) {
	p, err := b.producer()
	if err != nil {
		return nil, err
	}
	return &nsqPublisher{producer: p, topic: topic, done: make(chan *nsq.ProducerTransaction, nsqUnder)}, nil
}

type nsqPublisher struct {
	producer *nsq.Producer
	topic    string
	held     [][]byte
	done     chan *nsq.ProducerTransaction
	under    int
}

func (p *nsqPublisher) Add(message []byte) error {
	p.held = append(p.held, message)
	if len(p.held) >= nsqBatch {
		return p.Flush()
	}
	return nil
}

func (p *nsqPublisher) Flush() error {
	if len(p.held) == 0 {
		return nil
	}
	if p.under == nsqUnder {
		if err := p.answer(); err != nil {
			return err
		}
	}
	p.under++
	held := p.held
	p.held = nil
	return p.producer.MultiPublishAsync(p.topic, held, p.done)
}

func (p *nsqPublisher) answer() error {
	t := <-p.done
	p.under--
	return t.Error
}

func (p *nsqPublisher) Close() error {
	defer p.producer.Stop()
	err := p.Flush()
	for p.under > 0 && err == nil {
		err = p.answer()
	}
	return err
}

func (b *nsqBus) Sender(topic string) (Sender, error) {
	p, err := b.producer()
	return nsqSender{p, topic}, err
}

type nsqSender struct {
	producer *nsq.Producer
	topic    string
}

func (s nsqSender) Send(message []byte) error { return s.producer.Publish(s.topic, message) }

func (s nsqSender) Close() { s.producer.Stop() }

func (b *nsqBus) Consume(ctx context.Context, r Reading, take func([]byte)) error {
	config := nsq.NewConfig()
	config.MaxInFlight = 2500
	config.MsgTimeout = redeliverAfter
	if r.Urgent {
		config.OutputBufferSize = -1 // else nsqd keeps messages for up to 250 ms
	}
	c, err := nsq.NewConsumer(r.Topic, r.Group, config)
	if err != nil {
		return err
	}
	c.SetLogger(silent, nsq.LogLevelError)
	c.AddHandler(nsq.HandlerFunc(func(m *nsq.Message) error {
		take(m.Body)
		return nil
	}))
	if err := c.ConnectToNSQD(b.tcp); err != nil {
		return err
	}
	<-ctx.Done()
	c.Stop()
	select {
	case <-c.StopChan:
	case <-time.After(patience):
		return errors.New("the consumer does not stop")
	}
	return nil
}
