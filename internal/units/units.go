// Package units reads and writes the values that people write: sizes, durations, times, positions in
// a topic, and the options of a request line. The flags of all programs, the options of the line
// protocol and the settings of topics use it, so that they accept the same forms.
package units

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// The errors name the accepted values. They follow the name of a flag or an option, and ", not "
// with the value may follow them.
var (
	ErrSize     = errors.New("it takes a size from 0 up such as 1000, 64KiB, 10M or 1.5G (of 1024), or 10MB (of 1000)")
	ErrDuration = errors.New("it takes a duration from 0 up with its unit, such as 500ms, 30s, 1h30m, 7d or 1d12h")
	ErrTooMuch  = errors.New("it takes less than 8E")
	ErrTooLong  = errors.New("it takes a duration of at most 106751d")
	ErrTime     = errors.New("it takes a time such as 2026-11-22T10:00:00Z, 2026-11-22 10:00 or 2026-11-22, or milliseconds since 1970")
)

const day = 24 * time.Hour

// ParseDuration reads a duration from 0 up: Go's form, with days before it if need be. It fails with
// ErrDuration or ErrTooLong.
func ParseDuration(s string) (time.Duration, error) {
	days, rest, hasDays := strings.Cut(s, "d")
	if !hasDays {
		days, rest = "", s
	}
	switch {
	case s == "0":
		return 0, nil
	case s == "" || s[0] == '-' || s[0] == '+', strings.Trim(days, "0123456789.") != "",
		hasDays && strings.Trim(rest, "0") == "" && rest != "", rest != "" && (rest[0] == '-' || rest[0] == '+'):
		return 0, ErrDuration
	}
	var sum time.Duration
	if hasDays {
		hours, err := parse(days + "h")
		if err != nil {
			return 0, err
		}
		if hours > math.MaxInt64/24 {
			return 0, ErrTooLong
		}
		sum = hours * 24
	}
	if rest == "" {
		return sum, nil
	}
	d, err := parse(rest)
	if err == nil && sum > math.MaxInt64-d {
		err = ErrTooLong
	}
	return sum + d, err
}

// parse is time.ParseDuration, with errors that name the units and the bound.
func parse(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	switch {
	case err == nil:
		return d, nil
	case strings.Trim(s, "0123456789.nuµmsh") == "" && overflows(s):
		return 0, ErrTooLong
	}
	return 0, ErrDuration
}

// overflows reports whether a duration is well formed and its number is too large.
func overflows(s string) bool {
	small := strings.Map(func(r rune) rune {
		if r >= '1' && r <= '9' {
			return '0'
		}
		return r
	}, s)
	_, err := time.ParseDuration(small)
	return err == nil && small != "" && small != s && strings.Trim(small, "0") != ""
}

// FormatDuration writes a duration for ParseDuration, without units that are zero: 168 hours are 7d,
// 36 hours 1d12h. A negative duration begins with its sign, which ParseDuration refuses.
func FormatDuration(d time.Duration) string {
	if d < 0 {
		if d == math.MinInt64 {
			return d.String()
		}
		return "-" + FormatDuration(-d)
	}
	days, rest := d/day, d%day
	if days == 0 && rest == 0 {
		return "0"
	}
	text := ""
	if days > 0 {
		text = strconv.FormatInt(int64(days), 10) + "d"
	}
	if rest == 0 {
		return text
	}
	clock := rest.String()
	if strings.HasSuffix(clock, "m0s") {
		clock = strings.TrimSuffix(clock, "0s")
	}
	if strings.HasSuffix(clock, "h0m") {
		clock = strings.TrimSuffix(clock, "0m")
	}
	return text + clock
}
