package fault

import (
	"sync"
	"testing"
	"time"
)

// BenchmarkHostileConnection says what each kind of hostile connection costs the broker: its processor time, which does
// not depend on what else runs. `go test -run '^$' -bench HostileConnection -benchtime 3000x ./test/fault`
func BenchmarkHostileConnection(b *testing.B) {
	for _, k := range hostileKinds {
		b.Run(k.name, func(b *testing.B) {
			s := stranger.besiege(b)
			h := newHostiles(append(s.ports(), s.httpPort()))
			before := processorTime(b, s.Pid())
			numbers := make(chan int)
			var workers sync.WaitGroup
			for range 200 {
				workers.Go(func() {
					for i := range numbers {
						h.attack(k, i)
					}
				})
			}
			b.ResetTimer()
			for i := range b.N {
				numbers <- i
			}
			close(numbers)
			workers.Wait()
			s.mustLetGo(b)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64((processorTime(b, s.Pid())-before)/time.Microsecond)/float64(b.N), "broker-µs/op")
		})
	}
}
