package kafka

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"

	"mbus/internal/batch"
	"mbus/internal/broker"
)

// Produce, versions 3 to 13: one record batch a partition, stored as it is. Versions 0 to 2
// are advertised, because librdkafka takes their absence for a broker without compression,
// and get UNSUPPORTED_VERSION for each partition. acks=1 waits for the sync as acks=all does.
// With acks=0 there is no response, and an error closes the connection. From version 13 on
// topics are named by their ids. There are no transactions.
func init() {
	register(api{
		key: 0, min: 0, max: 13, stream: produce, flexible: firstFlexibleProduce,
		doc: "Versions 0 to 2 get UNSUPPORTED_VERSION. acks=1 waits for the sync as acks=all does. No transactions.",
	})
}

// A produceCall is a Produce request, some of whose partitions are pending.
type produceCall struct {
	call     *call
	acks     int16
	response *produceResponse
	pending  atomic.Int32

	refusal error // for all partitions
}

// produce reads a request and appends each batch when it has been read.
func produce(c *call, s *stream) {
	transactional := -1
	if c.header.version >= 3 {
		transactional = s.length(2)
		s.skip(max(0, transactional))
	}
	p := newProduceCall(c, c.header.version, int16(s.number(2)), transactional >= 0)
	s.number(4) // time-out
	memory := responseMemory
	for n := s.length(4); n > 0 && s.err == nil; n-- {
		memory -= topicCost
		p.readTopic(s, &memory, n == 1)
	}
	if s.tags(); s.err == nil {
		p.countDown()
	}
}

func newProduceCall(c *call, version, acks int16, transactional bool) *produceCall {
	p := &produceCall{call: c, acks: acks, response: &produceResponse{version: version}}
	p.pending.Store(1) // until all have been appended
	switch {
	case version < 3:
		p.refusal = kerr.UnsupportedVersion
	case transactional:
		p.refusal = kerr.TransactionalIDAuthorizationFailed
	case acks < -1 || acks > 1:
		p.refusal = kerr.InvalidRequiredAcks
	}
	return p
}

// readTopic reads one topic and its partitions. memory is the rest of responseMemory. last is
// set for the last topic of a request.
func (p *produceCall) readTopic(s *stream, memory *int, last bool) {
	var name string
	var id [16]byte
	if p.response.version >= firstProduceByID {
		copy(id[:], s.next(len(id)))
	} else {
		name = s.text()
	}
	n := max(0, s.length(4))
	if *memory -= n * partCost; n > s.left || *memory < 0 {
		s.err = errors.Join(s.err, errCost)
	}
	if s.err != nil {
		return
	}
	p.response.topics = append(p.response.topics, producedTopic{})
	out := &p.response.topics[len(p.response.topics)-1]
	topic, err := p.addTopic(out, name, id, n)
	for i := 0; i < n && s.err == nil; i++ {
		p.readPartition(s, topic, &out.partitions[i], last && i == n-1, err)
	}
	s.tags()
}

// readPartition reads one partition's batch and appends it.
func (p *produceCall) readPartition(s *stream, t *broker.Topic, out *producedPartition, last bool, refused error) {
	out.number = int32(s.number(4))
	size := max(0, s.length(4))
	if limit := p.call.server.broker.Limits.MaxBatch(); size > limit && refused == nil {
		refused = tooLarge(size, limit)
	}
	var records []byte
	if refused != nil {
		s.skip(size)
	} else {
		records = s.next(size)
	}
	if s.err != nil {
		return
	}
	p.append(t, records, out, last && s.in == nil, refused) // of a stream the next request may arrive late
	s.tags()
}

// addTopic finds a topic and adds so many of its partitions to the response. The error is for
// all of them.
func (p *produceCall) addTopic(out *producedTopic, name string, id [16]byte, partitions int) (*broker.Topic, error) {
	out.name, out.id = name, id
	out.partitions = make([]producedPartition, partitions)
	p.pending.Add(int32(partitions))
	topic, err := p.call.topics().find(name, id, p.response.version >= firstProduceByID, broker.Write)
	if err == nil {
		out.name = topic.Name
		p.call.conn.topic.Store(topic)
	}
	switch {
	case p.refusal != nil:
		err = p.refusal
	case broker.Internal(out.name):
		err = broker.ErrInternalTopic
	}
	return topic, err
}

// attrTransactional marks a batch as part of a transaction.
const attrTransactional = 0x10

// append appends one partition's batch to the log, or completes the partition with err. last
// is set for the last partition of a request: the connection's goroutine then commits.
func (p *produceCall) append(t *broker.Topic, records []byte, out *producedPartition, last bool, err error) {
	out.time = -1
	done := func(base int64, err error) {
		p.partitionDone(t, out, base, err)
	}
	if err == nil {
		err = p.check(t, out.number, records)
	}
	if err == nil {
		log := t.Partitions()[out.number]
		err = log.Append(records, broker.AppendOptions{Port: broker.Kafka, Inline: last && len(records) <= broker.InlineCommit}, done)
	}
	if err != nil {
		done(0, err)
	} else if b := batch.Batch(records); b.LogAppendTime() {
		out.time = b.MaxTimestamp()
	}
}

// The position of the format's version, the same in record batches and in older message
// sets, and the version of record batches. An older version is INVALID_RECORD, because clients
// repeat a request after CORRUPT_MESSAGE.
const (
	magicAt        = 16
	magicOfBatches = 2
)

// check checks what Kafka demands of a batch beyond what the log does, and its partition.
func (p *produceCall) check(t *broker.Topic, partition int32, records []byte) error {
	b := p.call.server.broker
	switch {
	case len(records) == 0:
		return kerr.InvalidRecord
	case len(records) > b.Limits.MaxBatch():
		return tooLarge(len(records), b.Limits.MaxBatch())
	}
	first, rest, err := batch.Next(records)
	switch {
	case len(records) > magicAt && records[magicAt] < magicOfBatches:
		return fmt.Errorf("%w: messages of format version %d, it takes 2", kerr.InvalidRecord, records[magicAt])
	case err != nil:
		return err
	case len(rest) > 0, first.Attributes()&attrTransactional != 0:
		return kerr.InvalidRecord
	case first.LogAppendTime():
		return kerr.InvalidTimestamp
	}
	if _, code := partitionOf(t, nil, partition); code != 0 {
		return broker.ErrUnknownTopic
	}
	return nil
}

func tooLarge(size, limit int) error {
	return fmt.Errorf("%w: a batch of %d bytes, the limit is %d", broker.ErrTooLarge, size, limit)
}

// partitionDone completes one partition. It does not block, because the log calls it.
func (p *produceCall) partitionDone(t *broker.Topic, out *producedPartition, base int64, err error) {
	if err != nil {
		out.base, out.start = -1, -1
		out.code, out.reason = code(err), text(err)
	} else {
		out.base = base
		out.start, _ = t.Partitions()[out.number].Offsets()
	}
	p.countDown()
}

// countDown counts one partition as complete. After the last one it completes the call.
func (p *produceCall) countDown() {
	if p.pending.Add(-1) > 0 {
		return
	}
	if p.acks != 0 {
		p.call.reply(p.response)
		return
	}
	for _, t := range p.response.topics {
		for _, out := range t.partitions {
			if out.code != 0 {
				p.call.fail(fmt.Errorf("produce with acks=0 to %q, partition %d: %s", t.name, out.number, *out.reason))
				return
			}
		}
	}
	p.call.noReply()
}
