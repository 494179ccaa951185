// Package store is the driver interface between the broker and the log that keeps its messages: the
// interfaces that a driver implements, the chunks that it returns, and the errors that callers
// distinguish. A store keeps record batches whole: it reads their headers and never their records.
// The broker validates, limits and waits. Package storetest tests a driver.
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
	// CreateTopic creates a topic durably. It fails with ErrTopicExists, ErrFull, or an error of
	// the system.
	CreateTopic(name string, partitions int, config string) (Topic, error)
	// AddPartitions adds partitions to a topic durably, so that it has total, which is more than
	// before. A crash leaves all of them or none. It fails with ErrUnknownTopic, ErrFull, or an
	// error of the system.
	AddPartitions(name string, total int) (Topic, error)
	// Configure replaces a topic's configuration durably. A crash leaves the old one or the new
	// one. It fails like AddPartitions.
	Configure(name, config string) error
	// DeleteTopic deletes a topic durably: no restart brings a byte of it back. Its partitions
	// fail with ErrDeleted from then on.
	DeleteTopic(name string) error
	// Partition returns a partition, numbered from 0. It fails with ErrUnknownTopic.
	Partition(topic string, number int) (Partition, error)
	// CheckSpace says whether a publisher may append n bytes. It fails with ErrFull if that
	// would leave less space than the reserve for consumers, who go on while the disk is full.
	// The broker's own records are appended without it.
	CheckSpace(n int) error
	// Health returns the state of the store now. It may be called often, and writes nothing.
	Health() Health
	// Stats returns the numbers of the store, always the same pointer.
	Stats() *Stats
	// Deleted says whether the topic of an id was certainly deleted, so that everything that
	// depends on it may be removed. If false, its directory may be missing.
	Deleted(id [16]byte) bool
	// UseClock sets the clock of append times, in place of the system's. The clock may call
	// KeepNote. UseClock is called once, before the first append.
	UseClock(now func() time.Time)
	// Note returns the last note of KeepNote, or nil if there is none or it can't be read.
	Note() []byte
	// KeepNote durably replaces the note: up to MaxNote bytes of the broker, beside the topics. A
	// crash leaves the old note or the new one.
	KeepNote(p []byte) error
	// Close syncs and closes the store. It completes appends that are under way.
	Close() error
}

// A Restorer is a Store that can take topics of another store as they are.
type Restorer interface {
	Store
	// Restore creates a topic durably, with the id, the epochs and the configuration that it has. The log of
	// each partition is empty, and begins at the offset in firsts. Appends of its batches, which get offsets
	// and epochs as ever, make the same log as in the other store. No topic of this store may have the name, the id or
	// one of the epochs. It fails like CreateTopic.
	Restore(t Topic, firsts []int64) error
}

// A Topic is a topic's name, id, partitions and configuration.
type Topic struct {
	Name       string
	ID         [16]byte // random (RFC 9562, version 4), new for each incarnation
	Partitions int
	Epoch      int32 // leader epoch of partition 0; each next partition has one more. Higher than those of an earlier topic of this name

	// Epochs lists the partitions at which the epochs start again, because partitions were added
	// later; ascending. See PartitionEpoch. It is replaced, never changed.
	Epochs []EpochStart

	// Config is the topic's own configuration: a JSON object without spaces of at most MaxConfig
	// bytes, which the store does not interpret; "" for none.
	Config string
}

// MaxConfig is the largest Topic.Config, in bytes: some ten settings.
const MaxConfig = 1 << 10

// MaxNote is the largest note of Store.KeepNote, in bytes.
const MaxNote = 8 << 10

