package bus

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

func redisSystems() []*System {
	system := func(name, answers, sync string) *System {
		return &System{
			Name: name, Answers: answers, Version: installed("on Debian: apt-get install redis-server", "redis-server", "--version"), Unfit: always,
			Config: "streams; appendonly yes, appendfsync " + sync + ", no snapshots",
			Client: "go-redis, XADD in pipelines of 1,000, XREADGROUP of 1,000 and XACK",
			Start:  func(dir string) (*Process, error) { return startRedis(dir, sync) },
			Open:   openRedis,
		}
	}
	return []*System{
		system("Redis streams", "written; synced every second", "everysec"),
		system("Redis streams (syncing)", "written and synced, once for what was there", "always"),
	}
}

func startRedis(dir, sync string) (*Process, error) {
	address, err := FreeAddress()
	if err != nil {
		return nil, err
	}
	return run(dir, address, nil, "redis-server", "--bind", "127.0.0.1", "--port", port(address), "--dir", dir,
		"--save", "", "--appendonly", "yes", "--appendfsync", sync)
}

type redisBus struct {
	address string
	client  *redis.Client
}

func openRedis(p *Process) (Bus, error) {
	b := &redisBus{address: p.Address}
	b.client = b.dial()
	return b, nil
}

func (b *redisBus) dial() *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: b.address, PoolSize: 1, ReadTimeout: patience, WriteTimeout: patience, DisableIdentity: true,
	})
}

func (b *redisBus) Close() { b.client.Close() }

func (b *redisBus) Topic(name string, groups ...string) error {
	for _, group := range groups {
		if err := b.client.XGroupCreateMkStream(context.Background(), name, group, "0").Err(); err != nil {
			return err
		}
	}
	return nil
}

func (b *redisBus) Publisher(topic string, _ bool) (Publisher, error) {
	c := b.dial()
	return &redisPublisher{c, c.Pipeline(), topic}, nil
}

type redisPublisher struct {
	client *redis.Client
	pipe   redis.Pipeliner
	topic  string
}

// redisBatch is how many commands a pipeline has, and messages a reading.
const redisBatch = 1000

func add(topic string, message []byte) *redis.XAddArgs {
	return &redis.XAddArgs{Stream: topic, Values: []any{"m", message}}
}

func (p *redisPublisher) Add(message []byte) error {
	p.pipe.XAdd(context.Background(), add(p.topic, message))
	if p.pipe.Len() >= redisBatch {
		return p.Flush()
	}
	return nil
}

// Flush waits for the answers, too.
func (p *redisPublisher) Flush() error {
	if p.pipe.Len() == 0 {
		return nil
	}
	_, err := p.pipe.Exec(context.Background())
	return err
}

func (p *redisPublisher) Close() error { return errors.Join(p.Flush(), p.client.Close()) }

func (b *redisBus) Sender(topic string) (Sender, error) { return redisSender{b.dial(), topic}, nil }

type redisSender struct {
	client *redis.Client
	topic  string
}

func (s redisSender) Send(message []byte) error {
	return s.client.XAdd(context.Background(), add(s.topic, message)).Err()
}

func (s redisSender) Close() { s.client.Close() }

func (b *redisBus) Consume(ctx context.Context, r Reading, take func([]byte)) error {
	c := b.dial()
	defer c.Close()
	args := &redis.XReadGroupArgs{Group: r.Group, Consumer: "1", Streams: []string{r.Topic, ">"}, Count: redisBatch, Block: time.Second}
	for ctx.Err() == nil {
		streams, err := c.XReadGroup(ctx, args).Result()
		if errors.Is(err, redis.Nil) {
			continue
		}
		if err != nil {
			return endedBy(ctx, err)
		}
		var ids []string
		for _, m := range streams[0].Messages {
			text, _ := m.Values["m"].(string)
			take([]byte(text))
			ids = append(ids, m.ID)
		}
		if err := c.XAck(ctx, r.Topic, r.Group, ids...).Err(); err != nil {
			return endedBy(ctx, err)
		}
	}
	return nil
}
