package producer

import (
	"fmt"

	"mbus/internal/batch"
)

// isBad says whether the broker has refused a message for what it is.
func isBad(err error) bool { return hasCode(err, "TOOLARGE", "BADMESSAGE") }

// refused deals with a batch that the broker has refused, which is the one behind the
// latest acknowledgement. If it has several messages they are put into batches of their
// own, so that the one that is bad is found and those before it are taken. A message alone
// is left out, with SkipBad. Then the queue can be sent again; else the error says which
// message was refused. The caller holds mu.
func (c *Conn) refused(err error) error {
	n := c.acked.Load() + 1
	if len(c.queue) == 0 || n < c.queue[0].first || n > c.queue[0].last {
		return err
	}
	k := c.queue[0]
	number, rest := k.first, k.data
	for len(rest) > 0 {
		b, behind, sizeErr := batch.Next(rest)
		if sizeErr != nil {
			return err
		}
		if number+int64(b.Count()) > n {
			break
		}
		number, rest = number+int64(b.Count()), behind
	}
	b, behind, _ := batch.Next(rest)
	if b.Count() > 1 {
		c.batchSize.Store(max(1, int64(len(b))/2))
		c.replace(k, number, append(c.apart(b, number), behind...))
		return nil
	}
	if line := k.line + n - k.first; !c.request.SkipBad {
		return fmt.Errorf("%s %d is refused: %w", c.unit(), line, err)
	} else {
		c.bad = append(c.bad, fmt.Sprintf("%s %d is left out: %v", c.unit(), line, err))
	}
	c.skipped.Add(1)
	c.replace(k, n+1, behind)
	c.acknowledge(n)
	return nil
}

// unit is what a message is for the user.
func (c *Conn) unit() string {
	if c.fromLines {
		return "line"
	}
	return "message"
}

// replace has the first chunk of the queue hold other batches, the first message of which
// has the number first. The caller holds mu.
func (c *Conn) replace(k *chunk, first int64, data []byte) {
	c.unacked += len(data) - len(k.data)
	c.queue[0] = &chunk{data: append([]byte(nil), data...), first: first, last: k.last, line: k.line + first - k.first}
}

// apart makes batches of one message each of a batch whose first message has this number.
func (c *Conn) apart(b batch.Batch, number int64) []byte {
	var it batch.Iterator
	var out batch.Builder
	if err := it.Reset(b); err != nil {
		return b
	}
	for it.Next() {
		out.AddRecord(it.Record())
		out.CloseFor(0, producerOf(c.id, number, 1))
		number++
	}
	return out.Bytes()
}
