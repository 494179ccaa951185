package kafka_test

import (
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/batch"
	"mbus/internal/broker"
)

// A client may take as long as it likes for answers, if it goes on reading: here
// several times as long as it may take for the first byte of what waits.
func TestASlowReaderIsNotCutOffWhileItReads(t *testing.T) {
	const limit = time.Second
	for name, test := range map[string]struct{ partitions, size int }{
		"sent unread": {1, 1 << 20},
		"written":     {80, 50_000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it takes its time
			b := start(t, setup{limits: func(l *broker.Limits) { l.WriteTime = limit }})
			b.topic("orders", test.partitions)
			c := b.dial()
			if err := c.Conn.(*net.TCPConn).SetReadBuffer(256 << 10); err != nil { // of a large one the system tells late
				t.Fatal(err)
			}
			var reads []read
			total := 0
			for i := 0; total < 4<<20-test.size; i++ {
				var builder batch.Builder
				builder.Add(1, nil, make([]byte, test.size-batch.HeaderSize-batch.RecordOverhead))
				builder.Close(0)
				total += len(builder.Bytes())
				c.publish("orders", int32(i%test.partitions), builder.Bytes())
				if i < test.partitions {
					reads = append(reads, read{"orders", int32(i), 0})
				}
			}
			req := fetchRequest(newestFetch, reads...)
			req.MaxBytes = 4 << 20
			for i := range req.Topics {
				req.Topics[i].Partitions[0].PartitionMaxBytes = req.MaxBytes
			}
			const answers = 4 // more than systems keep for a connection
			for range answers {
				c.send(req)
			}
			c.Conn = &slowly{Conn: c.Conn, until: time.Now().Add(3 * limit)}
			for range answers {
				size := 0
				for _, topic := range c.receive(req).(*kmsg.FetchResponse).Topics {
					size += len(topic.Partitions[0].RecordBatches)
				}
				if size != total {
					t.Fatalf("%d bytes have come of %d", size, total)
				}
			}
		})
	}
}

// A slowly is a connection that is read a little now and then, for a while.
type slowly struct {
	net.Conn
	until time.Time
}

func (s *slowly) Read(p []byte) (int, error) {
	if time.Now().Before(s.until) {
		time.Sleep(50 * time.Millisecond) // the pace is what is tested
		p = p[:min(len(p), 64<<10)]
	}
	return s.Conn.Read(p)
}
