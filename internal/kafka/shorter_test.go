package kafka_test

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/batch"
)

// What was written by this process is sent unread. If the file has become shorter meanwhile,
// the client whose answer it was loses its connection; the next one gets all that is left,
// and gets an error for the rest, and so does the log.
func TestFileThatBecomesShorterIsReported(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	const each = 100_000
	for i := range 8 {
		var builder batch.Builder
		value := make([]byte, each)
		copy(value, strconv.Itoa(i))
		builder.Add(1, nil, value)
		builder.Close(0)
		c.publish("orders", 0, builder.Bytes())
	}
	file := filepath.Join(b.setup.dir, "topics", "orders", "0", "00000000000000000000.log")
	if err := os.Truncate(file, 5*each); err != nil {
		t.Fatal(err)
	}
	c.send(fetchRequest(newestFetch, read{"orders", 0, 0}))
	if resp, err := c.tryReceive(fetchRequest(newestFetch)); err == nil {
		t.Errorf("an answer that can't be whole came: %+v", resp)
	}
	if lines := b.book.Lines("can't send bytes of a file", "topic=orders", "partition=0", file); len(lines) != 1 {
		t.Errorf("%q", b.book.Lines())
	}
	c = b.dial()
	p := fetched(ask[*kmsg.FetchResponse](c, fetchRequest(newestFetch, read{"orders", 0, 0})))
	if got := values(t, p.RecordBatches); p.ErrorCode != 0 || len(got) != 4 {
		t.Errorf("code %d, %d messages, want the 4 that are left", p.ErrorCode, len(got))
	}
	p = fetched(ask[*kmsg.FetchResponse](c, fetchRequest(newestFetch, read{"orders", 0, 4})))
	if p.ErrorCode != kerr.CorruptMessage.Code {
		t.Errorf("behind them: code %d", p.ErrorCode)
	}
}
