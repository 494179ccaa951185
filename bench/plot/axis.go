package plot

import (
	"errors"
	"fmt"
	"math"
	"strings"
)

// An axis turns values into horizontal positions.
type axis struct {
	low, high float64
	ticks     []float64
	log       bool
}

// axis fits the values: from 0, or between powers of ten.
func (c *Chart) axis() (axis, error) {
	low, high := math.Inf(1), 0.0
	for _, row := range c.Rows {
		if len(row.Values) != len(c.Series) {
			return axis{}, fmt.Errorf("row %q has %d values, not %d", row.Label, len(row.Values), len(c.Series))
		}
		for _, v := range row.Values {
			switch {
			case math.IsNaN(v):
			case v < 0 || math.IsInf(v, 0):
				return axis{}, fmt.Errorf("row %q has a bar of length %v", row.Label, v)
			case v > 0:
				low, high = min(low, v), max(high, v)
			}
		}
	}
	if high == 0 {
		return axis{}, errors.New("a chart without values")
	}
	if c.Log {
		return decades(low, high), nil
	}
	return linear(high), nil
}

func decades(low, high float64) axis {
	from, to := math.Floor(math.Log10(low)), math.Ceil(math.Log10(high))
	if math.Pow(10, from) == low { // its bar would have no length
		from--
	}
	a := axis{low: math.Pow(10, from), high: math.Pow(10, to), log: true}
	for e := from; e <= to; e++ {
		a.ticks = append(a.ticks, math.Pow(10, e))
	}
	return a
}

// linear has four to eight steps of 1, 2 or 5 times a power of ten.
func linear(high float64) axis {
	step := math.Pow(10, math.Floor(math.Log10(high)))
	switch n := high / step; {
	case n < 2:
		step /= 5
	case n < 4:
		step /= 2
	}
	n := math.Ceil(high / step)
	a := axis{high: n * step}
	for i := 0.0; i <= n; i++ {
		a.ticks = append(a.ticks, i*step)
	}
	return a
}

func (a axis) position(v float64) float64 {
	share := (v - a.low) / (a.high - a.low)
	if a.log {
		share = math.Log(max(v, a.low)/a.low) / math.Log(a.high/a.low)
	}
	return left + share*(width-left-right)
}

func (a axis) draw(b *strings.Builder, y int) {
	for _, t := range a.ticks {
		x := a.position(t)
		fmt.Fprintf(b, `<line class="grid" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`, x, top-6, x, y)
		fmt.Fprintf(b, `<text class="value" x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", x, y+15, short(t))
	}
	fmt.Fprintf(b, `<line class="line" x1="%d" y1="%d" x2="%d" y2="%d"/>`+"\n", left, top-6, left, y)
}
