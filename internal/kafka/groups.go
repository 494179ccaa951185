package kafka

import (
	"errors"
	"fmt"
	"net"

	"github.com/twmb/franz-go/pkg/kerr"

	"mbus/internal/broker"
	"mbus/internal/coordinator"
	"mbus/internal/group"
)

// Groups is what the handlers of consumer groups share: the coordinator has the
// members, the broker the committed offsets.
type groups struct{ *coordinator.Coordinator }

func newGroups(s *Server) groups {
	limits := coordinator.DefaultLimits()
	limits.MinSession, limits.MaxSession = s.opts.MinSession, MaxSession
	return groups{coordinator.New(coordinator.Options{
		Limits:         limits,
		RebalanceDelay: s.opts.RebalanceDelay,
		Log:            s.log,
		Claim:          func(name string) (func(), error) { return s.broker.UseGroup(name, broker.UseKafka) },
	})}
}

// stop answers all members that wait.
func (g groups) stop() { g.Close() }

// groupCodes says which of Kafka's error codes stands for an error of the
// coordinator.
var groupCodes = map[error]*kerr.Error{
	coordinator.ErrUnknownMember:     kerr.UnknownMemberID,
	coordinator.ErrIllegalGeneration: kerr.IllegalGeneration,
	coordinator.ErrRebalance:         kerr.RebalanceInProgress,
	coordinator.ErrMemberIDRequired:  kerr.MemberIDRequired,
	coordinator.ErrProtocol:          kerr.InconsistentGroupProtocol,
	coordinator.ErrFenced:            kerr.FencedInstanceID,
	coordinator.ErrSessionTimeout:    kerr.InvalidSessionTimeout,
	coordinator.ErrGroupName:         kerr.InvalidGroupID,
	coordinator.ErrFull:              kerr.GroupMaxSizeReached,
	coordinator.ErrTooManyGroups:     kerr.GroupMaxSizeReached,
	coordinator.ErrNotEmpty:          kerr.NonEmptyGroup,
	coordinator.ErrUnknownGroup:      kerr.GroupIDNotFound,
	coordinator.ErrClosed:            kerr.CoordinatorNotAvailable,
	broker.ErrUnknownGroup:           kerr.GroupIDNotFound,
}

// groupCode is the error code for an error of the coordinator, or of the broker's
// groups; 0 for nil. A group that is used by line consumers is not empty. What the store
// could not do, on a full disk for instance, is COORDINATOR_NOT_AVAILABLE: that is tried
// again, while consumers end with the codes that producers try again.
func groupCode(err error) int16 {
	var used *group.InUseError
	if errors.As(err, &used) {
		return kerr.NonEmptyGroup.Code
	}
	for known, told := range groupCodes {
		if errors.Is(err, known) {
			return told.Code
		}
	}
	switch known := code(err); known {
	case kerr.KafkaStorageError.Code, kerr.NotLeaderForPartition.Code, kerr.UnknownServerError.Code:
		return kerr.CoordinatorNotAvailable.Code
	default:
		return known
	}
}

// joinCode is groupCode for one who wants to join: clients know no better word
// for a group that is used by line consumers than that they can't come together.
func joinCode(err error) int16 {
	var used *group.InUseError
	if errors.As(err, &used) {
		return kerr.InconsistentGroupProtocol.Code
	}
	return groupCode(err)
}

// maxNames is how many groups, each once, or members one request may name: an
// answer is many times as large as a name.
const maxNames = 10_000

// checkNames fails for a request that no client makes.
func checkNames(names []string) error {
	if len(names) > maxNames {
		return fmt.Errorf("a request names %d groups, the limit is %d", len(names), maxNames)
	}
	seen := make(map[string]struct{}, len(names))
	for _, name := range names {
		if _, again := seen[name]; again {
			return fmt.Errorf("a request names group %q twice", name)
		}
		seen[name] = struct{}{}
	}
	return nil
}

// isUnknownGroup says that an error is only that there is no such group.
func isUnknownGroup(err error) bool { return groupCode(err) == kerr.GroupIDNotFound.Code }

// value is what a nullable string holds, "" for none.
func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// nullable is the other way round.
func nullable(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// clientHost is who asked, as Kafka shows it: the address after a slash.
func (c *call) clientHost() string { return hostOf(c.client()) }

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return "/" + host
}
