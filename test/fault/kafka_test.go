package fault

import (
	"context"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// kafkaName is the publisher and the group of the Kafka clients in a crowd.
const kafkaName = "kafka"

// publishAsKafka publishes with an idempotent Kafka client until ctx ends or the
// broker is gone. counted gets each acknowledged message.
func (l *ledger) publishAsKafka(ctx context.Context, address string, counted func(n int)) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.DefaultProduceTopic(l.topic),
		kgo.AllowAutoTopicCreation(), kgo.MaxBufferedRecords(500))
	if err != nil {
		return err
	}
	var waiting sync.WaitGroup
	for ctx.Err() == nil {
		n := l.send(kafkaName, -1) // the client decides what is sent together
		waiting.Add(1)
		client.Produce(ctx, kgo.StringRecord(l.message(kafkaName, n, n*7919%400)), func(_ *kgo.Record, err error) {
			defer waiting.Done()
			if err == nil {
				l.acknowledge(kafkaName, n)
				counted(1)
			}
		})
	}
	client.Close() // gives up what an idempotent client would try for ever
	waiting.Wait()
	return nil
}

// A standing is what a group's position may be: from what the broker has confirmed
// to what its consumer has acknowledged.
type standing struct {
	group            string
	acked, confirmed int64
}

// commitAsKafka commits one offset after the other, as a Kafka client that assigns
// itself its partitions, until ctx ends or the broker is gone.
func (s *standing) commitAsKafka(ctx context.Context, address, topic string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		return err
	}
	defer client.Close()
	for ctx.Err() == nil {
		s.acked = s.confirmed + 1
		if commitOffset(ctx, client, s.group, topic, s.acked) == nil {
			s.confirmed = s.acked
		}
	}
	return nil
}

func commitOffset(ctx context.Context, client *kgo.Client, group, topic string, offset int64) error {
	partition := kmsg.NewOffsetCommitRequestTopicPartition()
	partition.Offset = offset
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic, t.Partitions = topic, append(t.Partitions, partition)
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Topics = group, append(req.Topics, t)
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
}
