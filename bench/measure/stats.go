// Package measure has the arithmetic of the benchmarks: medians, percentiles,
// messages to send, and the open loop that sends them when they are due.
package measure

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Median is the middle value, or the mean of the two in the middle; 0 of none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// Mean is the mean of times; 0 of none.
func Mean(times []time.Duration) time.Duration {
	var sum time.Duration
	for _, t := range times {
		sum += t
	}
	return sum / time.Duration(max(len(times), 1))
}

// Percentile is the smallest value that at least the share p, above 0 and at
// most 1, of all values does not exceed; sorted must ascend. 0 of none.
func Percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(p*float64(len(sorted)) - 1e-9)) // p*n may come out a hair too large
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// Thousands writes a number with a comma before every three digits, and nothing
// for 0.
func Thousands(v float64) string {
	if v == 0 {
		return ""
	}
	digits := fmt.Sprintf("%.0f", v)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// Welch is Welch's t of two samples: by how many standard errors the mean of the second is greater. 0 if
// either has fewer than two values, or none differ.
func Welch(a, b []time.Duration) float64 {
	if len(a) < 2 || len(b) < 2 {
		return 0
	}
	meanA, errorA := meanAndError(a)
	meanB, errorB := meanAndError(b)
	if errorA+errorB == 0 {
		return 0
	}
	return (meanB - meanA) / math.Sqrt(errorA+errorB)
}

// meanAndError are the mean of a sample, and the square of that mean's standard error.
func meanAndError(times []time.Duration) (mean, square float64) {
	n := float64(len(times))
	for _, t := range times {
		mean += float64(t) / n
	}
	for _, t := range times {
		square += (float64(t) - mean) * (float64(t) - mean)
	}
	return mean, square / (n - 1) / n
}
