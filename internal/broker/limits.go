package broker

import "time"

// Every limit of the broker and its fronts is here, with its reason. Those that a user may
// want to change are flags; tests can change those in Limits.
const (
	// DefaultMaxMessage is about Kafka's limit (1 MiB). Larger content belongs in a
	// file or an object store, and its name in a message.
	DefaultMaxMessage = 1 << 20

	// MaxMaxMessage is the highest -max-message: a message is in memory whole,
	// several times over.
	MaxMaxMessage = 32 << 20

	// BatchSlack is what a batch may take beyond one message of the largest
	// size: room for a key, headers and the batch's own fields.
	BatchSlack = 64 << 10

	// TargetBatch is the size at which a batch made here is closed, in bytes:
	// large enough that its header costs nothing, small enough that a reader
	// needs no large buffer.
	TargetBatch = 64 << 10

	// minMaxBatch is the least limit of a topic's batches, in bytes: a batch with a short
	// message fits.
	minMaxBatch = 128

	// InlineCommit is the size of messages, in bytes, up to which their connection commits
	// them itself. More takes some time to arrive, and meanwhile the connection reads the
	// messages that follow.
	InlineCommit = 16 << 10

	// MaxTopics bounds what a client that invents topics can cost: each takes
	// some files and about 1 KiB of memory.
	MaxTopics = 100_000

	// MaxPartitions of a topic.
	MaxPartitions = 1000

	// MaxAllPartitions bounds the partitions of all topics together: each takes five
	// files or directories, about 2 KiB of memory, and time at the start.
	MaxAllPartitions = 200_000

	// RequestLine bounds the first line of a connection, in bytes: names of 249
	// bytes and all options fit several times.
	RequestLine = 4096

	// HTTPHeader bounds the request line and the headers of an HTTP request, in bytes: what a
	// message may have as headers fits, and a browser's cookies.
	HTTPHeader = 64 << 10

	// PlainRequest bounds an HTTP request, header and body, that is read without net/http, in bytes: the
	// gain is in small ones.
	PlainRequest = 16 << 10

	// Sessions and SessionsOfUser bound the log-ins of browsers. One ends after SessionTime; its secret has so
	// many random bytes. LoginForm bounds the log-in form, in bytes, which anybody may send.
	Sessions       = 10000
	SessionsOfUser = 20
	SessionTime    = 12 * time.Hour
	SessionBytes   = 32
	LoginForm      = 8 << 10

	// PageForm bounds the body of a form of the page, in bytes: a message that is typed has less,
	// and larger ones are sent with curl.
	PageForm = 256 << 10

	// PageRows is how many topics or groups a view of the page has, and PageMessages how many
	// messages: a browser shows them at once, and they are less than 200 KB on the way.
	PageRows     = 1000
	PageMessages = 50

	// PageSearch and PageSearchBytes bound one search of the page, in messages and bytes: it takes less
	// than a second, and goes on from where it ended by another request.
	PageSearch      = 100_000
	PageSearchBytes = 64 << 20

	// PageNumbers is the time between two rounds of numbers for a view that is open.
	PageNumbers = time.Second

	// HTTPDocument bounds the body of a request that is a JSON document, in bytes: a topic with all its
	// settings fits many times.
	HTTPDocument = 64 << 10

	// ListedEntries bounds a list of topics, groups or connections in one answer: each entry takes
	// some 200 bytes, and that of a topic a read of a file.
	ListedEntries = 1000

	// FirstBuffer is the smallest buffer of a connection that has something to
	// read, in bytes. More is taken from the Budget.
	FirstBuffer = 4 << 10

	// ReadBuffer is what a busy producer's connection reads into, in bytes. It
	// is the size of one write: with a quarter of it one connection
	// publishes a fifth less.
	ReadBuffer = 1 << 20

	// InFlight is how many writes of one connection may wait for a sync. It bounds the
	// memory of their acknowledgements.
	InFlight = 64

	// Window and WindowBytes are what may be unacknowledged on one consumer's
	// connection, in messages and bytes, by default: enough to keep a worker busy, little
	// enough that others get their share.
	Window      = 1000
	WindowBytes = 1 << 20

	// RetryBackoff is the time until a message that has failed is delivered
	// again; it doubles with each attempt, up to RetryBound.
	RetryBackoff = time.Second
	RetryBound   = 5 * time.Minute

	// RetryAttempts is how often a message may fail before it goes to the dead
	// letters.
	RetryAttempts = 5

	// deadLetterRetry is the time until a message is delivered once more that could not be
	// stored among the dead letters: the disk may be full for long.
	deadLetterRetry = time.Minute

	// Loads is how many consumers' connections may hold what they have read from
	// the log and not copied yet, some 200 KiB each, while the others wait for a
	// moment: enough to keep every processor busy, and a thousand readers that
	// begin at once cost no more.
	Loads = 128

	// SendBuffer is what a consumer's connection collects before it writes, in
	// bytes: a stalled reader costs this much at most.
	SendBuffer = 64 << 10
)

