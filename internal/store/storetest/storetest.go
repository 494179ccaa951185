// Package storetest checks that an implementation of store.Store keeps the
// promises that package store states. Every test ends by opening the store
// again and comparing everything in it with a model.
package storetest

import (
	"testing"

	"mbus/internal/store"
)

// An Opener makes an empty store for one test. reopen closes the store that is
// open, as its user would, and opens it again with what it had kept; it may be
// called any number of times. The Opener ends whatever is still open when the
// test does. What the store frees at a time (see Partition.Retain) must be at
// most SegmentBytes and a batch, or the tests of retention see nothing of it.
type Opener func(t *testing.T) (s store.Store, reopen func() store.Store)

// SegmentBytes is the grain of retention that the tests expect, at the most.
const SegmentBytes = 4 << 10

// Run runs all tests against stores that open makes.
func Run(t *testing.T, open Opener) {
	for _, group := range []struct {
		name  string
		tests []test
	}{
		{"Topics", topicTests},
		{"Alter", alterTests},
		{"Append", appendTests},
		{"Read", readTests},
		{"OffsetForTime", timeTests},
		{"Trim", trimTests},
		{"Retain", retainTests},
		{"Sync", syncTests},
		{"Tail", tailTests},
		{"Wake", wakeTests},
		{"Concurrency", concurrencyTests},
		{"Close", closeTests},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, test := range group.tests {
				t.Run(test.name, func(t *testing.T) {
					f := newFixture(t, open)
					test.run(f)
					f.restart()
				})
			}
		})
	}
}

// A test is one promise and the function that checks it.
type test struct {
	name string
	run  func(*fixture)
}
