package line

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"mbus/internal/broker"
	"mbus/internal/store"
)

// A from is a place in a topic: what the option of that name says.
type from struct {
	offset     int64 // absolute; from the end if negative; or one of those below
	time       int64 // in milliseconds since 1970, if byTime
	byTime     bool
	partitions map[int]int64 // an offset for each, if not nil
}

const (
	beginning = math.MinInt64
	end       = math.MaxInt64
)

// errFrom says what a place may be.
var errFrom = errors.New("it takes beginning, end, an offset, -10 for the last 10, a duration back such as 2h, a time such as 2026-11-22T10:00:00Z, s@ and milliseconds since 1970, or PARTITION:OFFSET,…")

// parseFrom reads a place. nil is that of the group, which kcat calls stored.
func parseFrom(value string, now time.Time) (*from, error) {
	switch value {
	case "beginning":
		return &from{offset: beginning}, nil
	case "end":
		return &from{offset: end}, nil
	case "stored":
		return nil, nil
	}
	if n, err := strconv.ParseInt(value, 10, 64); err == nil && value[0] != '+' {
		if value == "-0" {
			n = end
		}
		return &from{offset: n}, nil
	}
	if ms, ok := strings.CutPrefix(value, "s@"); ok {
		if n, err := strconv.ParseInt(ms, 10, 64); err == nil && n >= 0 {
			return &from{time: n, byTime: true}, nil
		}
	}
	if t, err := time.Parse(time.RFC3339, value); err == nil {
		return &from{time: t.UnixMilli(), byTime: true}, nil
	}
	if d, err := duration(value); err == nil {
		return &from{time: now.Add(-d).UnixMilli(), byTime: true}, nil
	}
	if f, ok := parseOffsets(value); ok {
		return f, nil
	}
	return nil, fmt.Errorf("%w, not %q", errFrom, value)
}

// parseOffsets reads PARTITION:OFFSET,…
func parseOffsets(value string) (*from, bool) {
	f := &from{partitions: make(map[int]int64)}
	for _, pair := range strings.Split(value, ",") {
		p, o, ok := strings.Cut(pair, ":")
		partition, err1 := strconv.ParseUint(p, 10, 31)
		offset, err2 := strconv.ParseInt(o, 10, 64)
		if _, twice := f.partitions[int(partition)]; !ok || err1 != nil || err2 != nil || offset < 0 || twice {
			return nil, false
		}
		f.partitions[int(partition)] = offset
	}
	return f, true
}

// in is the offset of the place in a partition: the log's start or later, or
// below that if a place was named which the log has forgotten. Behind the end
// is an error.
func (f *from) in(partition int, log store.Partition) (int64, error) {
	start, high := log.Offsets()
	at := f.offset
	if f.partitions != nil {
		var named bool
		if at, named = f.partitions[partition]; !named {
			at = beginning
		}
	}
	switch {
	case f.byTime:
		offset, _, err := broker.RecordAt(log, f.time)
		if offset < 0 {
			offset = high
		}
		return offset, err
	case at == beginning:
		return start, nil
	case at == end:
		return high, nil
	case at < 0:
		return max(start, high+at), nil
	case at > high:
		return 0, answer("BADREQUEST", "offset %d of partition %d is behind the end, which is %d", at, partition, high)
	}
	return at, nil
}