// Limits are the limits that depend on the machine, and times.
type Limits struct {
	MaxMessage     int           // bytes of a message's key, value and headers
	MaxConnections int           // of all listeners of a protocol together; each may cost a few KiB idle
	MaxPerAddress  int           // those of one address, off loopback; 0 for no limit
	MaxInFlight    int64         // bytes that all connections together hold of what was sent and is not stored yet
	MaxPositions   int64         // bytes that groups' positions take in memory: about 300,000 of them
	MaxTail        int64         // bytes of a partition's end that are read to learn what producers had stored; 0 for as many as each kind wants
	CompactDelayed int64         // bytes from which the log of delayed messages is compacted
	RequestTime    time.Duration // until the request line is complete: enough to type it
	WriteTime      time.Duration // that a reader may take no byte
	CloseTime      time.Duration // that a reader may take to close when it has been sent all
	SettleTime     time.Duration // that a drain waits at the end for what others hold
	HalfCloseTime  time.Duration // from the request on, in which a reader that closes early is waited for
	ResetTime      time.Duration // that a reader that closed early has to reset
	PositionsPause time.Duration // between two writes of positions: their syncs get in the way of publishers'
	SyncPatience   time.Duration // that positions wait for the syncs of their logs, with an interval between syncs
	HTTPHeaderTime time.Duration // until the headers of an HTTP request are complete
	HTTPIdleTime   time.Duration // that an HTTP connection waits for its next request
	HTTPBodyTime   time.Duration // that an HTTP client may send no byte of a body
	HTTPBeat       time.Duration // between signs of life to a client of server-sent events: proxies close silent connections after a minute or so
	StopTime       time.Duration // that the broker waits at its end for what is under way
}

// DefaultLimits are the limits of a broker without options.
func DefaultLimits() Limits {
	return Limits{
		MaxMessage:     DefaultMaxMessage,
		MaxConnections: 10_000,
		MaxPerAddress:  5_000,
		MaxInFlight:    256 << 20,
		MaxPositions:   256 << 20,
		CompactDelayed: 64 << 20,
		RequestTime:    time.Minute,
		WriteTime:      time.Minute,
		CloseTime:      5 * time.Minute,
		SettleTime:     500 * time.Millisecond,
		HalfCloseTime:  20 * time.Millisecond,
		ResetTime:      300 * time.Millisecond,
		PositionsPause: 5 * time.Millisecond,
		SyncPatience:   time.Second,
		HTTPHeaderTime: 10 * time.Second,
		HTTPIdleTime:   2 * time.Minute,
		HTTPBodyTime:   30 * time.Second,
		HTTPBeat:       15 * time.Second,
		StopTime:       3 * time.Second,
	}
}

