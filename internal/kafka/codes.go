package kafka

import (
	"errors"
	"syscall"

	"github.com/twmb/franz-go/pkg/kerr"

	"mbus/internal/auth"
	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/group"
)

// codes maps errors of the broker to Kafka's error codes. The first match counts.
var codes = []struct {
	err  error
	code *kerr.Error
}{
	{broker.ErrUnknownTopic, kerr.UnknownTopicOrPartition},
	{broker.ErrTopicExists, kerr.TopicAlreadyExists},
	{broker.ErrOutOfRange, kerr.OffsetOutOfRange},
	{broker.ErrFull, kerr.KafkaStorageError},
	{broker.ErrFailed, kerr.KafkaStorageError},
	{broker.ErrUnusable, kerr.KafkaStorageError},
	{syscall.EMFILE, kerr.KafkaStorageError}, // nothing was done; clients try again
	{syscall.ENFILE, kerr.KafkaStorageError},
	{broker.ErrDeleted, kerr.UnknownTopicOrPartition},
	{broker.ErrClosed, kerr.NotLeaderForPartition}, // the broker stops
	{broker.ErrMoved, kerr.NotLeaderForPartition},
	{broker.ErrUnavailable, kerr.LeaderNotAvailable},
	{broker.ErrInternalTopic, kerr.InvalidTopicException},
	{broker.ErrPartitions, kerr.InvalidPartitions},
	{broker.ErrConfig, kerr.InvalidConfig},
	{broker.ErrTooManyTopics, kerr.PolicyViolation},
	{group.ErrTooMany, kerr.PolicyViolation},
	{broker.ErrFenced, kerr.InvalidProducerEpoch},
	{broker.ErrOutOfOrder, kerr.OutOfOrderSequenceNumber},
	{broker.ErrTooLarge, kerr.MessageTooLarge},
	{broker.ErrTime, kerr.InvalidTimestamp},
	{batch.ErrTooLarge, kerr.MessageTooLarge},
	{batch.ErrCorrupt, kerr.CorruptMessage},
	{auth.ErrUnknownUser, kerr.ResourceNotFound},
	{auth.ErrInvalid, kerr.InvalidRequest},
	{broker.ErrDeliverAt, kerr.InvalidTimestamp}, // clients do not try again
}

// deniedCodes are for access that is denied.
var deniedCodes = map[broker.ResourceKind]*kerr.Error{
	broker.TopicResource:   kerr.TopicAuthorizationFailed,
	broker.GroupResource:   kerr.GroupAuthorizationFailed,
	broker.ClusterResource: kerr.ClusterAuthorizationFailed,
}

// code is the error code for err, 0 for nil.
func code(err error) int16 {
	if err == nil {
		return 0
	}
	var own *kerr.Error
	if errors.As(err, &own) {
		return own.Code
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.code.Code
		}
	}
	var denied *broker.DeniedError
	if errors.As(err, &denied) {
		return deniedCodes[denied.Resource.Kind].Code
	}
	var damage *broker.DamageError
	if errors.As(err, &damage) {
		return kerr.CorruptMessage.Code
	}
	return kerr.UnknownServerError.Code
}

// text is the error message of a response, nil for nil.
func text(err error) *string {
	if err == nil {
		return nil
	}
	s := err.Error()
	return &s
}
