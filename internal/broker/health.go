package broker

import (
	"fmt"
	"slices"

	"mbus/internal/store"
)

// A Health is the state of the broker: it is well if Problems is empty.
type Health struct {
	Disk     store.Disk
	Problems []Problem
}

// A Problem is something that is wrong with the broker.
type Problem struct {
	Check  string // its name, one of Checks
	Grave  bool   // clients can't publish, or can't be served at all
	Detail string // a sentence: what is wrong, and what to do
}

// Checks are the names of all that Health looks at.
var Checks = []string{CheckRecovery, CheckDirectory, CheckSpace, CheckLogs, CheckTopics, CheckPositions}

// The checks of Health. A broker that serves has recovered.
const (
	CheckRecovery  = "recovery"
	CheckDirectory = "data-directory"
	CheckSpace     = "disk-space"
	CheckLogs      = "logs"
	CheckTopics    = "topics"
	CheckPositions = "positions"
)

// Has says whether a check has found a problem.
func (h *Health) Has(check string) bool {
	return slices.ContainsFunc(h.Problems, func(p Problem) bool { return p.Check == check })
}

// Health looks at the state of the broker. It writes nothing, and may be called often.
func (v *View) Health() (h Health, err error) {
	if err := v.Allow(Describe, ClusterResource, ""); err != nil {
		return h, err
	}
	b := v.broker
	is := b.store.Health()
	h.Disk = is.Disk
	add := func(check string, grave bool, format string, args ...any) {
		h.Problems = append(h.Problems, Problem{check, grave, fmt.Sprintf(format, args...)})
	}
	if is.NotWritable != nil {
		add(CheckDirectory, true, "The data directory can't be written to (%v): look at the disk, and at the owner of the directory.", is.NotWritable)
	}
	if is.Disk.Full {
		add(CheckSpace, true, "Publishing is refused, because the disk has %d MiB free and %d MiB are reserved for consumers: free space, or shorten -retention.",
			is.Disk.Free>>20, is.Disk.Reserve>>20)
	}
	if is.Failed > 0 {
		add(CheckLogs, true, "%s after an I/O error (%v): look at the disk; an append tries again and again.", count(is.Failed, "partition takes", "partitions take")+" no messages", is.Failure)
	}
	if is.Unusable > 0 {
		add(CheckTopics, false, "%s damaged or missing: the log of the broker's start says which, and what to do.", count(is.Unusable, "topic is", "topics are"))
	}
	if err := b.PositionsUnusable(); err != nil {
		add(CheckPositions, true, "The groups' positions can't be used (%v).", err)
	}
	return h, nil
}

// count is a number with a word for one or for several.
func count(n int, one, several string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, several)
}

// StoreStats are the numbers of the store, since the broker's start.
type StoreStats = store.Stats

// A Histogram is one of StoreStats.
type Histogram = store.Histogram

// StoreStats are those of the broker's store.
func (v *View) StoreStats() (*StoreStats, error) {
	if err := v.Allow(Describe, ClusterResource, ""); err != nil {
		return nil, err
	}
	return v.broker.store.Stats(), nil
}
