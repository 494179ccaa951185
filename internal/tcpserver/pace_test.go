package tcpserver

import (
	"testing"
	"time"
)

func TestAFloodOfConnectionsIsPacedAndOthersAreNot(t *testing.T) {
	var p pace
	start := time.Unix(1_000_000, 0)
	now := start
	for range 8000 {
		now = now.Add(p.rest(now))
	}
	if took := now.Sub(start); took < 990*time.Millisecond || took > time.Second {
		t.Errorf("8,000 connections took %s", took)
	}
	for range 1000 {
		now = now.Add(time.Millisecond)
		if rest := p.rest(now); rest != 0 {
			t.Fatalf("a connection each millisecond rests for %s", rest)
		}
	}
}
