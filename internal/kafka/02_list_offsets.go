package kafka

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
)

// ListOffsets, versions 0 to 11: the log start offset (-2, and -4, the local one of tiered
// storage), the high watermark (-1), the latest record (-3), or the first record at or after
// a time. The record is the first one in the order of the log, not the one with the earliest
// time. Both isolation levels give the same. What only tiered storage has (-5 and -6) has
// offset -1. Batches produced earlier on the connection are seen.
func init() {
	register(api{
		key: 2, min: 0, max: 11, handle: typed(listOffsets),
		doc: "By time: the first record, in the order of the log, at or after the time. Max timestamp (-3) and local log start (-4) as well.",
	})
}

// Special times.
const (
	latestOffset   = -1
	earliestOffset = -2
	maxTimestamp   = -3
	earliestLocal  = -4
	latestTiered   = -5
	pendingUpload  = -6
)

// sinceVersion is the version from which a request may have a special time.
var sinceVersion = map[int64]int16{
	latestOffset: 0, earliestOffset: 0, maxTimestamp: 7, earliestLocal: 8, latestTiered: 9, pendingUpload: 11,
}

func listOffsets(c *call, req *kmsg.ListOffsetsRequest) {
	c.afterEarlier(func() { c.reply(c.listOffsets(req)) })
}

func (c *call) listOffsets(req *kmsg.ListOffsetsRequest) *kmsg.ListOffsetsResponse {
	resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
	for _, t := range req.Topics {
		out := kmsg.NewListOffsetsResponseTopic()
		out.Topic = t.Topic
		for i := range t.Partitions {
			out.Partitions = append(out.Partitions, listOffset(c.topics(), t.Topic, &t.Partitions[i], req.Version))
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func listOffset(all topics, topic string, in *kmsg.ListOffsetsRequestTopicPartition, version int16) kmsg.ListOffsetsResponseTopicPartition {
	out := kmsg.NewListOffsetsResponseTopicPartition()
	out.Partition = in.Partition
	t, log, failed := all.partition(topic, in.Partition, broker.Describe)
	if failed == 0 {
		failed = checkEpoch(t, in.Partition, in.CurrentLeaderEpoch)
	}
	if out.ErrorCode = failed; failed != 0 {
		return out
	}
	if since, known := sinceVersion[in.Timestamp]; in.Timestamp < 0 && (!known || version < since) {
		out.ErrorCode = kerr.UnsupportedVersion.Code
		return out
	}
	offset, timestamp, err := findOffset(log, in.Timestamp)
	if err != nil {
		out.ErrorCode = code(err)
		return out
	}
	if out.Offset, out.Timestamp = offset, timestamp; offset >= 0 {
		out.LeaderEpoch = leaderEpoch(t, in.Partition)
	}
	if version == 0 && offset >= 0 && in.MaxNumOffsets > 0 {
		out.OldStyleOffsets = []int64{offset}
	}
	return out
}

// findOffset returns an offset and, if it was found by time, the time of its record; -1 if
// there is none.
func findOffset(log *broker.Partition, timestamp int64) (offset, at int64, err error) {
	start, high := log.Offsets()
	switch {
	case timestamp == latestOffset:
		return high, -1, nil
	case timestamp == earliestOffset, timestamp == earliestLocal:
		return start, -1, nil
	case timestamp == latestTiered, timestamp == pendingUpload:
		return -1, -1, nil
	case timestamp == maxTimestamp:
		return broker.LatestRecord(log)
	}
	return broker.RecordAt(log, timestamp)
}
