package commitlog

import (
	"math"
	"time"
)

// laterBound is by how much the time of a record may make its segment younger than its
// last append, in milliseconds.
const laterBound = int64(time.Hour / time.Millisecond)

// Append times are kept for each segment, in seconds since the beginning of 2026 (UTC),
// rounded up; 0 is unknown. They are used up in 2162: what is later becomes the last one,
// which does not age.
type appendTimes struct {
	first, last uint32
}

// sinceTheMark is the time of appends that recovery finds behind the recovery point: it lies
// ahead of the clock, and becomes the time of the first look at it.
const sinceTheMark = math.MaxUint32

// lastTime is the last append time that can be kept.
const lastTime = sinceTheMark - 1

// add notes an append. The last time only grows: a clock that is put back makes nothing
// older than it is, and trust corrects one that was ahead.
func (a appendTimes) add(now uint32) appendTimes {
	if a.first == 0 {
		a.first = now
	}
	a.last = max(a.last, now)
	return a
}

// trust takes times that lie ahead of the clock, which was wrong then, for now; and where
// nothing is known but the latest time of the records, that one, which would keep the
// segment until then.
func (a appendTimes) trust(now uint32, latest int64) appendTimes {
	if a.last == 0 && latest > millis(now) {
		return appendTimes{now, now}
	}
	return appendTimes{min(a.first, now), min(a.last, now)}
}

// age is the time from which a segment's age counts, in milliseconds since 1970. latest is
// the latest time of its records, and now the time by the clock.
func (a appendTimes) age(latest, now int64) int64 {
	if a.last == 0 {
		return min(latest, now)
	}
	last := min(millis(a.last), now)
	if a.last >= lastTime {
		last = now
	}
	return max(last, min(latest, last+laterBound))
}

// seconds is a time as append times are kept; 0 before 2026.
func seconds(t time.Time) uint32 {
	ms := t.UnixMilli() - firstEpoch*1000
	return uint32(min(max(0, (ms+999)/1000), lastTime))
}

// millis is an append time in milliseconds since 1970.
func millis(s uint32) int64 { return (firstEpoch + int64(s)) * 1000 }
