package kafka_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/batch"
)

// BenchmarkProduce has clients that send one batch at a time, each synced.
func BenchmarkProduce(b *testing.B) {
	for _, clients := range []int{1, 32} {
		for _, records := range []int{1, 1000} {
			b.Run(fmt.Sprintf("clients=%d/records=%d", clients, records), func(b *testing.B) {
				bus := start(b, setup{})
				bus.topic("orders", 1)
				var builder batch.Builder
				for range records {
					builder.Add(1, nil, make([]byte, 100))
				}
				builder.Close(0)
				var left atomic.Int64
				left.Store(int64(b.N))
				ended := make(chan struct{})
				b.ResetTimer()
				for range clients {
					c := bus.dial()
					go func() {
						defer func() { ended <- struct{}{} }()
						for left.Add(-1) >= 0 {
							c.publish("orders", 0, builder.Bytes())
						}
					}()
				}
				for range clients {
					<-ended
				}
				b.ReportMetric(float64(b.N*records)/b.Elapsed().Seconds(), "messages/s")
			})
		}
	}
}

// BenchmarkFetch reads batches of 1000 records, 100 bytes each.
func BenchmarkFetch(b *testing.B) {
	bus := start(b, setup{})
	bus.topic("orders", 1)
	c := bus.dial()
	var builder batch.Builder
	for range 1000 {
		builder.Add(1, nil, make([]byte, 100))
	}
	builder.Close(0)
	for range 10 {
		c.publish("orders", 0, builder.Bytes())
	}
	req := fetchRequest(12, read{"orders", 0, 0})
	req.MaxBytes = 1 << 20
	b.ResetTimer()
	for range b.N {
		resp := ask[*kmsg.FetchResponse](c, req)
		if len(fetched(resp).RecordBatches) < 9*len(builder.Bytes()) {
			b.Fatal("too little came")
		}
	}
	b.ReportMetric(float64(b.N*10_000)/b.Elapsed().Seconds(), "messages/s")
}
