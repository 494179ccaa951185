package jetstream

import (
	"context"
	"errors"
	"time"
)

// A place is where the messages of a partition are.
type place struct {
	stream, subject string
}

// A wire is what partitions need of the engine. Each call is one attempt, which ends with errSilent
// where there was no answer in time: what was asked may have been done, or may be done later.
type wire interface {
	// publishing begins the publishing of one message.
	publishing(at place) publishing
	// next gives the first message of a place from a sequence on, by way of the stream's leader. It
	// fails with errNone if there is none.
	next(ctx context.Context, at place, from uint64, patience time.Duration) (stored, error)
	// last gives the last message of a place, by way of the stream's leader. It fails with errNone.
	last(ctx context.Context, at place, patience time.Duration) (stored, error)
	// some gives messages of a place from a sequence on, at least one, of up to max bytes or a
	// little more, of any replica: it may have less than the leader. It fails with errNone.
	some(ctx context.Context, at place, from uint64, max int, patience time.Duration) ([]stored, error)
	// purge removes the messages of a place below a sequence.
	purge(ctx context.Context, at place, below uint64) error
	// remove removes one message.
	remove(ctx context.Context, at place, seq uint64) error
}

// A publishing is one message on its way. It may be sent several times: the answers of all attempts
// come to one channel.
type publishing interface {
	// send sends the message, to be stored under a condition.
	send(c condition, data []byte) error
	// answers gives the answer of an attempt.
	answers() <-chan answer
	// end is called when no answer is needed any more.
	end()
}

// A condition is what must be true of a message's place for it to be stored.
type condition struct {
	kind conditionKind
	seq  uint64 // of the last message
}

type conditionKind uint8

const (
	always     conditionKind = iota
	lastOfAll                // the last message of the stream has the sequence
	lastOfThis               // the last message of the subject has the sequence
)

// An answer is what the engine says of an attempt: the sequence of the stored message, or why it says
// that it was not stored.
type answer struct {
	seq uint64
	err error
}

var (
	errNone   = errors.New("there is no such message")
	errSilent = errors.New("the engine gave no answer in time")
	errBusy   = errors.New("another message to the subject is on its way") // 10164
)
