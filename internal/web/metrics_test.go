package web

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"mbus/internal/batch"
	"mbus/internal/broker"
)

// scrape is the metrics: values by name and labels, as /metrics writes them.
func (r *rig) scrape() map[string]float64 {
	r.Helper()
	series := make(map[string]float64)
	for line := range strings.Lines(r.must(http.StatusOK, "GET", "/metrics", "")) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, text, _ := cutLast(line, " ")
		value, err := strconv.ParseFloat(text, 64)
		if _, twice := series[name]; err != nil || twice {
			r.Fatalf("line %q: %v, or it is there twice", line, err)
		}
		series[name] = value
	}
	return series
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// publish publishes messages by the broker itself.
func (r *rig) publish(topic string, values ...string) *broker.Topic {
	r.Helper()
	t, err := r.broker.As(broker.Self).MakeTopic(topic)
	if err != nil {
		r.Fatal(err)
	}
	var b batch.Builder
	for _, v := range values {
		b.Add(r.broker.Now().UnixMilli(), nil, []byte(v))
	}
	b.Close(0)
	if _, err := t.Partitions()[0].AppendAndWait(b.Bytes()); err != nil {
		r.Fatal(err)
	}
	return t
}

// want compares series with their values.
func (r *rig) want(got, want map[string]float64) {
	r.Helper()
	for name, value := range want {
		if v, found := got[name]; !found || v != value {
			r.Errorf("%s is %v (there: %v), not %v", name, v, found, value)
		}
	}
}

func TestMetricsOfTopics(t *testing.T) {
	r := newRig(t, Options{Version: "1.2.3"})
	orders := r.publish("orders", "one", "two", "three")
	got := r.scrape()
	r.want(got, map[string]float64{
		`mbus_partition_start_offset{partition="0",topic="orders"}`:          0,
		`mbus_partition_end_offset{partition="0",topic="orders"}`:            3,
		`kafka_topic_partition_current_offset{partition="0",topic="orders"}`: 3,
		`kafka_topic_partitions{topic="orders"}`:                             1,
		`mbus_topic_bytes{topic="orders"}`:                                   float64(orders.Partitions()[0].Size()),
		`mbus_topic_delayed_messages{topic="orders"}`:                        0,
		`mbus_healthy{check="logs"}`:                                         1,
		`mbus_metrics_left_out{kind="topics"}`:                               0,
	})
	for name := range got {
		if strings.Contains(name, "__consumer_offsets") {
			t.Errorf("%s is of a topic of the broker's own", name)
		}
	}
	if got["mbus_disk_free_bytes"] <= 0 || got["go_goroutines"] <= 0 || got["process_resident_memory_bytes"] <= 0 {
		t.Error("numbers of the disk, of Go or of the process are missing")
	}
}

func TestMetricsAreClean(t *testing.T) {
	r := newBusyRig(t)
	problems, err := promlint.New(strings.NewReader(r.must(http.StatusOK, "GET", "/metrics", ""))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// FuzzLabels checks that a value of a label, such as a group's name that a Kafka client has chosen, is read as it is.
func FuzzLabels(f *testing.F) {
	for _, value := range []string{"billing", "", "a\"b", "a\\b\n", "{}", "\xff\xfe", "größe\r", "\\\"\n\\n"} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		s := newScrape()
		s.set(metricMembers, 7, labels("group", value))
		s.set(metricMembers, 0.5, labels("group", value+"2"))
		s.write()
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(&s.text)
		if err != nil {
			t.Fatal(err)
		}
		series := families[metricMembers.name].GetMetric()
		if len(series) != 2 || series[0].GetLabel()[0].GetValue() != strings.ToValidUTF8(value, "\uFFFD") || series[0].GetGauge().GetValue() != 7 || series[1].GetGauge().GetValue() != 0.5 {
			t.Errorf("%q is read as %v", value, series)
		}
	})
}
