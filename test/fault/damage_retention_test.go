package fault

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/line"
	"mbus/internal/vfs/crashfs"
)

// F25. Retention by size overtakes a group that reads slowly, again and again: each
// message is delivered once, or lies in a gap that is reported to the group.
func TestF25RetentionOvertakesAGroup(t *testing.T) {
	var c tally
	for seed := range uint64(runs(3, 100)) {
		c.add(overtake(t, seed))
	}
	report(t, c)
	c.mustKeep(t)
	if c.Duplicates > 0 || c.Read == c.Acked || c.Read == 0 {
		t.Errorf("%+v", c)
	}
}

// overtake publishes, reads a little and removes in turns.
func overtake(t *testing.T, seed uint64) tally {
	t.Helper()
	r := rand.New(rand.NewPCG(25, seed))
	st, err := commitlog.Open(specimenRoot, commitlog.Options{FS: crashfs.New(), SegmentBytes: segmentBytes})
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.New(st, broker.Options{Limits: broker.DefaultLimits(), RetentionBytes: 4 * segmentBytes})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	topic, err := insideOf(b).CreateTopic("bills", 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	address := serveConsumers(t, b)
	s := &specimen{logs: make(map[shelf][]kept)}
	got, next := make([]int, 0), int64(0)
	gaps := int64(0)
	for round := range 12 {
		for range 1 + r.IntN(40) {
			s.append(t, st, shelves[2], r)
		}
		if round == 0 { // a group begins where the log does when it first asks
			ask(t, address, "bills?group=slow&n=1")
			got, next = append(got, 1), 1
		}
		if b.Retain(time.Now()); r.IntN(4) == 0 {
			start, high := topic.Partitions()[0].Offsets()
			if err := topic.Partitions()[0].Trim(start + r.Int64N(high-start+1)); err != nil {
				t.Fatal(err)
			}
		}
		for range r.IntN(4) {
			for _, line := range lines(ask(t, address, fmt.Sprintf("bills?group=slow&format=json&n=%d", 1+r.IntN(30)))) {
				var m struct{ Offset int64 }
				var first int64
				if _, err := fmt.Sscanf(line, "-GAP first=%d partition=0", &first); err == nil {
					gaps, next = gaps+first-next, first
				} else if err := json.Unmarshal([]byte(line), &m); err != nil {
					t.Fatalf("seed %d: a drain says %q", seed, line)
				} else {
					for int64(len(got)) <= m.Offset {
						got = append(got, 0)
					}
					got[m.Offset]++
					next = m.Offset + 1
				}
			}
		}
	}
	c := tally{Runs: 1, Acked: int(next)}
	for _, times := range got {
		c.Read += min(times, 1)
		c.Duplicates += max(times-1, 0)
	}
	c.Lost = int(next-gaps) - c.Read
	return c
}

// serveConsumers opens a consumers' port.
func serveConsumers(t *testing.T, b *broker.Broker) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := line.NewServer(b)
	go server.ServeConsumers(l)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		server.Stop(ctx)
	})
	return l.Addr().String()
}

// ask reads the answer to a consumer's request and closes in good order.
func ask(t *testing.T, address, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(conn, request+"\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("%q: %v after %q", request, err, answer)
	}
	return string(answer)
}
