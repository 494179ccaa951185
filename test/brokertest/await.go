package brokertest

import (
	"runtime"
	"testing"
	"time"
)

// Await polls a condition that no event announces, and fails the test unless it
// holds within bound.
func Await(t testing.TB, bound time.Duration, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(bound); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in %v this does not happen: %s", bound, what)
		}
	}
}

// Within fails the test, and says where everything stands, unless f ends within
// bound.
func Within(t testing.TB, bound time.Duration, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(bound):
		stacks := make([]byte, 1<<20)
		t.Fatalf("in %v this does not happen: %s\n%s", bound, what, stacks[:runtime.Stack(stacks, true)])
	}
}
