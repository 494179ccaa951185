package main

import (
	"strings"
	"testing"
	"time"
)

// ticked runs a progress through ticks a second apart, at each of which, and
// then at the end, so many are acknowledged, and returns what it writes.
func ticked(acked ...int64) string {
	var out strings.Builder
	start := time.Now()
	next := func() (n int64) {
		n, acked = acked[0], acked[1:]
		return n
	}
	p := &progress{w: &out, start: start, last: start, acked: next}
	ticks, end, ended := make(chan time.Time), make(chan struct{}), make(chan struct{})
	seconds := len(acked) - 1
	go func() {
		p.run(ticks, end)
		close(ended)
	}()
	for i := range seconds {
		ticks <- start.Add(time.Duration(i+1) * time.Second)
	}
	close(end)
	<-ended
	return out.String()
}

func TestProgressRewritesOneLineWithCountAndRate(t *testing.T) {
	got := strings.Split(ticked(1000, 4000, 5000), "\r")
	want := []string{
		"",
		"producer: 1000 messages acknowledged, 1000/s\x1b[K",
		"producer: 4000 messages acknowledged, 3000/s\x1b[K",
	}
	if len(got) != 4 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Fatalf("got %q", got)
	}
	if !strings.HasPrefix(got[3], "producer: 5000 messages acknowledged, ") || !strings.HasSuffix(got[3], "\n") {
		t.Errorf("at the end %q", got[3])
	}
}

func TestShortInputShowsNoProgress(t *testing.T) {
	end := make(chan struct{})
	close(end)
	var out strings.Builder
	p := &progress{w: &out, acked: func() int64 { return 1 }}
	p.run(nil, end)
	if out.Len() > 0 {
		t.Errorf("got %q", out.String())
	}
}