// MaxBatch is the size of the largest batch that is taken in, in bytes.
func (l Limits) MaxBatch() int { return l.MaxMessage + BatchSlack }

// Limits of leases by clients without a connection.
const (
	// LeaseMessages and LeaseBytes bound one response: what a worker takes on, and what is
	// encoded in memory before it is sent. The message that passes LeaseBytes is the last one.
	LeaseMessages = 1000
	LeaseBytes    = 1 << 20

	// DefaultLease is the time for work on a message; a longer one extends its leases.
	DefaultLease = 30 * time.Second

	// MaxLease is the longest time for which a message is lost to its group after a crash of
	// its worker, and MaxLeaseWait that of a request that waits: proxies end silent ones sooner.
	MaxLease     = 12 * time.Hour
	MaxLeaseWait = 5 * time.Minute

	// MaxRetry is the longest time until a message that has failed comes again: the message stays, by
	// default, for as long where its group has not consumed it.
	MaxRetry = DefaultRetentionUnread

	// LeasesOfGroup bounds what the clients of a group hold in a topic, in messages of some 200
	// bytes each in memory, and LeasesOfAll what all clients hold.
	LeasesOfGroup = 10_000
	LeasesOfAll   = 200_000

	// LeasesRemembered acknowledged tokens, at some 50 bytes each: a client that has lost the
	// response acknowledges again.
	LeasesRemembered = 10_000

	// LeaseBody is the most that a body with tokens takes, in bytes: those of one response fit.
	LeaseBody = 128 << 10
)

// Limits of the clock.
const (
	// clockStep is how far the wall clock may be from where the time that has passed since
	// its last reading would have it, without a jump: clocks are corrected in small steps
	// all the time.
	clockStep = 5 * time.Second

	// believeAfter is how long a jump ahead must have lasted before messages are delivered
	// and stamped by it. A clock that is wrong for a moment (a wrong time server, a virtual
	// machine that was moved) is put right sooner.
	believeAfter = time.Minute

	// maxJumps bounds the jumps that are remembered: 24 bytes each, and added up at each
	// reading. Of more the two that are closest in time, for their age, become one.
	maxJumps = 64

	// noteEvery is the time between two notes of the clock. After a crash the time since
	// the last one counts as a jump, which only keeps messages longer.
	noteEvery = time.Hour

	// noteSoonest is the shortest time between two notes for a clock that jumps all the
	// time. noteAtOnce jumps are noted at once: the note is written before the time is used.
	noteSoonest = 10 * time.Second
	noteAtOnce  = 8
)

// Limits of retention.
const (
	// DefaultRetentionUnread is how long messages are kept that a group which leases
	// messages has not consumed: long enough to miss a consumer that was forgotten, and not
	// so long that it fills the disk.
	DefaultRetentionUnread = 720 * time.Hour

	// minSweep and maxSweep bound the time between two sweeps of a topic, which is a quarter
	// of its retention: a sweep costs little, and one a second is seen as prompt.
	minSweep = time.Second
	maxSweep = time.Minute

	// rollShare: retention removes whole segments. So that few messages are kept for longer
	// than they must be, a segment ends after an eighth of the retention's age and size;
	// within the bounds that follow, because a segment costs two files and some syncs.
	rollShare    = 8
	minRollAge   = 10 * time.Second
	maxRollAge   = 24 * time.Hour
	minRollBytes = 1 << 20
)

