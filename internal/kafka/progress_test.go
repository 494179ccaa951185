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
			req, total := b.backlog(test.partitions, test.size)
			for attempts := 0; ; attempts++ {
				pause, err := b.readSlowly(req, total, 3*limit)
				if err == nil {
					break
				}
				if pause < limit/2 || attempts == 20 { // else the machine has kept it from reading
					t.Fatalf("%v, and it has paused for %v at most", err, pause)
				}
			}
		})
	}
}

// backlog publishes 4 MiB in messages of a size, and gives a request for all of it.
func (b *bus) backlog(partitions, size int) (req *kmsg.FetchRequest, total int) {
	b.t.Helper()
	c := b.dial()
	var reads []read
	for i := 0; total < 4<<20-size; i++ {
		var builder batch.Builder
		builder.Add(1, nil, make([]byte, size-batch.HeaderSize-batch.RecordOverhead))
		builder.Close(0)
		total += len(builder.Bytes())
		c.publish("orders", int32(i%partitions), builder.Bytes())
		if i < partitions {
			reads = append(reads, read{"orders", int32(i), 0})
		}
	}
	req = fetchRequest(newestFetch, reads...)
	req.MaxBytes = 4 << 20
	for i := range req.Topics {
		req.Topics[i].Partitions[0].PartitionMaxBytes = req.MaxBytes
	}
	return req, total
}

// readSlowly reads some answers of total bytes each, slowly for a while, and gives
// the longest time between two pieces.
func (b *bus) readSlowly(req *kmsg.FetchRequest, total int, during time.Duration) (pause time.Duration, err error) {
	b.t.Helper()
	c := b.dial()
	if err := c.tcp.SetReadBuffer(256 << 10); err != nil { // of a large one the system tells late
		b.t.Fatal(err)
	}
	const answers = 4 // more than systems keep for a connection
	for range answers {
		c.send(req)
	}
	s := &slowly{Conn: c.Conn, until: time.Now().Add(during)}
	c.Conn = s
	for range answers {
		resp, err := c.tryReceive(req)
		if err != nil {
			return s.pause, err
		}
		size := 0
		for _, topic := range resp.(*kmsg.FetchResponse).Topics {
			size += len(topic.Partitions[0].RecordBatches)
		}
		if size != total {
			b.t.Fatalf("%d bytes have come of %d", size, total)
		}
	}
	return s.pause, nil
}

// A slowly is a connection that is read a little now and then, for a while.
type slowly struct {
	net.Conn
	until time.Time
	last  time.Time     // when something was read
	pause time.Duration // the longest between two times
}

func (s *slowly) Read(p []byte) (int, error) {
	const some, pause = 64 << 10, 50 * time.Millisecond
	slow := time.Now().Before(s.until)
	if slow {
		p = p[:min(len(p), some)]
	}
	n, err := s.Conn.Read(p)
	if slow {
		time.Sleep(pause * time.Duration(n) / some) // the pace is what is tested
	}
	now := time.Now()
	if !s.last.IsZero() {
		s.pause = max(s.pause, now.Sub(s.last))
	}
	s.last = now
	return n, err
}
