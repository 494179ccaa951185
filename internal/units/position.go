package units

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// ErrPosition names the forms of a position.
var ErrPosition = errors.New("it takes beginning, end, an offset, -10 for the last 10, a duration back such as 2h, a time such as 2026-11-22T10:00:00Z or 2026-11-22, s@ and milliseconds since 1970, or PARTITION:OFFSET,…")

// Offsets with names.
const (
	Beginning = math.MinInt64
	End       = math.MaxInt64
)

// A Position is a place in each partition of a topic: a time, an offset for each partition, or an
// offset for all.
type Position struct {
	Offset     int64 // absolute; from the end if negative; or Beginning or End
	Time       int64 // in milliseconds since 1970, if ByTime
	ByTime     bool
	Partitions map[int]int64 // an offset for each, if not nil
}

// ParsePosition reads a position. A time without a zone is in the given one; a duration counts back
// from now. It fails with ErrPosition.
func ParsePosition(s string, now time.Time, zone *time.Location) (*Position, error) {
	switch s {
	case "beginning":
		return &Position{Offset: Beginning}, nil
	case "end", "-0":
		return &Position{Offset: End}, nil
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && s[0] != '+' {
		return &Position{Offset: n}, nil
	}
	if ms, ok := strings.CutPrefix(s, "s@"); ok {
		if n, err := strconv.ParseInt(ms, 10, 64); err == nil && n >= 0 {
			return &Position{Time: n, ByTime: true}, nil
		}
		return nil, ErrPosition
	}
	if d, err := ParseDuration(s); err == nil && d > 0 {
		return &Position{Time: now.Add(-d).UnixMilli(), ByTime: true}, nil
	}
	if p, ok := parseOffsets(s); ok {
		return p, nil
	}
	if t, err := ParseTime(s, zone); err == nil {
		return &Position{Time: t.UnixMilli(), ByTime: true}, nil
	}
	return nil, ErrPosition
}

// parseOffsets reads PARTITION:OFFSET,…
func parseOffsets(s string) (*Position, bool) {
	p := &Position{Partitions: make(map[int]int64)}
	for pair := range strings.SplitSeq(s, ",") {
		number, at, ok := strings.Cut(pair, ":")
		partition, err1 := strconv.ParseUint(number, 10, 31)
		offset, err2 := strconv.ParseInt(at, 10, 64)
		if _, twice := p.Partitions[int(partition)]; !ok || err1 != nil || err2 != nil || offset < 0 || twice {
			return nil, false
		}
		p.Partitions[int(partition)] = offset
	}
	return p, true
}
