// Package plot writes bar charts as SVG that can be read on light and on dark
// ground.
package plot

import (
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// A Chart has a group of horizontal bars for each row.
type Chart struct {
	Title, Axis string   // Axis names what is along it, with the unit
	Series      []string // names of a row's bars
	Rows        []Row
	Log         bool // the axis is logarithmic
	Format      func(float64) string
}

// A Row has a value for each series; NaN where there is none.
type Row struct {
	Label  string
	Values []float64
	Dim    bool // it is there for comparison
}

// Measures in pixels.
const (
	width     = 860
	left      = 250 // for the labels
	right     = 90  // for the last number
	top       = 64
	barHeight = 13
	rowGap    = 10
	bottom    = 44
)

const style = `
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-size: 15px; font-weight: 600 }
.value { font-size: 11px }
.line { stroke: #8c959f; stroke-width: 1 }
.grid { stroke: #8c959f; stroke-opacity: .3; stroke-width: 1 }
.s0 { fill: #0969da } .s1 { fill: #bf8700 } .s2 { fill: #8250df }
.dim { fill-opacity: .45 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.s0 { fill: #58a6ff } .s1 { fill: #d29922 } .s2 { fill: #bc8cff }
}
`

// WriteSVG writes the chart. It fails if there is nothing to show.
func (c *Chart) WriteSVG(w io.Writer) error {
	a, err := c.axis()
	if err != nil {
		return err
	}
	var b strings.Builder
	rowHeight := len(c.Series)*barHeight + rowGap
	height := top + len(c.Rows)*rowHeight + bottom
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`+"\n",
		width, height, width, height)
	fmt.Fprintf(&b, "<title>%s</title>\n<style>%s</style>\n", escape(c.Title), style)
	fmt.Fprintf(&b, `<text class="title" x="10" y="22">%s</text>`+"\n", escape(c.Title))
	c.legend(&b)
	a.draw(&b, height-bottom)
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", (left+width-right)/2, height-8, escape(c.Axis))
	for i, row := range c.Rows {
		c.row(&b, row, a, top+i*rowHeight)
	}
	b.WriteString("</svg>\n")
	_, err = io.WriteString(w, b.String())
	return err
}

func (c *Chart) legend(b *strings.Builder) {
	if len(c.Series) < 2 {
		return
	}
	x := left
	for i, name := range c.Series {
		fmt.Fprintf(b, `<rect class="s%d" x="%d" y="36" width="12" height="12"/><text x="%d" y="46">%s</text>`+"\n", i, x, x+17, escape(name))
		x += 40 + 7*len(name)
	}
}

func (c *Chart) row(b *strings.Builder, row Row, a axis, y int) {
	middle := y + len(c.Series)*barHeight/2 + 4
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", left-8, middle, escape(row.Label))
	class := ""
	if row.Dim {
		class = " dim"
	}
	for i, v := range row.Values {
		at := y + i*barHeight
		if math.IsNaN(v) {
			fmt.Fprintf(b, `<text class="value" x="%d" y="%d">not measured</text>`+"\n", left+5, at+barHeight-3)
			continue
		}
		length := a.position(v) - left
		fmt.Fprintf(b, `<rect class="s%d%s" x="%d" y="%d" width="%.1f" height="%d"/>`, i, class, left, at, length, barHeight-1)
		fmt.Fprintf(b, `<text class="value" x="%.1f" y="%d">%s</text>`+"\n", left+length+5, at+barHeight-3, escape(c.format(v)))
	}
}

func (c *Chart) format(v float64) string {
	if c.Format != nil {
		return c.Format(v)
	}
	return short(v)
}

// short writes a number for an axis.
func short(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'g', 4, 64) + "M"
	case v >= 1e3:
		return strconv.FormatFloat(v/1e3, 'g', 4, 64) + "k"
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder does not fail
	return b.String()
}
