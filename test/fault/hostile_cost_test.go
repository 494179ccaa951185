package fault

import (
	"os"
	"testing"
	"time"
)

// BenchmarkHostileConnection says what each kind of hostile connection costs in processor time, where 5,000 of them come each
// second. Of handshakes, and of passwords, most are given up then, because they have a share of the processors only.
// `go test -run '^$' -bench HostileConnection -benchtime 10000x ./test/fault`
func BenchmarkHostileConnection(b *testing.B) {
	for _, k := range hostileKinds {
		b.Run(k.name, func(b *testing.B) {
			s := stranger.besiege(b)
			f, err := newFlood(append(s.ports(), s.httpPort()))
			if err != nil {
				b.Fatal(err)
			}
			before, own := processorTime(b, s.Pid()), processorTime(b, os.Getpid())
			b.ResetTimer()
			f.run(b.N, hostilePace, func(int) *hostileKind { return k })
			own = processorTime(b, os.Getpid()) - own
			s.mustLetGo(b)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(own/time.Microsecond)/float64(b.N), "client-µs/op")
			b.ReportMetric(float64(f.done[k])/float64(b.N), "done/op")
			b.ReportMetric(float64((processorTime(b, s.Pid())-before)/time.Microsecond)/float64(b.N), "broker-µs/op")
		})
	}
}
