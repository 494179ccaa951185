package client

import (
	"fmt"

	"mbus/internal/batch"
)

// isBad reports whether the broker has refused a message itself.
func isBad(err error) bool { return hasCode(err, "TOOLARGE", "BADMESSAGE") }

// refused handles a batch that the broker has refused, which is the one behind the latest
// acknowledgement. If it has several messages they are put into batches of their own, so
// that the broker takes those before the bad one, and refuses that. A message alone is left
// out, with SkipBad. Then the backlog can be sent again; otherwise the error names the
// refused message. The caller holds mu.
func (c *Producer) refused(err error) error {
	n := c.acked.Load() + 1
	if len(c.backlog.chunks) == 0 {
		return err
	}
	k := c.backlog.chunks[0]
	if n < k.first || n > k.last {
		return err
	}
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
		c.backlog.replaceFirst(number, append(c.apart(b, number), behind...))
		return nil
	}
	if line := k.line + n - k.first; !c.request.SkipBad {
		return fmt.Errorf("%s %d is refused: %w", c.unit(), line, err)
	} else {
		c.refusals = append(c.refusals, fmt.Sprintf("%s %d is left out: %v", c.unit(), line, err))
	}
	c.skipped.Add(1)
	c.backlog.replaceFirst(n+1, behind)
	c.acknowledge(n)
	return nil
}

// unit is the user's word for a message.
func (c *Producer) unit() string {
	if c.pending.fromLines {
		return "line"
	}
	return "message"
}

// apart makes batches of one message each of a batch whose first message has this number.
func (c *Producer) apart(b batch.Batch, number int64) []byte {
	var it batch.Iterator
	var out batch.Builder
	if err := it.Reset(b); err != nil {
		return b
	}
	for it.Next() {
		out.AddRecord(it.Record())
		out.CloseFor(0, numbered(c.id, number, 1))
		number++
	}
	return out.Bytes()
}
