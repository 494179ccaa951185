package line

import (
	"errors"
	"math"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/publish"
)

// takeBatches publishes all whole batches that have come and returns how long the next one is.
func (p *publisher) takeBatches() (int, error) {
	in, limit := p.in.Bytes(), p.maxBatch()
	used, messages := 0, 0
	want := batch.HeaderSize
	var wrong error
	for len(in)-used >= batch.HeaderSize {
		n, err := batch.Size(in[used:], limit)
		if err != nil {
			wrong = p.badBatch(in[used:], messages, err)
			break
		}
		if want = n; n > len(in)-used {
			break
		}
		b := batch.Batch(in[used : used+n])
		if err := p.broker.Check(p.known(), b); err != nil {
			wrong = p.badBatch(b, messages, err)
			break
		}
		used, messages, want = used+n, messages+b.Count(), batch.HeaderSize
	}
	if err := p.publishBatches(in[:used], messages); err != nil {
		return 0, err
	}
	p.in.Skip(used)
	return want, wrong
}

// maxBatch is the size of the largest batch that the topic takes, in bytes.
func (p *publisher) maxBatch() int {
	if t := p.known(); t != nil {
		return t.MaxBatch()
	}
	return p.broker.Limits.MaxBatch()
}

// known is the topic; nil if the first message makes it.
func (p *publisher) known() *broker.Topic {
	if p.topic != nil {
		return p.topic
	}
	t, _ := p.view.Topic(p.request.topic, broker.Write)
	return t
}

func (p *publisher) badBatch(b []byte, before int, err error) error {
	number := p.count + uint64(before) + 1
	limit := p.maxBatch()
	if n, unlimited := batch.Size(b, math.MaxInt); unlimited == nil && n > limit {
		what := "message %d, with its batch,"
		if batch.Batch(b[:batch.HeaderSize]).Count() > 1 {
			what = "the batch that begins with message %d"
		}
		most, whose := publish.Limit(p.broker, p.known())
		return errorLinef("TOOLARGE", what+" has %d bytes, the limit is %d, of which a message may take %d (%s)", number, n, limit, most, whose)
	}
	var line *errorLine
	errors.As(toErrorLine(err), &line)
	return errorLinef(line.code, "the batch that begins with message %d: %w", number, err)
}

func (p *publisher) publishBatches(batches []byte, messages int) error {
	if messages == 0 {
		return nil
	}
	if err := p.makeTopic(); err != nil {
		return err
	}
	first := int64(p.count) + 1
	if p.wait != nil || p.stream != nil && p.stream.KnowsMore(first) {
		var err error
		if batches, err = p.rebuild(batches, first); err != nil {
			return toErrorLine(err)
		}
		defer p.broker.Budget.Give(len(batches))
	} else {
		p.nameProducer(batches, first)
	}
	number := p.acks.begin(messages, 1)
	p.count += uint64(messages)
	done := func(_ int64, err error) { p.acks.complete(number, err) }
	if len(batches) == 0 { // all messages are stored
		done(0, nil)
		return p.acks.failure()
	}
	all := p.topic.Partitions()
	o := broker.AppendOptions{Checked: true, Port: broker.Producers, Stream: p.stream, Inline: len(batches) <= broker.InlineCommit}
	if err := all[p.topic.Next(len(all))].Append(batches, o, done); err != nil {
		done(0, err)
	}
	return p.acks.failure()
}

// nameProducer sets the producer id that batches are stored with: the stream's, or none. The
// id of a Kafka producer promises numbered batches. Without a stream nobody keeps that promise:
// such batches were consumed from another topic.
func (p *publisher) nameProducer(batches []byte, first int64) {
	for len(batches) > 0 {
		b, rest, err := batch.Next(batches)
		if err != nil {
			return
		}
		if p.stream == nil {
			b.ClearProducer()
		} else {
			b.SetProducer(p.stream.Producer(first+int64(b.Count())-1, b.Count(), 0))
		}
		first += int64(b.Count())
		batches = rest
	}
}

// rebuild builds batches again, from number first on, with the header that delays messages and
// without those that are stored. It takes their memory from the budget.
func (p *publisher) rebuild(batches []byte, first int64) ([]byte, error) {
	r := rebuilder{p: p, number: first}
	err := broker.Scan(func(it *batch.Iterator) error {
		for len(batches) > 0 {
			b, rest, err := batch.Next(batches)
			if err != nil {
				return err
			}
			if err := r.addAll(it, b); err != nil {
				return err
			}
			batches = rest
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !p.broker.Budget.Take(len(r.out.Bytes())) {
		return nil, &errorLine{"BUSY", publish.ErrBusy}
	}
	return r.out.Bytes(), nil
}

// A rebuilder builds batches again.
type rebuilder struct {
	p      *publisher
	out    batch.Builder
	number int64 // of the next message
}

// addAll adds the messages of a batch.
func (r *rebuilder) addAll(it *batch.Iterator, b batch.Batch) error {
	if r.p.storedAll(r.number, b.Count()) {
		r.number += int64(b.Count())
		return nil
	}
	if err := it.Reset(b); err != nil {
		return err
	}
	for it.Next() {
		if r.p.storedAll(r.number, 1) {
			r.close()
			r.number++
			continue
		}
		m := it.Record()
		var headers []batch.Header
		for k, v := range m.Headers() {
			headers = append(headers, batch.Header{Key: string(k), Value: v})
		}
		r.out.Add(m.Timestamp, m.Key, m.Value, append(headers, r.p.wait...)...)
		r.number++
		if r.out.OpenSize() >= broker.TargetBatch {
			r.close()
		}
	}
	r.close()
	return it.Err()
}

// close finishes the open batch, if there is one.
func (r *rebuilder) close() {
	if r.p.stream == nil {
		r.out.Close(0)
		return
	}
	n := r.out.Count()
	r.out.CloseFor(0, r.p.stream.Producer(r.number-1, n, 0))
}
