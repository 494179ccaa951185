package broker

import (
	"errors"
	"fmt"
	"math"
	"time"

	"mbus/internal/batch"
	"mbus/internal/units"
)

// ErrTime means that a topic does not accept the time of a record.
var ErrTime = errors.New("time out of bounds")

// CheckTimes returns an error that wraps ErrTime if a topic does not accept records whose
// client has given them times from earliest to latest, in milliseconds since 1970. t is nil
// for a topic that is still to be created. Messages that the broker moves itself (delayed
// messages, dead letters, and those of a redrive) are not checked.
func (b *Broker) CheckTimes(t *Topic, earliest, latest int64) error {
	s := b.fallback
	if t != nil {
		s = t.settings.Load()
	}
	if s.appendTime {
		return nil
	}
	// The clock is read only if its last reading does not suffice.
	if latest > later(b.keeper.clock.seen.Load(), s.timeAfter) {
		wall := b.keeper.clock.wall().UnixMilli()
		if latest > later(wall, s.timeAfter) && !b.keeper.clock.unset.Load() {
			return fmt.Errorf("%w: %s is more than %s ahead of the broker's clock (%s)",
				ErrTime, timeText(latest), units.FormatDuration(span(s.timeAfter)), ConfigTimestampAfter)
		}
	}
	if s.timeBefore == math.MaxInt64 || earliest == batch.NoTimestamp {
		return nil
	}
	if now := b.Now().UnixMilli(); later(earliest, s.timeBefore) < now {
		return fmt.Errorf("%w: %s is more than %s behind the broker's clock (%s)",
			ErrTime, timeText(earliest), units.FormatDuration(span(s.timeBefore)), ConfigTimestampBefore)
	}
	return nil
}

// later is ms plus by, which is not negative.
func later(ms, by int64) int64 {
	if ms > math.MaxInt64-by {
		return math.MaxInt64
	}
	return ms + by
}

// span is so many milliseconds as a duration.
func span(ms int64) time.Duration {
	if ms > math.MaxInt64/int64(time.Millisecond) {
		return math.MaxInt64
	}
	return time.Duration(ms) * time.Millisecond
}

// timeText shows a time as a number, and as a date if it has one.
func timeText(ms int64) string {
	if t := time.UnixMilli(ms).UTC(); t.Year() >= 0 && t.Year() <= 9999 {
		return fmt.Sprintf("%d (%s)", ms, t.Format(time.RFC3339))
	}
	return fmt.Sprintf("%d (in milliseconds since 1970)", ms)
}
