package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

// ticked runs a progress through ticks a second apart, at which so many are
// acknowledged, and returns what it writes.
func ticked(acked ...int64) string {
	var out strings.Builder
	start := time.Now()
	at := 0
	p := &progress{w: &out, start: start, last: start, acked: func() int64 { return acked[min(at, len(acked)-1)] }}
	ticks, end, ended := make(chan time.Time), make(chan struct{}), make(chan struct{})
	go func() {
		p.run(ticks, end)
		close(ended)
	}()
	for i := range acked {
		at = i // run reads it only after the send
		ticks <- start.Add(time.Duration(i+1) * time.Second)
	}
	close(end)
	<-ended
	return out.String()
}

func TestProgressRewritesOneLineWithCountAndRate(t *testing.T) {
	got := strings.Split(ticked(1000, 4000), "\r")
	want := []string{
		"",
		"producer: 1000 messages acknowledged, 1000/s\x1b[K",
		"producer: 4000 messages acknowledged, 3000/s\x1b[K",
	}
	if len(got) != 4 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Fatalf("got %q", got)
	}
	if !strings.HasPrefix(got[3], "producer: 4000 messages acknowledged, ") || !strings.HasSuffix(got[3], "\n") {
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

func TestAFileIsNoTerminal(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if isTerminal(f) || isTerminal(w) {
		t.Error("a file or a pipe is taken for a terminal")
	}
}
