package coordinator

import (
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits bound the memory and the requests of clients.
type Limits struct {
	// MaxGroups in memory: those with members, and those that had some within emptyTime.
	MaxGroups int
	// MaxMembers of one group, including ids that are reserved (KIP-394). Each rebalance goes
	// over all of them.
	MaxMembers int
	// MaxBytes is the memory of all members of all groups: their metadata, assignments and names.
	MaxBytes int64
	// MinSession and MaxSession bound session timeouts, like Kafka's
	// group.min.session.timeout.ms and group.max.session.timeout.ms.
	MinSession, MaxSession time.Duration
}

// DefaultLimits are the limits without configuration.
func DefaultLimits() Limits {
	return Limits{
		MaxGroups:  10_000,
		MaxMembers: 1000,
		MaxBytes:   64 << 20,
		MinSession: 6 * time.Second,
		MaxSession: 30 * time.Minute,
	}
}

const (
	// maxName of a group, in bytes. Kafka's only limit is that of its strings, 32,767.
	maxName = 1000

	// maxProtocols that a member may offer. Clients have at most a handful.
	maxProtocols = 64

	// maxRebalance bounds a member's rebalance timeout. librdkafka allows a day
	// (max.poll.interval.ms).
	maxRebalance = 24 * time.Hour

	// newMemberTime is the longest wait of a new member in its first join. It sends no heartbeats
	// yet, so nothing else ends the wait of a client that has gone. Kafka's
	// NewMemberJoinTimeoutMs.
	newMemberTime = 5 * time.Minute

	// emptyTime is how long a group without members is kept.
	emptyTime = 10 * time.Minute

	// memberCost and protocolCost are the memory of a member and of each of its protocols in
	// bytes, beside what it has sent.
	memberCost   = 1024
	protocolCost = 64
)

// checkName accepts the names that Kafka does, up to maxName: text without control
// characters.
func checkName(name string) error {
	if name == "" || len(name) > maxName || !utf8.ValidString(name) {
		return ErrGroupName
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return ErrGroupName
		}
	}
	return nil
}
