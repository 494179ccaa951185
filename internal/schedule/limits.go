package schedule

import "time"

// Limits of what is appended and read at once.
const (
	// portionMessages and portionBytes bound one append to a partition. Two portions of a
	// partition at most are appended and not noted as delivered: after a crash these are
	// delivered once more.
	portionMessages = 2000
	portionBytes    = 1 << 20

	// backlogMessages and backlogBytes bound what is read at once for a partition to which
	// more than a portion is due: much, because messages that are due one after the other
	// may be far apart in the log, and a batch is read once for all that are taken of it.
	// At most backlogs partitions have so much in memory; the others read a portion.
	backlogMessages = 64 << 10
	backlogBytes    = 8 << 20
	backlogs        = 4

	// queuesAtOnce bounds the partitions that are delivered to at the same time, to as many
	// as are synced at the same time. The others take turns.
	queuesAtOnce = 64

	// farOffsets is the distance in offsets from which on a reader goes on with one batch
	// instead of reading all that lies between: some batches of short messages.
	farOffsets = 4096

	// firstRead and lastRead bound one read of the log, in bytes: it begins small, because
	// often few messages are due.
	firstRead = 64 << 10
	lastRead  = 1 << 20

	// valuesSize is the size of one allocation for the values of several messages, in bytes,
	// about.
	valuesSize = 64 << 10

	// compactWrite is the size of one write of a compaction, in bytes, about. It bounds the
	// memory that a compaction takes.
	compactWrite = 1 << 20

	// noteOffsets is how many offsets a record of a note has at most.
	noteOffsets = 4096

	// latestArrivals is how many of the latest notes of a partition may turn out not to have
	// arrived.
	latestArrivals = 1000
)

// damageFactor is the size of the log, in Options.CompactBytes, up to which damage is kept:
// it may be readable on another disk or machine. Then the log is trimmed past it.
const damageFactor = 16

// Times of the delivery.
const (
	// retryAfter is the time until an append that failed is tried again. It doubles each
	// time, up to maxRetryAfter.
	retryAfter    = time.Second
	maxRetryAfter = 8 * time.Second

	// missingRetry is the time until a missing topic is looked up again.
	missingRetry = time.Minute

	// maxSleep is the longest time between two readings of the clock while a message waits,
	// so that a jump of the clock is noticed when it happens.
	maxSleep = 5 * time.Second

	// keepDelivered is how long messages are kept that have been delivered, unless they are
	// more than Options.CompactBytes: as long as a copy of the data directory may take.
	keepDelivered = time.Hour
)
