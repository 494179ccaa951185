package measure

import (
	"math"
	"testing"
	"time"
)

func TestMedianIsTheMiddleOrTheMeanOfTheTwoThere(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{7}, 7},
		{[]float64{9, 1, 5}, 5},
		{[]float64{10, 1, 3, 5}, 4},
	} {
		if got := Median(c.values); got != c.want {
			t.Errorf("the median of %v is %v, not %v", c.values, got, c.want)
		}
	}
}

func TestPercentileIsTheSmallestValueThatEnoughDoNotExceed(t *testing.T) {
	var thousand []time.Duration
	for i := range 1000 {
		thousand = append(thousand, time.Duration(i+1))
	}
	for _, c := range []struct {
		sorted []time.Duration
		p      float64
		want   time.Duration
	}{
		{nil, 0.5, 0},
		{thousand[:1], 0.999, 1},
		{thousand[:10], 0.5, 5},
		{thousand, 0.5, 500},
		{thousand, 0.99, 990},
		{thousand, 0.999, 999},
		{thousand, 1, 1000},
		{thousand[:999], 0.999, 999},
	} {
		if got := Percentile(c.sorted, c.p); got != c.want {
			t.Errorf("the percentile %v of %d values is %d, not %d", c.p, len(c.sorted), got, c.want)
		}
	}
}

func TestThousandsAreSeparated(t *testing.T) {
	for v, want := range map[float64]string{0: "", 999.4: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := Thousands(v); got != want {
			t.Errorf("%v is written %q, not %q", v, got, want)
		}
	}
}

func TestMeanIsTheMeanAndNothingOfNothing(t *testing.T) {
	if got := Mean([]time.Duration{1, 2, 6}); got != 3 {
		t.Errorf("the mean of 1, 2, 6 is %v", got)
	}
	if got := Mean(nil); got != 0 {
		t.Errorf("the mean of nothing is %v", got)
	}
}

// By hand: the means are 3 and 7, the variances 2.5 and 10.
func TestWelchCountsStandardErrors(t *testing.T) {
	a, b := []time.Duration{1, 2, 3, 4, 5}, []time.Duration{3, 5, 7, 9, 11}
	if got, want := Welch(a, b), 4/math.Sqrt(2.5/5+10.0/5); math.Abs(got-want) > 1e-9 {
		t.Errorf("t is %v, not %v", got, want)
	}
	if Welch(b, a) != -Welch(a, b) {
		t.Error("t has no sign")
	}
	for _, few := range [][]time.Duration{nil, {1}, {1, 1}} {
		if got := Welch(few, few); got != 0 {
			t.Errorf("t of %v is %v", few, got)
		}
	}
}
