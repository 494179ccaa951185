package broker

import "mbus/internal/store"

// Errors of the store, as those see them that use the broker: test with errors.Is.
var (
	ErrTopicExists  = store.ErrTopicExists
	ErrUnknownTopic = store.ErrUnknownTopic
	ErrOutOfRange   = store.ErrOutOfRange
	ErrDeleted      = store.ErrDeleted
	ErrClosed       = store.ErrClosed
	ErrMoved        = store.ErrMoved
	ErrUnavailable  = store.ErrUnavailable
	ErrFull         = store.ErrFull
	ErrFailed       = store.ErrFailed
	ErrUnusable     = store.ErrUnusable
)

// What reading a partition gives, as the store has it.
type (
	Chunk       = store.Chunk
	GapError    = store.GapError
	DamageError = store.DamageError
	Reason      = store.Reason
)

// Reasons for which Partition.Wake calls.
const (
	More    = store.More
	Deleted = store.Deleted
	Closed  = store.Closed
)
