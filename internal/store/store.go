// Package store is the driver between the broker and whatever keeps its
// messages: the interfaces an implementation has, the chunks it gives out and
// the errors callers tell apart. A store keeps whole, opaque record batches;
// it knows their headers and nothing of their records. Validation, limits and
// waiting belong to the broker. Package storetest checks an implementation.
package store

import (
	"errors"
	"fmt"
	"time"
)

// A Store keeps topics. Its methods may be called by any goroutine.
type Store interface {
	// Topics lists all topics by name, ascending.
	Topics() []Topic
	// CreateTopic makes a topic that is durable when it returns. It fails with
	// ErrTopicExists, ErrFull, or an error of the system.
	CreateTopic(name string, partitions int, config string) (Topic, error)
	// AddPartitions gives a topic as many partitions as it takes to have total,
	// which is more than it has. They are durable when it returns; a crash leaves
	// all of them or none. It fails with ErrUnknownTopic, ErrFull, or an error of
	// the system.
	AddPartitions(name string, total int) (Topic, error)
	// Configure replaces a topic's configuration. The new one is durable when it
	// returns; a crash leaves the old one or the new. It fails as AddPartitions
	// does.
	Configure(name, config string) error
	// DeleteTopic removes a topic for good: when it returns, no restart brings
	// a byte of it back. Its partitions return ErrDeleted from then on.
	DeleteTopic(name string) error
	// Partition gives one partition, numbered from 0, or ErrUnknownTopic.
	Partition(topic string, number int) (Partition, error)
	// CheckSpace says whether a publisher may append n bytes. It fails with ErrFull if that
	// would leave less space than the reserve for consumers, who go on while the disk is full.
	// The broker's own records are appended without it.
	CheckSpace(n int) error
	// Deleted says whether the topic of this id has been deleted, as far as is known
	// for certain: what depends on it may be forgotten. False says nothing: a topic's
	// directory may only be missing.
	Deleted(id [16]byte) bool
	// UseClock sets the clock that append times are taken from, which is the system's
	// until then, and may call KeepNote. It is called once, before anything is appended.
	UseClock(now func() time.Time)
	// Note gives what was last kept with KeepNote; nil if there is nothing, or it can't be
	// read.
	Note() []byte
	// KeepNote keeps up to MaxNote bytes of the broker's beside the topics, in place of
	// those that were kept before. They are durable when it returns; a crash leaves the
	// old ones or the new.
	KeepNote(p []byte) error
	// Close syncs what was appended, and ends. Appends under way are answered.
	Close() error
}

// A Topic is what a store knows of a topic.
type Topic struct {
	Name       string
	ID         [16]byte // random (RFC 9562, version 4), new for each incarnation
	Partitions int
	Epoch      int32 // leader epoch of partition 0, that of partition 1 is one more and so on; higher than those of a topic of this name before

	// Epochs are where the epochs go on with others, because partitions were added later;
	// ascending. See PartitionEpoch. It is not changed, but replaced.
	Epochs []EpochStart

	// Config is the topic's own configuration: a JSON object without spaces, which
	// the store keeps and does not look into, of at most MaxConfig bytes; "" for none.
	Config string
}

// MaxConfig is the largest Topic.Config, in bytes: some ten settings.
const MaxConfig = 1 << 10

// MaxNote is the most that Store.KeepNote keeps, in bytes.
const MaxNote = 8 << 10

