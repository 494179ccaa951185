package coordinator

import (
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits bound what clients may cost, and what they may ask for.
type Limits struct {
	// MaxGroups that are in memory: those with members, and those that had some
	// lately.
	MaxGroups int
	// MaxMembers of one group, those included that were given an id and have
	// not joined with it. Each is looked at in every rebalance.
	MaxMembers int
	// MaxBytes is what all members of all groups may take in memory: their
	// metadata, assignments and names.
	MaxBytes int64
	// MinSession and MaxSession bound session timeouts, like Kafka's
	// group.min.session.timeout.ms and group.max.session.timeout.ms.
	MinSession, MaxSession time.Duration
}

// DefaultLimits are those of a broker that is told nothing else.
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
	// maxName of a group, in bytes. Kafka has no bound but the 32,767 of its strings.
	maxName = 1000

	// maxProtocols that a member may offer. Clients have at most a handful.
	maxProtocols = 64

	// maxRebalance bounds a member's rebalance timeout. librdkafka allows a day
	// (max.poll.interval.ms).
	maxRebalance = 24 * time.Hour

	// newMemberTime is how long a member waits in its first join. It can send
	// no heartbeats yet, so that this is all that ends the wait of one that is
	// gone. Kafka's NewMemberJoinTimeoutMs.
	newMemberTime = 5 * time.Minute

	// emptyTime is how long a group is remembered that nobody is in.
	emptyTime = 10 * time.Minute

	// memberCost is what a member takes in memory besides what it sent, in
	// bytes, and protocolCost what each of its protocols takes.
	memberCost   = 1024
	protocolCost = 64
)

// checkName takes what Kafka does, within bounds: text that can be printed.
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
