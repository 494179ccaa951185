package units_test

import (
	"strings"
	"testing"
	"time"

	"mbus/internal/units"
)

func FuzzDuration(f *testing.F) {
	for _, s := range []string{"0", "7d", "1d12h", "1h30m", "500ms", "106751d23h", "1.5d", "d", "30", "1µs", "9999999999999999999h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := units.ParseDuration(s)
		if err != nil {
			return
		}
		if d < 0 {
			t.Fatalf("%q is %v", s, d)
		}
		if again, err := units.ParseDuration(units.FormatDuration(d)); err != nil || again != d {
			t.Fatalf("%q is %v, written %q, read as %v, %v", s, d, units.FormatDuration(d), again, err)
		}
		if plain, err := time.ParseDuration(s); err == nil && plain != d {
			t.Fatalf("%q is %v, and to Go %v", s, d, plain)
		}
	})
}

func FuzzSize(f *testing.F) {
	for _, s := range []string{"0", "1000", "64KiB", "64kB", "1.5G", "8E", "7E", "1 k", "0.0000001k", "9223372036854775807"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := units.ParseSize(s)
		if err != nil {
			return
		}
		if n < 0 {
			t.Fatalf("%q is %d", s, n)
		}
		if again, err := units.ParseSize(units.FormatSize(n)); err != nil || again != n {
			t.Fatalf("%q is %d, written %q, read as %d, %v", s, n, units.FormatSize(n), again, err)
		}
	})
}

func FuzzTime(f *testing.F) {
	for _, s := range []string{"0", "2026-11-28", "2026-11-28 10:00", "2026-11-28T10:00:00.5Z", "2026-11-28 10:00+01:00", "9999-12-31"} {
		f.Add(s)
	}
	zone := time.FixedZone("", -7*3600)
	f.Fuzz(func(t *testing.T, s string) {
		at, err := units.ParseTime(s, zone)
		if err != nil {
			return
		}
		if again, err := units.ParseTime(units.WithZone(s, zone), time.UTC); err != nil || !again.Equal(at) {
			t.Fatalf("%q is %v, sent as %q, read as %v, %v", s, at, units.WithZone(s, zone), again, err)
		}
	})
}

func FuzzPosition(f *testing.F) {
	for _, s := range []string{"beginning", "-10", "2h", "s@5", "0:17,1:20", "2026-11-28 10:00", "-0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := units.ParsePosition(s, time.UnixMilli(1764324000000), time.UTC)
		if err != nil {
			return
		}
		if p.ByTime && (p.Partitions != nil || p.Offset != 0) || p.Partitions != nil && len(p.Partitions) == 0 {
			t.Fatalf("%q is %+v", s, p)
		}
		for partition, offset := range p.Partitions {
			if partition < 0 || offset < 0 {
				t.Fatalf("%q is %+v", s, p)
			}
		}
	})
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"a b", "2026-11-28T10:00:00+01:00", "a&b=c%d", "\n\x00\r", "größe"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e := units.Escape(s)
		if strings.ContainsAny(e, " &=?\n\r\x00+") {
			t.Fatalf("%q is written %q", s, e)
		}
		if back, err := units.Unescape(e); err != nil || back != s {
			t.Fatalf("%q is written %q and read as %q, %v", s, e, back, err)
		}
	})
}
