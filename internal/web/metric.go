package web

import (
	"bytes"
	"strconv"
	"strings"

	"mbus/internal/broker"
)

// A metric is a family of time series that /metrics serves. operations.md lists them.
type metric struct {
	name   string
	kind   string // gauge, counter or histogram
	help   string
	labels []string // in alphabetical order
	index  int      // in metricsServed
}

// metricsServed are all metrics, beside those of the Go runtime and of the process.
var metricsServed []*metric

func newMetric(kind, name, help string, labels ...string) *metric {
	m := &metric{name, kind, help, labels, len(metricsServed)}
	metricsServed = append(metricsServed, m)
	return m
}

func gauge(name, help string, labels ...string) *metric {
	return newMetric("gauge", name, help, labels...)
}

func counter(name, help string, labels ...string) *metric {
	return newMetric("counter", name, help, labels...)
}

func histogram(name, help string, labels ...string) *metric {
	return newMetric("histogram", name, help, labels...)
}

// A scrape collects the series of all metrics in Prometheus's text format. It writes them itself, because a
// registry, which makes an object of each series and compares them, needs ten times as long for thousands of
// topics.
type scrape struct {
	series [][]byte // by the metric's index
	text   bytes.Buffer
}

func newScrape() *scrape { return &scrape{series: make([][]byte, len(metricsServed))} }

var labelEscaper = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

// labels are the values of a metric's labels in the text format, which series may share.
func labels(nameAndValue ...string) string {
	text := make([]byte, 0, 64)
	for i := 0; i < len(nameAndValue); i += 2 {
		separator := byte(',')
		if i == 0 {
			separator = '{'
		}
		text = append(append(append(text, separator), nameAndValue[i]...), `="`...)
		value := nameAndValue[i+1]
		if strings.ContainsAny(value, "\\\n\"") {
			value = labelEscaper.Replace(value)
		}
		text = append(append(text, strings.ToValidUTF8(value, "\uFFFD")...), '"')
	}
	return string(append(text, '}'))
}

// set adds a series.
func (s *scrape) set(m *metric, value float64, labels string) { s.add(m, "", value, labels) }

// count adds a series of a counter, unless it is 0: most topics are used by one port or two.
func (s *scrape) count(m *metric, value int64, labels string) {
	if value != 0 {
		s.set(m, float64(value), labels)
	}
}

// histogram adds a histogram, whose values are divided by unit.
func (s *scrape) histogram(m *metric, h *broker.Histogram, unit float64) {
	buckets, count, sum := h.Buckets()
	for _, b := range buckets {
		s.add(m, "_bucket", float64(b.Count), labels("le", strconv.FormatFloat(float64(b.Bound)/unit, 'g', -1, 64)))
	}
	s.add(m, "_bucket", float64(count), `{le="+Inf"}`)
	s.add(m, "_sum", float64(sum)/unit, "")
	s.add(m, "_count", float64(count), "")
}

// maxWhole bounds the numbers that are written as whole ones, which is faster.
const maxWhole = 1 << 53

// add adds a sample.
func (s *scrape) add(m *metric, suffix string, value float64, labels string) {
	p := append(append(append(append(s.series[m.index], m.name...), suffix...), labels...), ' ')
	if whole := int64(value); value > -maxWhole && value < maxWhole && float64(whole) == value {
		p = strconv.AppendInt(p, whole, 10)
	} else {
		p = strconv.AppendFloat(p, value, 'g', -1, 64)
	}
	s.series[m.index] = append(p, '\n')
}

// write writes the text of all metrics that have series, and forgets the series.
func (s *scrape) write() {
	for i, m := range metricsServed {
		if len(s.series[i]) > 0 {
			s.text.WriteString("# HELP " + m.name + " " + m.help + "\n# TYPE " + m.name + " " + m.kind + "\n")
			s.text.Write(s.series[i])
			s.series[i] = s.series[i][:0]
		}
	}
}