// Limits of producers that number their batches or messages.
const (
	// rememberedBatches of an idempotent producer: as many as Kafka's clients send before
	// the first one is acknowledged, and so the most that a client sends again.
	rememberedBatches = 5

	// maxProducers of a partition, at about 400 bytes each. Beyond it the producers that
	// have been silent longest are forgotten.
	maxProducers = 10_000

	// producerExpires is the time without a batch after which a producer may go on with any
	// number, as in Kafka.
	producerExpires = 24 * time.Hour

	// producerTail is the size of the end of a partition, in bytes, that is read once after
	// a start to learn the last batches of producers: far more than clients send again.
	producerTail = 64 << 20

	// maxStreams of a topic, at some 300 bytes each. Beyond it the streams without a
	// connection that have been silent longest are forgotten.
	maxStreams = 10_000

	// streamTail is the size of the end of each partition, in bytes, that is read once after
	// a start to learn which numbers of a stream are stored: twice the unacknowledged bytes
	// that a connection may have.
	streamTail = 256 << 20

	// maxKeys idempotency keys are known of all topics together, at some 100 bytes each: enough for
	// the retries of many clients over minutes. Beyond it the oldest are forgotten.
	maxKeys = 500_000

	// keyTail is the size of the end of each partition, in bytes, that is read once after a start to learn the
	// idempotency keys: as long as clients try again after they have lost the broker.
	keyTail = 256 << 20

	// maxTailReaders read the ends of partitions at the same time, at lastWalk bytes of package store each,
	// so that the first requests after a start leave some of the disk to others.
	maxTailReaders = 2

	// maxStretches of a stream are remembered, at 16 bytes each. There is one, but while
	// appends are unfinished and after a failure. Beyond it the lowest are forgotten, which
	// no client sends again.
	maxStretches = 10_000

	// maxLoose stretches may be out of order before they are sorted: batches of several
	// partitions are stored in any order.
	maxLoose = 32
)

// Limits of the groups' positions and their log.
const (
	// DefaultOffsetsRetention is how long the positions of a group without members are kept:
	// as long as messages that a group has not consumed.
	DefaultOffsetsRetention = DefaultRetentionUnread

	// minForget and maxForget bound the time between two searches for groups to forget,
	// which is a quarter of the offsets retention. The first search is after firstForget,
	// so that members have the time to come back after a start.
	minForget   = 100 * time.Millisecond
	maxForget   = 10 * time.Minute
	firstForget = time.Hour

	// maxUseAge bounds by how much the recorded time at which a group's last member left may
	// be early: recording it exactly would cost a write for each member.
	maxUseAge = time.Hour

	// compactAfter records, or compactBytes, are the least that the positions log takes before it
	// is compacted: more when there are many positions, so that the cost of compaction stays
	// a fraction of that of writing.
	compactAfter = 20_000
	compactBytes = 32 << 20

	// compactWrite is the size of one write of a compaction, in bytes, about. It bounds the
	// memory that a compaction takes.
	compactWrite = 1 << 20

	// maxPositionsPause bounds the pause between two writes of a positions log that waits for the
	// syncs of other logs. The pause is four times as long as these take, so that they take
	// a fifth of the time at most.
	maxPositionsPause = 100 * time.Millisecond
)

// Limits of the users' log and of the audit trail. Those of users themselves are in package auth.
const (
	// compactUsersAfter records, or compactUsersBytes, are the least that the log of users takes before it is
	// compacted: more if that is less than four times the users.
	compactUsersAfter = 1000
	compactUsersBytes = 4 << 20

	// maxRefusals are logged each second, because any client can cause them. Others are counted.
	maxRefusals = 20

	// maxAudited is the length of the longest name in the audit trail, in bytes: a name that is refused can be any
	// text.
	maxAudited = 256

	// maxListed bounds a list in the audit trail: a user may have 10,000 permissions.
	maxListed = 20
)

// Limits of metrics.
const (
	// MetricPartitions bounds the partitions, and also the groups' positions, that /metrics has series
	// of: one of a topic with one partition has some ten, which take about 1 KiB of a scrape and,
	// in a database, some 3 KiB of memory each. Of more, those whose topics, or groups, come first
	// by name are there.
	MetricPartitions = 10_000

	// maxAges bounds the times of messages that are remembered for the ages of groups' oldest messages, at
	// some 60 bytes each. With more, each scrape looks into the logs again.
	maxAges = 20_000
)
