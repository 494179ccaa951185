package group_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"mbus/internal/group"
)

// The messages of a window are acknowledged one by one, in any order.
func BenchmarkAckSome(b *testing.B) {
	for _, window := range []int{1000, 10_000, 100_000} {
		b.Run(fmt.Sprint(window), func(b *testing.B) {
			order := rand.New(rand.NewPCG(1, 1)).Perm(window)
			var m group.Member
			p, end := group.NewPosition(0), 0
			for n := 0; b.Loop(); n++ {
				if n%window == 0 {
					m.Lease(p, group.Span{From: int64(end), To: int64(end + window)}, int64(window))
					end += window
				}
				k := uint64(end-window+order[n%window]) + 1
				if _, err := m.AckSome(k, k); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
