package jetstream

import (
	"testing"
	"time"
)

// A node that has just died looks like another one of its number for some seconds; one that lives does so for ever.
func TestATwinIsOneThatStays(t *testing.T) {
	start := time.Now()
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	var w twin
	if w.lives(start) {
		t.Error("nobody said so")
	}
	for s := 0.0; s < 8; s++ {
		w.see(at(s))
	}
	if w.lives(at(8)) || w.lives(at(60)) {
		t.Error("it died")
	}
	for s := 60.0; s < 71; s++ {
		w.see(at(s))
	}
	if !w.lives(at(71)) {
		t.Error("it lives")
	}
}
