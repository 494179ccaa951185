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

// groups is for the handlers of consumer groups: the coordinator has the members, the broker
// the committed offsets.
type groups struct{ *coordinator.Coordinator }

func newGroups(s *Server) groups {
	limits := coordinator.DefaultLimits()
	limits.MinSession, limits.MaxSession = s.opts.MinSession, MaxSession
	return groups{coordinator.New(coordinator.Options{
		Limits:         limits,
		RebalanceDelay: s.opts.RebalanceDelay,
		Log:            s.log,
		Acquire:        func(name string) (func(), error) { return s.broker.As(broker.Self).UseGroup(name, broker.UseKafka) },
	})}
}

// mayUse is the error for a client that may not be a member of a group.
func (c *call) mayUse(name string) error {
	return c.conn.view.Allow(broker.Read, broker.GroupResource, name)
}

// stop completes the calls of all members that wait.
func (g groups) stop() { g.Close() }

// groupCodes maps errors of the coordinator to Kafka's error codes.
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
// groups; 0 for nil. A group in use by line consumers is not empty. An error of the store, such
// as a full disk, is COORDINATOR_NOT_AVAILABLE, because consumers retry that and fail with the
// codes that producers retry.
func groupCode(err error) int16 {
	var used *group.InUseError
	if errors.As(err, &used) {
		return kerr.NonEmptyGroup.Code
	}
	for known, code := range groupCodes {
		if errors.Is(err, known) {
			return code.Code
		}
	}
	switch known := code(err); known {
	case kerr.KafkaStorageError.Code, kerr.NotLeaderForPartition.Code, kerr.LeaderNotAvailable.Code, kerr.UnknownServerError.Code:
		return kerr.CoordinatorNotAvailable.Code
	default:
		return known
	}
}

// joinCode is groupCode for JoinGroup. Kafka has no code for a group in use by line consumers;
// the nearest is INCONSISTENT_GROUP_PROTOCOL.
func joinCode(err error) int16 {
	var used *group.InUseError
	if errors.As(err, &used) {
		return kerr.InconsistentGroupProtocol.Code
	}
	return groupCode(err)
}

// maxNames is the largest number of groups or members in a request, because a response is many
// times as large as a name.
const maxNames = 10_000

// checkNames fails for too many groups, or for one that is named twice.
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

// isUnknownGroup reports whether the error says that the group does not exist.
func isUnknownGroup(err error) bool { return groupCode(err) == kerr.GroupIDNotFound.Code }

// value is the value of a nullable string, "" for null.
func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// nullable is s, or null for "".
func nullable(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// clientHost is the client's address as Kafka shows it, after a slash.
func (c *call) clientHost() string { return hostOf(c.client()) }

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return "/" + host
}
