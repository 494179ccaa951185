package delivery

import (
	"errors"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/group"
)

// codes are those of errors from other packages. The first that fits counts.
var codes = []struct {
	err  error
	code string
}{
	{broker.ErrDenied, "DENIED"},
	{broker.ErrFull, "FULL"},
	{broker.ErrFailed, "FAILED"},
	{broker.ErrUnusable, "FAILED"},
	{broker.ErrDeleted, "GONE"},
	{broker.ErrClosed, "SHUTDOWN"},
	{broker.ErrMoved, "SHUTDOWN"},       // before ErrUnknownTopic, and never GONE: nothing was deleted
	{broker.ErrUnavailable, "SHUTDOWN"}, // clients try again
	{broker.ErrUnknownTopic, "GONE"},
	{broker.ErrUnknownGroup, "GONE"},
	{broker.ErrStreamGone, "GONE"},
	{broker.ErrReplaced, "REPLACED"},
	{broker.ErrTopicExists, "EXISTS"},
	{broker.ErrConfig, "BADREQUEST"},
	{broker.ErrTooManyTopics, "BUSY"},
	{group.ErrTooMany, "BUSY"},
	{broker.ErrPartitions, "BADREQUEST"},
	{broker.ErrInternalTopic, "BADREQUEST"},
	{broker.ErrTooLarge, "TOOLARGE"},
	{batch.ErrTooLarge, "TOOLARGE"},
	{ErrGap, "GAP"},
	{ErrDamaged, "DAMAGED"},
	{ErrMemory, "BUSY"},
	{ErrWanted, "BUSY"},
	{ErrRedriveAgain, "BUSY"},
	{ErrAckTimeout, "TIMEOUT"},
	{ErrPosition, "BADREQUEST"},
	{ErrToken, "BADREQUEST"},
	{ErrTooManyLeases, "BUSY"},
	{ErrInternal, "INTERNAL"},
	{batch.ErrCorrupt, "BADMESSAGE"},
	{broker.ErrTime, "BADMESSAGE"},
	{broker.ErrDeliverAt, "BADMESSAGE"},
}

// Code is the short code of an error that a client gets, the same on all fronts that have codes:
// PROTOCOL.md lists them.
func Code(err error) string {
	var inUse *group.InUseError
	if errors.As(err, &inUse) {
		return "BUSY"
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return "FAILED"
}