// A Partition is a log of record batches. Its methods may be called by any goroutine; appends have
// the order of the calls.
type Partition interface {
	// Write writes one or more whole batches, which the caller has verified, and sets their
	// offsets in place. It does not wait until they are durable: done is called once for each
	// Write that returned nil, in the order of the calls, with the offset of the first record when
	// the batches are durable and visible, or with an error when they may not be durable. done
	// must not block or call Write; it may run before Write returns. The caller must use Lead.
	//
	// If Write fails, nothing was stored and done is not called: ErrFull (try again later),
	// ErrFailed (after an I/O error; it may work later), ErrDeleted, ErrClosed, ErrMoved or
	// ErrUnavailable.
	// The batches may be reused when Write returns.
	Write(batches []byte, done func(base int64, err error)) (Lead, error)

	// Read points c at whole batches, from the one with the offset on, of at most maxBytes but at
	// least one batch. At the high watermark c is empty. Read fails with ErrOutOfRange if the
	// offset is below the start or above the high watermark, with a *GapError if the log has no
	// record there but has later ones, and with a *DamageError if the stored bytes are damaged.
	// Reading on with the same chunk saves the lookup. The caller must call c.Release at the end.
	Read(offset int64, maxBytes int, c *Chunk) error

	// Offsets returns the log start offset and the high watermark: records from start up to but
	// not including high are durable and readable. They are true for as long as Available says so.
	Offsets() (start, high int64)

	// OffsetForTime returns the base offset of the first batch with a record at the time or later,
	// in milliseconds since 1970, or the high watermark.
	OffsetForTime(time int64) (int64, error)

	// Size is the size of all stored batches, in bytes.
	Size() int64

	// Trim durably makes before the log start offset, and frees space where it can. It does
	// nothing if the log starts there or later. It fails with ErrOutOfRange if before is above the
	// high watermark.
	Trim(before int64) error

	// Retain removes old records, whole segments at a time.
	Retain(Retention) (Retained, error)

	// Roll sets the size in bytes and the age at which an append, or Retain, begins a new segment,
	// so that Retain can keep small bounds; 0 for the store's own.
	Roll(bytes int64, age time.Duration)

	// Tail returns the lowest offset from which at most n bytes, or a little more, lead to the end
	// of the log. Its cost does not depend on the size of the log.
	Tail(n int64) (offset int64, err error)

	// Sync calls done when everything that was acknowledged is durable: at once if the store syncs
	// before it acknowledges. done must not block.
	Sync(done func(error))

	// Wake calls f once when the high watermark is above the offset, or the log has ended, with
	// the reason. It calls f at once if that is so already. f must not block. cancel may come too
	// late.
	Wake(offset int64, f func(Reason)) (cancel func())
}

// A Reason says why Wake calls.
type Reason int

const (
	More    Reason = iota // the high watermark is above the offset
	Deleted               // the topic was deleted: ErrDeleted
	Closed                // the store is closing, or has moved: ErrClosed or ErrMoved
)

// An Opener is a Partition that may be opened later than its store, in the background. Until then Available returns
// ErrUnavailable, as all else does that may fail, and Offsets and Size are 0.
type Opener interface{ Available() error }

// Retention says which records a partition may remove. The age of a record counts from its append,
// or from its own time if that is later, by an hour at most.
type Retention struct {
	Before int64 // time: older records may go, in milliseconds since 1970; 0 for none
	Keep   int64 // Before does not apply to this offset and higher ones
	Unread int64 // time: older records may go in spite of Keep; 0 for none
	Bytes  int64 // size: the oldest records may go until this many bytes are left; 0 for no bound
}

// Retained is the result of Retain.
type Retained struct {
	Start int64 // the new log start offset
	Freed int64 // bytes
	Held  bool  // Keep prevented that old records were removed
}

// Errors of a store and its partitions. Test with errors.Is.
var (
	ErrTopicExists  = errors.New("topic exists")
	ErrUnknownTopic = errors.New("there is no such topic or partition")
	ErrOutOfRange   = errors.New("offset out of range")
	ErrDeleted      = errors.New("the topic was deleted")
	ErrClosed       = errors.New("the store is closing")
	ErrFull         = errors.New("no space left for the log") // nothing was stored; it may work later
	ErrFailed       = errors.New("log accepts no more after an I/O error")
	ErrUnusable     = errors.New("topic can't be used") // it is damaged or missing; the error says what to do

	// For stores on several nodes. After ErrMoved, for good, this one has nothing to say any more: Write has stored
	// nothing, what done gets it for may be stored or not, and no topic was deleted. ErrUnavailable passes by itself.
	ErrMoved       = errors.New("another node owns the topics now")
	ErrUnavailable = errors.New("the log can't be reached now")
)

// Ended reports whether an error says that this store has ended, by Close or because another node owns its topics. What was
// under way goes on at its next start, or there, so that it is no fault to log.
func Ended(err error) bool { return errors.Is(err, ErrClosed) || errors.Is(err, ErrMoved) }

// A GapError says that a log has lost the records between two offsets.
type GapError struct {
	Topic       string
	Partition   int
	First, Next int64 // from First up to but not including Next
}

func (e *GapError) Error() string {
	return fmt.Sprintf("%s/%d: offsets %d to %d are missing", e.Topic, e.Partition, e.First, e.Next-1)
}

// A DamageError says that stored bytes are damaged.
type DamageError struct {
	Topic       string
	Partition   int
	First, Next int64 // offsets that can't be read: from First up to but not including Next
	File        string
	Pos         int64 // of the damage in File, in bytes
	Reason      error
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("%s/%d: offsets %d to %d are damaged (%s at byte %d: %v)",
		e.Topic, e.Partition, e.First, e.Next-1, e.File, e.Pos, e.Reason)
}

func (e *DamageError) Unwrap() error { return e.Reason }

// Append is Write with the commit in the background.
func Append(p Partition, batches []byte, done func(base int64, err error)) error {
	lead, err := p.Write(batches, done)
	lead.Go()
	return err
}

// AppendAndWait appends batches, waits until they are durable, and returns the offset of the first
// record.
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
