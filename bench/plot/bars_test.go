package plot

import (
	"encoding/xml"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"
)

// bars gives the widths of the bars of an SVG, which must be well formed, and
// its text.
func bars(t *testing.T, c *Chart) (widths []float64, text string) {
	t.Helper()
	var svg strings.Builder
	if err := c.WriteSVG(&svg); err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(strings.NewReader(svg.String()))
	for {
		token, err := d.Token()
		if err == io.EOF {
			return widths, text
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg.String())
		}
		switch e := token.(type) {
		case xml.CharData:
			text += string(e) + "|"
		case xml.StartElement:
			if w, y := attribute(e, "width"), attribute(e, "y"); e.Name.Local == "rect" && y >= top {
				widths = append(widths, w)
			}
		}
	}
}

func attribute(e xml.StartElement, name string) float64 {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			v, err := strconv.ParseFloat(a.Value, 64)
			if err == nil {
				return v
			}
		}
	}
	return math.NaN()
}

func TestBarsAreAsLongAsTheirValues(t *testing.T) {
	widths, text := bars(t, &Chart{
		Title: "Speed <fast & slow>", Axis: "messages a second", Series: []string{"publish", "drain"},
		Rows: []Row{{Label: "a", Values: []float64{1_000_000, 500_000}}, {Label: "b", Values: []float64{250_000, 0}, Dim: true}},
	})
	if len(widths) != 4 {
		t.Fatalf("%d bars", len(widths))
	}
	for i, share := range []float64{1, 0.5, 0.25, 0} {
		if math.Abs(widths[i]-share*widths[0]) > 0.1 {
			t.Errorf("bar %d is %v long, and the first %v", i, widths[i], widths[0])
		}
	}
	for _, want := range []string{"Speed <fast & slow>", "messages a second", "publish", "drain", "|a|", "|b|", "250k", "1M"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %q", want, text)
		}
	}
}

func TestBarsOfALogarithmicAxisGrowByTheDecade(t *testing.T) {
	widths, text := bars(t, &Chart{
		Title: "Latency", Axis: "ms", Series: []string{"p50"}, Log: true,
		Rows: []Row{{Label: "a", Values: []float64{0.1}}, {Label: "b", Values: []float64{1}}, {Label: "c", Values: []float64{10}}},
	})
	if len(widths) != 3 || math.Abs(widths[2]-widths[1]-(widths[1]-widths[0])) > 0.2 || widths[0] <= 0 {
		t.Errorf("bars of %v", widths)
	}
	for _, tick := range []string{"0.01", "0.1", "|1|", "|10|"} {
		if !strings.Contains(text, tick) {
			t.Errorf("no tick %q in %q", tick, text)
		}
	}
}

func TestBarThatWasNotMeasuredIsSaidNotDrawn(t *testing.T) {
	widths, text := bars(t, &Chart{Series: []string{"x"}, Rows: []Row{{"a", []float64{math.NaN()}, false}, {"b", []float64{3}, false}}})
	if len(widths) != 1 || !strings.Contains(text, "not measured") {
		t.Errorf("%d bars, text %q", len(widths), text)
	}
}

func TestChartThatCannotBeDrawnIsAnError(t *testing.T) {
	for name, rows := range map[string][]Row{
		"no rows":         nil,
		"no values":       {{"a", []float64{math.NaN()}, false}},
		"negative":        {{"a", []float64{-1}, false}},
		"infinite":        {{"a", []float64{math.Inf(1)}, false}},
		"too few of them": {{"a", nil, false}},
	} {
		if err := (&Chart{Series: []string{"x"}, Rows: rows}).WriteSVG(io.Discard); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestAxisReachesFurtherThanEveryValue(t *testing.T) {
	for _, v := range []float64{0.003, 0.999, 1, 1.01, 7, 99, 100, 101, 3_800_000} {
		for _, a := range []axis{linear(v), decades(v, v)} {
			if a.high < v || a.low >= v || len(a.ticks) < 2 || len(a.ticks) > 12 {
				t.Errorf("the axis for %v is from %v to %v with %d ticks", v, a.low, a.high, len(a.ticks))
			}
		}
	}
}
