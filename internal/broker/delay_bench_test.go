package broker_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/batch/codec"
	"mbus/internal/broker"
	"mbus/internal/store"
)

func BenchmarkDeliverDelayed(b *testing.B) {
	const n = 100_000
	for _, way := range []struct {
		name string
		come func(p *broker.Partition, at time.Time) error
	}{
		{"single lines", func(p *broker.Partition, at time.Time) error {
			answers := make(chan error, n)
			for i := range n {
				if err := p.Append(waiting(at, fmt.Sprint(i)), broker.AppendOptions{Checked: true}, func(_ int64, err error) { answers <- err }); err != nil {
					return err
				}
			}
			for range n {
				if err := <-answers; err != nil {
					return err
				}
			}
			return nil
		}},
		{"bulk lines", func(p *broker.Partition, at time.Time) error {
			_, err := p.AppendAndWait(manyWaiting(at, 0, n))
			return err
		}},
		{"in any order", func(p *broker.Partition, at time.Time) error {
			var builder batch.Builder
			for i := range n {
				builder.Add(1, nil, fmt.Append(nil, i), deliverAtHeader(at.Add(time.Duration(rand.IntN(500))*time.Millisecond)))
				if builder.OpenSize() >= broker.TargetBatch {
					builder.Close(0)
				}
			}
			builder.Close(0)
			_, err := p.AppendAndWait(builder.Bytes())
			return err
		}},
		{"one compressed batch", func(p *broker.Partition, at time.Time) error {
			_, err := p.AppendAndWait(batchtest.Compress(b, codec.Gzip, oneBatch(at, n)))
			return err
		}},
	} {
		b.Run(way.name, func(b *testing.B) {
			var spent time.Duration
			for b.Loop() {
				b.StopTimer()
				clock := &stoppedClock{at: time.Now()}
				s := setup{dir: b.TempDir()}
				s.options.Now = clock.now
				broker := mustOpen(b, s)
				p := mustMake(b, broker, "orders").Partitions()[0]
				if err := way.come(p, clock.at.Add(time.Second)); err != nil {
					b.Fatal(err)
				}
				there := make(chan struct{})
				p.Wake(n-1, func(store.Reason) { close(there) })
				b.StartTimer()
				began := time.Now()
				clock.jump(2 * time.Second)
				mustPoke(b, broker)
				<-there
				spent += time.Since(began)
				b.StopTimer()
				mustClose(b, broker)
				b.StartTimer()
			}
			b.ReportMetric(float64(b.N)*n/spent.Seconds(), "messages/s")
		})
	}
}

// mustPoke has the delivery look at the clock, by a message for another topic.
func mustPoke(t testing.TB, b *bus) {
	t.Helper()
	if _, err := mustMake(t, b, "poke").Partitions()[0].AppendAndWait(waiting(time.Now().Add(time.Hour), "far")); err != nil {
		t.Fatal(err)
	}
}
