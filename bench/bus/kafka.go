package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const kafkaClient = "franz-go, acks all, idempotent, no compression, a consumer group"

// klite is a Kafka-protocol broker in Go that syncs before it answers. Where this
// was written it could not be had as a Go module, so its program must be there,
// and its flags are taken from its documentation, not tried.
func klite() *System {
	return &System{
		Name: "klite", Answers: "written and synced", Client: kafkaClient, Config: "defaults, no S3",
		Version: installed("it could not be had as a Go module, so it has to be built elsewhere", "klite", "--version"),
		Start: func(dir string) (*Process, error) {
			program, err := exec.LookPath("klite")
			if err != nil {
				return nil, err
			}
			address, err := FreeAddress()
			if err != nil {
				return nil, err
			}
			return run(dir, address, nil, program, "--listen", address, "--data-dir", filepath.Join(dir, "data"), "--log-level", "warn")
		},
		Open:  func(p *Process) (Bus, error) { return OpenKafka(p.Address) },
		Unfit: always,
	}
}

// kafka speaks the Kafka protocol.
type kafka struct {
	options []kgo.Opt // of each client
	admin   *kgo.Client
}

// OpenKafka prepares to speak to a broker of the Kafka protocol that runs. Without
// a group its consumers read partition 0.
func OpenKafka(address string) (Bus, error) { return openKafka(kgo.SeedBrokers(address)) }

// OpenKafkaTLS is OpenKafka over TLS.
func OpenKafkaTLS(address string, config *tls.Config) (Bus, error) {
	return openKafka(kgo.SeedBrokers(address), kgo.DialTLSConfig(config))
}

func openKafka(options ...kgo.Opt) (Bus, error) {
	admin, err := kgo.NewClient(options...)
	return &kafka{options, admin}, err
}

func (k *kafka) Close() { k.admin.Close() }

func (k *kafka) Topic(name string, _ ...string) error {
	req := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 1, 1
	req.Topics = append(req.Topics, topic)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	resp, err := req.RequestWith(ctx, k.admin)
	if err == nil && (len(resp.Topics) != 1 || resp.Topics[0].ErrorCode != 0) {
		err = errors.New("the topic could not be made")
	}
	return err
}

// bulkLinger is how long a client that is to be fast, not prompt, waits for more
// messages: with it requests are full.
const bulkLinger = 5 * time.Millisecond

func (k *kafka) producer(topic string, linger time.Duration) (*kgo.Client, error) {
	return kgo.NewClient(append(
		slices.Clone(k.options), kgo.DefaultProduceTopic(topic),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(linger), kgo.MaxBufferedRecords(100_000),
	)...)
}

func (k *kafka) Publisher(topic string, urgent bool) (Publisher, error) {
	linger := bulkLinger
	if urgent {
		linger = 0
	}
	c, err := k.producer(topic, linger)
	return &kafkaPublisher{client: c}, err
}

type kafkaPublisher struct {
	client *kgo.Client
	mu     sync.Mutex // guards err
	err    error      // the first
}

func (p *kafkaPublisher) Add(message []byte) error {
	p.client.Produce(context.Background(), &kgo.Record{Value: message}, p.answered)
	return nil
}

func (p *kafkaPublisher) answered(_ *kgo.Record, err error) {
	if err == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
}

// Flush does nothing: without linger everything is on its way.
func (p *kafkaPublisher) Flush() error { return nil }

func (p *kafkaPublisher) Close() error {
	defer p.client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := p.client.Flush(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(err, p.err)
}

func (k *kafka) Sender(topic string) (Sender, error) {
	c, err := k.producer(topic, 0)
	return kafkaSender{c}, err
}

type kafkaSender struct{ client *kgo.Client }

func (s kafkaSender) Send(message []byte) error {
	return s.client.ProduceSync(context.Background(), &kgo.Record{Value: message}).FirstErr()
}

func (s kafkaSender) Close() { s.client.Close() }

func (k *kafka) Consume(ctx context.Context, r Reading, take func([]byte)) error {
	start := kgo.NewOffset().AtStart()
	options := append(slices.Clone(k.options), kgo.ConsumeResetOffset(start))
	if r.Group == "" {
		options = append(options, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{r.Topic: {0: start}}))
	} else {
		options = append(options, kgo.ConsumerGroup(r.Group), kgo.ConsumeTopics(r.Topic))
	}
	c, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer c.Close()
	for ctx.Err() == nil {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return endedBy(ctx, err)
		}
		fetches.EachRecord(func(r *kgo.Record) { take(r.Value) })
	}
	return nil
}
