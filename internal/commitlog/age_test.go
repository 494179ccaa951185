package commitlog

import (
	"math"
	"testing"
	"time"
)

func TestAgeIsThatOfTheLastAppend(t *testing.T) {
	const hour = int64(time.Hour / time.Millisecond)
	at := func(hours int64) int64 { return millis(0) + hours*hour }
	secs := func(hours int64) uint32 { return uint32(hours * 3600) }
	for name, c := range map[string]struct {
		last        uint32
		latest, now int64
		want        int64
	}{
		"old records, appended lately":       {secs(100), at(1), at(200), at(100)},
		"no record":                          {secs(100), minTime, at(200), at(100)},
		"records a little later":             {secs(100), at(100) + 5000, at(200), at(100) + 5000},
		"records of the far future":          {secs(100), math.MaxInt64, at(200), at(101)},
		"microseconds for milliseconds":      {secs(100), at(100) * 1000, at(200), at(101)},
		"an append time ahead of the clock":  {secs(300), at(100), at(200), at(200)},
		"nothing known but the records":      {0, at(100), at(200), at(100)},
		"nothing known, and a future record": {0, at(300), at(200), at(200)},
	} {
		if got := (appendTimes{1, c.last}).age(c.latest, c.now); got != c.want {
			t.Errorf("%s: the age counts from %d, want %d", name, got-at(0), c.want-at(0))
		}
	}
}

func TestAppendTimesAreRoundedUpAndBounded(t *testing.T) {
	begin := time.UnixMilli(millis(0))
	for _, c := range []struct {
		at   time.Time
		want uint32
	}{
		{time.Unix(0, 0), 0}, // a machine without a clock
		{begin, 0},
		{begin.Add(time.Millisecond), 1},
		{begin.Add(time.Second), 1},
		{begin.Add(1001 * time.Millisecond), 2},
		{begin.AddDate(200, 0, 0), math.MaxUint32 - 1}, // a clock that is wrong
	} {
		if got := seconds(c.at); got != c.want {
			t.Errorf("%v: %d, want %d", c.at, got, c.want)
		}
	}
}

func TestAppendTimesAheadOfTheClockAreCorrected(t *testing.T) {
	var x index
	x.reset()
	x.appended(100)
	x.appended(90) // the clock was put back
	if got, _ := x.appendTimes(200, minTime); got != (appendTimes{100, 100}) {
		t.Errorf("appended at 100 and 90: %+v", got)
	}
	x.appended(9000)
	if got, corrected := x.appendTimes(300, minTime); got != (appendTimes{100, 300}) || !corrected {
		t.Errorf("appended at 9000, it is 300: %+v, corrected: %v", got, corrected)
	}
	if got, corrected := x.appendTimes(400, minTime); got != (appendTimes{100, 300}) || corrected {
		t.Errorf("and later: %+v, corrected: %v", got, corrected)
	}
	if got, _ := x.appendTimes(0, minTime); got != (appendTimes{100, 300}) {
		t.Errorf("with a clock before 2026: %+v", got)
	}
	x.reset() // of an older version, with a record of the far future: it is to go some time
	if got, corrected := x.appendTimes(0, math.MaxInt64); got != (appendTimes{}) || corrected {
		t.Errorf("nothing known, with a clock before 2026: %+v", got)
	}
	if got, corrected := x.appendTimes(300, millis(200)); got != (appendTimes{}) || corrected {
		t.Errorf("nothing known, and an old record: %+v", got)
	}
	if got, corrected := x.appendTimes(300, math.MaxInt64); got != (appendTimes{300, 300}) || !corrected {
		t.Errorf("nothing known, and a record of the future: %+v, corrected: %v", got, corrected)
	}
	if got, corrected := x.appendTimes(400, math.MaxInt64); got != (appendTimes{300, 300}) || corrected {
		t.Errorf("and later: %+v, corrected: %v", got, corrected)
	}
}
