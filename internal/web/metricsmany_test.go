package web

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"mbus/internal/broker"
)

// many makes topics with a message and a group of its own each, which has consumed nothing.
func (r *rig) many(n int) {
	r.Helper()
	view := r.broker.As(broker.Self)
	for i := range n {
		t := r.publish(fmt.Sprintf("topic-%05d", i), "one")
		p, err := view.Position(fmt.Sprintf("group-%05d", i), t, 0)
		if err != nil {
			r.Fatal(err)
		}
		p.Start(0, true)
		p.Close()
	}
	if err := r.broker.AwaitPositions(); err != nil {
		r.Fatal(err)
	}
}

func TestSeriesAreBounded(t *testing.T) {
	r := newRig(t, Options{})
	r.server.series = 3
	r.many(5)
	got := r.scrape()
	r.want(got, map[string]float64{
		`mbus_metrics_left_out{kind="topics"}`: 2, `mbus_metrics_left_out{kind="groups"}`: 2,
		`mbus_partition_end_offset{partition="0",topic="topic-00002"}`:     1,
		`mbus_group_lag_messages{group="group-00002",topic="topic-00002"}`: 1,
	})
	for name := range got {
		if strings.Contains(name, "00003") || strings.Contains(name, "00004") {
			t.Errorf("%s is there", name)
		}
	}
}

// BenchmarkScrape is a scrape of 1,000 topics and 1,000 groups.
func BenchmarkScrape(b *testing.B) {
	r := newRig(b, Options{})
	r.many(1000)
	b.ResetTimer()
	b.ReportAllocs()
	for b.Loop() {
		b.SetBytes(int64(len(r.must(http.StatusOK, "GET", "/metrics", ""))))
	}
}