// A Partition is one log of record batches. Its methods may be called by any
// goroutine; appends are ordered by the calls.
type Partition interface {
	// Write takes one or more whole batches, which the caller has verified,
	// stamps them in place with their offsets, and writes them. It does not
	// wait until they are durable: done is called once for each Write that
	// returned nil, in the order of the calls, with the first record's offset
	// when the batches are durable and visible, or with the error that means
	// they may not be. done must not block, nor call Write; it may run before
	// Write returns. The caller does what Lead says.
	//
	// An error returned means that nothing was stored and done is not called:
	// ErrFull (try again later), ErrFailed (after an I/O error; it may work later),
	// ErrDeleted, ErrClosed or ErrNotLeader. The batches may be reused when Write returns.
	Write(batches []byte, done func(base int64, err error)) (Lead, error)

	// Read points c at whole batches, of maxBytes or less but at least one,
	// that begin with the one that holds offset. c ends up empty at the high
	// watermark. ErrOutOfRange says that offset is below the start or above
	// the high watermark; a *GapError that the log has nothing at offset but
	// goes on later; a *DamageError that what is stored there can't be used.
	// A Chunk that is used again, for the offset where it ended, saves the
	// look-up. The caller ends with c.Release.
	Read(offset int64, maxBytes int, c *Chunk) error

	// Offsets are the log start offset and the high watermark: records from
	// start up to but not including high are durable and readable.
	Offsets() (start, high int64)

	// OffsetForTime is the base offset of the first batch that has a record as
	// late as time, in milliseconds since 1970; the high watermark if none has.
	OffsetForTime(time int64) (int64, error)

	// Size is the number of bytes of all batches stored.
	Size() int64

	// Trim makes before the log start offset, for good, and frees what space
	// it can. It does nothing if the log starts there or later already;
	// ErrOutOfRange says that before is above the high watermark.
	Trim(before int64) error

	// Retain forgets old records, whole segments at a time.
	Retain(Retention) (Retained, error)

	// Roll sets the size in bytes and the age from which the next append, or Retain,
	// begins a new segment, so that Retain can hold small bounds; 0 for the store's own.
	Roll(bytes int64, age time.Duration)

	// Tail is the lowest offset from which the log has at most n bytes to its end, or
	// a little more. It costs the same however long the log is.
	Tail(n int64) (offset int64, err error)

	// Sync calls done once all that has been answered without an error is durable. For a
	// store that syncs before it answers, that is at once. done must not block.
	Sync(done func(error))

	// Wake calls f once, soon, when the high watermark is above offset, or the
	// log has ended, with the reason: at once if it is so already. f must not
	// block. cancel takes f back; it may come too late.
	Wake(offset int64, f func(Reason)) (cancel func())
}

// A Reason is why Wake calls.
type Reason int

const (
	More    Reason = iota // the high watermark is above the offset
	Deleted               // the topic was deleted: ErrDeleted
	Closed                // the store is closing: ErrClosed
)

// Retention says what a partition may forget. A record is as old as its append, or as
// its own time if that is later, by an hour at most.
type Retention struct {
	Before int64 // age: records older than this, in milliseconds since 1970; 0 for none
	Keep   int64 // Before does not remove this offset or what follows it
	Unread int64 // age: records older than this go although Keep holds them; 0 for none
	Bytes  int64 // size: the oldest go until this many bytes are left; 0 for no bound
}

// Retained says what Retain did.
type Retained struct {
	Start int64 // the log start offset now
	Freed int64 // bytes
	Held  bool  // Keep held back something that is old enough to go
}

// Errors of a store and its partitions. Test with errors.Is.
var (
	ErrTopicExists  = errors.New("topic exists")
	ErrUnknownTopic = errors.New("there is no such topic or partition")
	ErrOutOfRange   = errors.New("offset out of range")
	ErrDeleted      = errors.New("the topic was deleted")
	ErrClosed       = errors.New("the store is closing")
	ErrNotLeader    = errors.New("another broker leads the partition") // of stores that several brokers share: not stored; that broker may be asked
	ErrFull         = errors.New("no space left for the log")          // not stored; may work later
	ErrFailed       = errors.New("log accepts no more after an I/O error")
	ErrUnusable     = errors.New("topic can't be used") // it is damaged or missing; the error says what to do
)

// A GapError says that a log has no records between two offsets: they were
// there once, and are lost.
type GapError struct {
	Topic       string
	Partition   int
	First, Next int64 // nothing from First up to but not including Next
}

func (e *GapError) Error() string {
	return fmt.Sprintf("%s/%d: offsets %d to %d are missing", e.Topic, e.Partition, e.First, e.Next-1)
}

// A DamageError says that stored bytes are not what was written.
type DamageError struct {
	Topic       string
	Partition   int
	First, Next int64 // the offsets that can't be read: First up to but not including Next
	File        string
	Pos         int64 // where in File the damage begins
	Reason      error
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("%s/%d: offsets %d to %d are damaged (%s at byte %d: %v)",
		e.Topic, e.Partition, e.First, e.Next-1, e.File, e.Pos, e.Reason)
}

func (e *DamageError) Unwrap() error { return e.Reason }

// Append is Write, with the commit in the background.
func Append(p Partition, batches []byte, done func(base int64, err error)) error {
	lead, err := p.Write(batches, done)
	lead.Go()
	return err
}

// AppendAndWait appends batches and waits until they are durable. It returns the
// offset of the first record.
func AppendAndWait(p Partition, batches []byte) (base int64, err error) {
	done := make(chan struct{})
	lead, e := p.Write(batches, func(at int64, failed error) {
		base, err = at, failed
		close(done)
	})
	if e != nil {
		return 0, e
	}
	lead.Commit()
	<-done
	return base, err
}
