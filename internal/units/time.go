package units

import (
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // for images without zone files
)

// Layouts of times with a zone, and without. Go also reads a fraction of a second.
var (
	zoned    = []string{time.RFC3339, "2006-01-02T15:04Z07:00"}
	zoneless = []string{"2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly}
)

// ParseTime reads a time: RFC 3339, a date with or without a time of day, or milliseconds since 1970.
// A time without a zone is in the given one. A blank may replace the T. It fails with ErrTime.
func ParseTime(s string, zone *time.Location) (time.Time, error) {
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil && ms >= 0 && s[0] != '+' && s[0] != '-' {
		return time.UnixMilli(ms), nil
	}
	s = withT(s)
	for _, layout := range zoned {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	if t, ok := parseZoneless(s, zone); ok {
		return t, nil
	}
	return time.Time{}, ErrTime
}

// withT replaces a blank between date and time of day by T.
func withT(s string) string {
	if len(s) > len(time.DateOnly) && s[len(time.DateOnly)] == ' ' {
		return strings.Replace(s, " ", "T", 1)
	}
	return s
}

func parseZoneless(s string, zone *time.Location) (time.Time, bool) {
	for _, layout := range zoneless {
		if t, err := time.ParseInLocation(layout, s, zone); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// WithZone adds the zone to a time that has none, because the broker's zone may differ from the
// program's. It returns everything else unchanged.
func WithZone(s string, zone *time.Location) string {
	if t, ok := parseZoneless(withT(s), zone); ok {
		return t.Format(time.RFC3339Nano)
	}
	return s
}
