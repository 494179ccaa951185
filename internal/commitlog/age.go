package commitlog

import (
	"math"
	"time"
)

// laterBound limits how far the time of a record may lie behind the last append to its segment
// and still count for the segment's age, in milliseconds.
const laterBound = int64(time.Hour / time.Millisecond)

// Each segment has append times, in seconds since the beginning of 2026 (UTC), rounded up; 0 is
// unknown. They end in 2162: a later time becomes the last one, which does not age.
type appendTimes struct {
	first, last uint32
}

// unknownAppend is the time of appends that recovery finds behind the recovery point: it lies
// ahead of the clock, so that retention corrects it to the time when it first reads it.
const unknownAppend = math.MaxUint32

// lastTime is the last append time that can be kept.
const lastTime = unknownAppend - 1

// add notes an append. The last time only grows, so that a clock that is put back makes no segment
// older; trust corrects the times of a clock that was ahead.
func (a appendTimes) add(now uint32) appendTimes {
	if a.first == 0 {
		a.first = now
	}
	a.last = max(a.last, now)
	return a
}

// trust sets times ahead of the clock to now, because the clock was wrong then. A segment without
// append times counts as appended now if the latest time of its records lies ahead, which would keep
// it until then.
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
