package units_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"mbus/internal/units"
)

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "0d": 0, "500ms": 500 * time.Millisecond, "30s": 30 * time.Second, "1h30m": 90 * time.Minute,
		"7d": 168 * time.Hour, "1d12h": 36 * time.Hour, "1.5d": 36 * time.Hour, "0.5h": 30 * time.Minute, "1d1ms": 24*time.Hour + time.Millisecond,
		"36500d": 36500 * 24 * time.Hour, "1us": time.Microsecond, "1µs": time.Microsecond, "3ns": 3, "1d0s": 24 * time.Hour,
	} {
		if got, err := units.ParseDuration(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for text, want := range map[string]error{
		"": units.ErrDuration, "5": units.ErrDuration, "30": units.ErrDuration, "-1s": units.ErrDuration, "+1s": units.ErrDuration,
		"soon": units.ErrDuration, "d": units.ErrDuration, "1h2d": units.ErrDuration, "7 d": units.ErrDuration, "1d2": units.ErrDuration,
		"1d0": units.ErrDuration, "1d-1h": units.ErrDuration, "7D": units.ErrDuration, "1w": units.ErrDuration, "-0": units.ErrDuration,
		"7days": units.ErrDuration, "1d1d": units.ErrDuration, "00": units.ErrDuration, "1e3s": units.ErrDuration, " 1s": units.ErrDuration,
		"106752d": units.ErrTooLong, "999999999999999999999d": units.ErrTooLong, "9999999999h": units.ErrTooLong,
		"106751d24h": units.ErrTooLong,
	} {
		if got, err := units.ParseDuration(text); !errors.Is(err, want) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestDurationsAreWrittenAsTheyAreRead(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0", 168 * time.Hour: "7d", 36 * time.Hour: "1d12h", time.Minute: "1m", time.Hour: "1h", 90 * time.Minute: "1h30m",
		90 * time.Second: "1m30s", 100 * time.Millisecond: "100ms", 10 * time.Second: "10s", 24*time.Hour + time.Millisecond: "1d1ms",
		10 * time.Minute: "10m", 20 * time.Hour: "20h", -time.Hour: "-1h", math.MaxInt64: "106751d23h47m16.854775807s",
	} {
		if got := units.FormatDuration(d); got != want {
			t.Errorf("%v is written %q, want %q", d, got, want)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1000": 1000, "7B": 7, "64k": 65536, "64K": 65536, "64KiB": 65536, "64Ki": 65536, "64kib": 65536, "64kB": 64000, "64KB": 64000,
		"1M": 1 << 20, "1MiB": 1 << 20, "4MB": 4_000_000, "10G": 10 << 30, "10GB": 10_000_000_000, "1T": 1 << 40, "1TB": 1_000_000_000_000,
		"1.5G": 3 << 29, "0.5k": 512, "64 MiB": 64 << 20, "7P": 7 << 50, "7E": 7 << 60, "9223372036854775807": math.MaxInt64,
	} {
		if got, err := units.ParseSize(text); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for text, want := range map[string]error{
		"": units.ErrSize, "-1": units.ErrSize, "+1": units.ErrSize, "k": units.ErrSize, "1.5": units.ErrSize, "1.5B": units.ErrSize, "1X": units.ErrSize,
		"1KiBi": units.ErrSize, "1Bk": units.ErrSize, ".5k": units.ErrSize, "5.k": units.ErrSize, "1.2.3k": units.ErrSize, "1,5G": units.ErrSize,
		"0x10": units.ErrSize, "1e6": units.ErrSize, "10 M B": units.ErrSize, "1_000": units.ErrSize, "many": units.ErrSize, "1mb/s": units.ErrSize,
		"8E": units.ErrTooMuch, "9223372036854775808": units.ErrTooMuch, "99999999T": units.ErrTooMuch, "8.5E": units.ErrTooMuch,
	} {
		if got, err := units.ParseSize(text); !errors.Is(err, want) {
			t.Errorf("%q: %d, %v, want %v", text, got, err, want)
		}
	}
}

func TestSizesAreWrittenAsTheyAreRead(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 1000: "1kB", 1001: "1001", 64000: "64kB", 1024: "1KiB", 65536: "64KiB", 1 << 20: "1MiB", 3 << 29: "1536MiB", 10_000_000_000: "10GB",
		1_000_001: "1000001", 999_999: "999999", 5_000_000: "5MB", 7 << 60: "7EiB", -5: "-5", 1 << 60: "1EiB",
	} {
		if got := units.FormatSize(n); got != want {
			t.Errorf("%d is written %q, want %q", n, got, want)
		}
	}
}

func TestTimes(t *testing.T) {
	tokyo := time.FixedZone("JST", 9*3600)
	utc := func(h, m, s int) time.Time { return time.Date(2026, 11, 28, h, m, s, 0, time.UTC) }
	for text, want := range map[string]time.Time{
		"2026-11-28T10:00:00Z": utc(10, 0, 0), "2026-11-28T10:00:00+01:00": utc(9, 0, 0), "2026-11-28 10:00:00+01:00": utc(9, 0, 0),
		"2026-11-28T10:00Z": utc(10, 0, 0), "2026-11-28T10:00:00.5Z": utc(10, 0, 0).Add(time.Second / 2),
		"2026-11-28": utc(-9, 0, 0), "2026-11-28 10:00": utc(1, 0, 0), "2026-11-28T10:00": utc(1, 0, 0), "2026-11-28 10:00:07": utc(1, 0, 7),
		"2026-11-28T10:00:07.25": utc(1, 0, 7).Add(time.Second / 4), "0": time.UnixMilli(0), "1764324000000": time.UnixMilli(1764324000000),
	} {
		if got, err := units.ParseTime(text, tokyo); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "tomorrow", "10:00", "-1", "+5", "1.5", "2026-11-31", "2026-11", "2026-11-28 ", "2026-11-28  10:00", "2026-11-28 10", "2026-11-28T25:00",
		"28.11.2026", "2026-11-28T10:00:00+25:00", "99999999999999999999",
	} {
		if got, err := units.ParseTime(text, tokyo); !errors.Is(err, units.ErrTime) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func TestATimeWithoutZoneIsSentWithThatOfTheProgram(t *testing.T) {
	tokyo := time.FixedZone("JST", 9*3600)
	for text, want := range map[string]string{
		"2026-11-28": "2026-11-28T00:00:00+09:00", "2026-11-28 10:00": "2026-11-28T10:00:00+09:00",
		"2026-11-28T10:00:00Z": "2026-11-28T10:00:00Z", "2h": "2h", "-10": "-10", "0:17,1:20": "0:17,1:20", "end": "end", "1764324000000": "1764324000000",
	} {
		if got := units.WithZone(text, tokyo); got != want {
			t.Errorf("%q is sent as %q, want %q", text, got, want)
		}
	}
}

func TestPositions(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	byTime := func(t time.Time) units.Position { return units.Position{Time: t.UnixMilli(), ByTime: true} }
	for text, want := range map[string]units.Position{
		"beginning": {Offset: units.Beginning}, "end": {Offset: units.End}, "-0": {Offset: units.End}, "17": {Offset: 17}, "-10": {Offset: -10},
		"2h": byTime(now.Add(-2 * time.Hour)), "7d": byTime(now.AddDate(0, 0, -7)), "1d12h": byTime(now.Add(-36 * time.Hour)), "s@5": byTime(time.UnixMilli(5)),
		"2026-11-28": byTime(now.Add(-12 * time.Hour)), "2026-11-28 10:00": byTime(now.Add(-2 * time.Hour)), "2026-11-28T10:00:00+01:00": byTime(now.Add(-3 * time.Hour)),
	} {
		got, err := units.ParsePosition(text, now, time.UTC)
		if err != nil || got.Offset != want.Offset || got.Time != want.Time || got.ByTime != want.ByTime || got.Partitions != nil {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	p, err := units.ParsePosition("0:17,3:20", now, time.UTC)
	if err != nil || len(p.Partitions) != 2 || p.Partitions[0] != 17 || p.Partitions[3] != 20 {
		t.Errorf("%+v, %v", p, err)
	}
	for _, text := range []string{"", "tomorrow", "middle", "stored", "+5", "s@", "s@-1", "s@x", "0:17,0:18", "0:", ":1", "0:-1", "0:1,", "1.5", "2h ago", "-2h", "0s"} {
		if p, err := units.ParsePosition(text, now, time.UTC); !errors.Is(err, units.ErrPosition) {
			t.Errorf("%q: %+v, %v", text, p, err)
		}
	}
}

func TestRequestLines(t *testing.T) {
	r := units.NewRequest("orders")
	r.Option("group", "g")
	r.Word("follow")
	r.Option("from", "2026-11-28 10:00:00+01:00")
	if got, want := r.String(), "orders?group=g&follow&from=2026-11-28%2010%3A00%3A00%2B01%3A00\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	r = units.NewRequest("?topics")
	r.Option("topic", "a&b=c")
	if got, want := r.String(), "?topics&topic=a%26b%3Dc\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := units.NewRequest("orders").String(); got != "orders\n" {
		t.Errorf("%q", got)
	}
}

func TestOptionsAreReadAsTheyAreTyped(t *testing.T) {
	for text, want := range map[string]string{
		"2026-11-28T10:00:00+01:00": "2026-11-28T10:00:00+01:00", "a b": "a b", "a%20b": "a b", "%2B": "+", "100%25": "100%",
	} {
		if got, err := units.Unescape(text); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"%", "100%", "%zz", "%1"} {
		if got, err := units.Unescape(text); err == nil {
			t.Errorf("%q: taken as %q", text, got)
		}
	}
}
