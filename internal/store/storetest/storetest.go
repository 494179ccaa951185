// Package storetest is the conformance suite of package store. Every test ends by opening the store
// again and comparing all its contents with a model.
package storetest

import (
	"testing"

	"mbus/internal/store"
)

// An Opener opens an empty store for a test. reopen closes the open store, as its user would, and opens
// it again with its contents; it may be called any number of times. The Opener closes what is open
// at the end of the test. A store must free space in steps (see Partition.Retain) of at most
// SegmentBytes and a batch, or the tests of retention can't see it.
type Opener func(t *testing.T) (s store.Store, reopen func() store.Store)

// SegmentBytes is the largest step of retention that the tests allow, in bytes.
const SegmentBytes = 4 << 10

// Run runs all tests against stores that open makes.
func Run(t *testing.T, open Opener) {
	for _, group := range []struct {
		name  string
		tests []test
	}{
		{"Topics", topicTests},
		{"Alter", alterTests},
		{"Restore", restoreTests},
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

// A test is a promise with the function that checks it.
type test struct {
	name string
	run  func(*fixture)
}
