package web

import (
	"cmp"
	"slices"

	dto "github.com/prometheus/client_model/go"

	"mbus/internal/broker"
)

// A metric is a family of time series that /metrics serves. operations.md lists them.
type metric struct {
	name   string
	kind   dto.MetricType
	help   string
	labels []string // in alphabetical order
}

// metricsServed are all metrics, beside those of the Go runtime and of the process.
var metricsServed []*metric

func newMetric(kind dto.MetricType, name, help string, labels ...string) *metric {
	m := &metric{name, kind, help, labels}
	metricsServed = append(metricsServed, m)
	return m
}

func gauge(name, help string, labels ...string) *metric {
	return newMetric(dto.MetricType_GAUGE, name, help, labels...)
}

func counter(name, help string, labels ...string) *metric {
	return newMetric(dto.MetricType_COUNTER, name, help, labels...)
}

func histogram(name, help string, labels ...string) *metric {
	return newMetric(dto.MetricType_HISTOGRAM, name, help, labels...)
}

// A scrape collects the series of all metrics. It makes them in the form of the library's encoder, because a
// registry, which takes them one by one and compares them, needs several times as long for thousands of topics.
type scrape struct {
	families map[*metric]*dto.MetricFamily
}

func newScrape() *scrape { return &scrape{make(map[*metric]*dto.MetricFamily)} }

// labels are the values of a metric's labels, which series may share.
func labels(nameAndValue ...string) []*dto.LabelPair {
	pairs := make([]dto.LabelPair, len(nameAndValue)/2)
	list := make([]*dto.LabelPair, len(pairs))
	for i := range pairs {
		pairs[i].Name, pairs[i].Value = &nameAndValue[2*i], &nameAndValue[2*i+1]
		list[i] = &pairs[i]
	}
	return list
}

// set adds a series.
func (s *scrape) set(m *metric, value float64, labels []*dto.LabelPair) {
	series := &dto.Metric{Label: labels}
	if m.kind == dto.MetricType_COUNTER {
		series.Counter = &dto.Counter{Value: &value}
	} else {
		series.Gauge = &dto.Gauge{Value: &value}
	}
	s.add(m, series)
}

// count adds a series of a counter, unless it is 0: most topics are used by one port or two.
func (s *scrape) count(m *metric, value int64, labels []*dto.LabelPair) {
	if value != 0 {
		s.set(m, float64(value), labels)
	}
}

// histogram adds a histogram, whose values are divided by unit.
func (s *scrape) histogram(m *metric, h *broker.Histogram, unit float64) {
	buckets, count, sum := h.Buckets()
	total := float64(sum) / unit
	series := &dto.Histogram{SampleCount: &count, SampleSum: &total}
	for _, b := range buckets {
		bound := float64(b.Bound) / unit
		series.Bucket = append(series.Bucket, &dto.Bucket{UpperBound: &bound, CumulativeCount: &b.Count})
	}
	s.add(m, &dto.Metric{Histogram: series})
}

func (s *scrape) add(m *metric, series *dto.Metric) {
	f := s.families[m]
	if f == nil {
		f = &dto.MetricFamily{Name: &m.name, Help: &m.help, Type: &m.kind}
		s.families[m] = f
	}
	f.Metric = append(f.Metric, series)
}

// list is the metrics, by name, with those of others.
func (s *scrape) list(others []*dto.MetricFamily) []*dto.MetricFamily {
	all := slices.Clone(others)
	for _, f := range s.families {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b *dto.MetricFamily) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return all
}
