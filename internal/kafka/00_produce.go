package kafka

import (
	"fmt"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/batch"
	"mbus/internal/broker"
)

// Produce, versions 3 to 13. Versions 0 to 2 are advertised, because librdkafka
// takes their absence for a broker without compression, and answered with
// UNSUPPORTED_VERSION for each partition. One record batch a partition, taken as
// it came. acks=1 waits for the sync as acks=all does; acks=0 is not answered, and
// an error closes the connection. From version 13 on topics are named by their ids.
// There are no transactions.
func init() {
	register(api{
		key: 0, min: 0, max: 13, handle: typed(produce),
		doc: "Versions 0 to 2 are answered with UNSUPPORTED_VERSION. acks=1 waits for the sync as acks=all does. No transactions.",
	})
}

// A production is a request to produce of which some partitions are not settled.
type production struct {
	call *call
	acks int16
	resp *produceResponse
	left atomic.Int32

	refused error // why nothing of it is taken
}

func produce(c *call, req *kmsg.ProduceRequest) {
	p := newProduction(c, req.Version, req.Acks, req.TransactionID != nil)
	p.resp.topics = make([]producedTopic, len(req.Topics))
	for i := range req.Topics {
		in, out := &req.Topics[i], &p.resp.topics[i]
		topic, err := p.begin(out, in.Topic, in.TopicID, len(in.Partitions))
		for j := range in.Partitions {
			last := i == len(req.Topics)-1 && j == len(in.Partitions)-1
			p.append(topic, &in.Partitions[j], &out.parts[j], last, err)
		}
	}
	p.settled()
}

func newProduction(c *call, version, acks int16, transactional bool) *production {
	p := &production{call: c, acks: acks, resp: &produceResponse{version: version}}
	p.left.Store(1) // until all have been appended
	switch {
	case version < 3:
		p.refused = kerr.UnsupportedVersion
	case transactional:
		p.refused = kerr.TransactionalIDAuthorizationFailed
	case acks < -1 || acks > 1:
		p.refused = kerr.InvalidRequiredAcks
	}
	return p
}

// begin finds the topic that so many partitions are of, and says why they are not taken.
func (p *production) begin(out *producedTopic, name string, id [16]byte, partitions int) (*broker.Topic, error) {
	out.name, out.id = name, id
	out.parts = make([]producedPart, partitions)
	p.left.Add(int32(partitions))
	topic, err := p.call.topics().find(name, id, p.resp.version >= firstProduceByID)
	if err == nil {
		out.name = topic.Name
	}
	switch {
	case p.refused != nil:
		err = p.refused
	case broker.Internal(out.name):
		err = broker.ErrInternalTopic
	}
	return topic, err
}

// attrTransactional marks a batch as part of a transaction.
const attrTransactional = 0x10

// append hands one partition's batch to the log, or settles it with err. After the last one
// of a request the connection waits for what it has appended.
func (p *production) append(t *broker.Topic, in *kmsg.ProduceRequestTopicPartition, out *producedPart, last bool, err error) {
	out.number, out.time = in.Partition, -1
	done := func(base int64, err error) {
		p.settle(t, out, base, err)
	}
	if err == nil {
		err = p.check(in)
	}
	if err == nil {
		err = appendTo(t, in, last, done)
	}
	if err != nil {
		done(0, err)
	} else if b := batch.Batch(in.Records); b.LogAppendTime() {
		out.time = b.MaxTimestamp()
	}
}

// appendTo appends a batch to the partition that it is for.
func appendTo(t *broker.Topic, in *kmsg.ProduceRequestTopicPartition, last bool, done func(int64, error)) error {
	log, code := partitionOf(t, nil, in.Partition)
	if code != 0 {
		return broker.ErrUnknownTopic
	}
	return log.Append(in.Records, broker.AppendOptions{Inline: last && len(in.Records) <= broker.InlineCommit}, done)
}

// Where the format's version stands, in record batches and the messages before them,
// and the one of batches. Clients try again what is CORRUPT_MESSAGE, but not this.
const (
	magicAt        = 16
	magicOfBatches = 2
)

// check is what Kafka demands of a batch beside what the log does.
func (p *production) check(in *kmsg.ProduceRequestTopicPartition) error {
	b := p.call.server.broker
	switch {
	case len(in.Records) == 0:
		return kerr.InvalidRecord
	case len(in.Records) > b.Limits.MaxBatch():
		return tooLarge(len(in.Records), b.Limits.MaxBatch())
	}
	first, rest, err := batch.Next(in.Records)
	switch {
	case len(in.Records) > magicAt && in.Records[magicAt] < magicOfBatches:
		return fmt.Errorf("%w: messages of format version %d, it takes 2", kerr.InvalidRecord, in.Records[magicAt])
	case err != nil:
		return err
	case len(rest) > 0, first.Attributes()&attrTransactional != 0:
		return kerr.InvalidRecord
	case first.LogAppendTime():
		return kerr.InvalidTimestamp
	}
	return nil
}

func tooLarge(size, limit int) error {
	return fmt.Errorf("%w: a batch of %d bytes, the limit is %d", broker.ErrTooLarge, size, limit)
}

// settle takes one partition's outcome. It does not block, so that the log may
// call it.
func (p *production) settle(t *broker.Topic, out *producedPart, base int64, err error) {
	if err != nil {
		out.base, out.start = -1, -1
		out.code, out.reason = code(err), text(err)
	} else {
		out.base = base
		out.start, _ = t.Partitions()[out.number].Offsets()
	}
	p.settled()
}

// settled counts one partition, and answers when it was the last.
func (p *production) settled() {
	if p.left.Add(-1) > 0 {
		return
	}
	if p.acks != 0 {
		p.call.reply(p.resp)
		return
	}
	for _, t := range p.resp.topics {
		for _, out := range t.parts {
			if out.code != 0 {
				p.call.fail(fmt.Errorf("produce with acks=0 to %q, partition %d: %s", t.name, out.number, *out.reason))
				return
			}
		}
	}
	p.call.noReply()
}
