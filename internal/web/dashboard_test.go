package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"mbus/internal/broker"
	"mbus/internal/cluster"
)

// newBusyRig has series of all metrics.
func newBusyRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, Options{Version: "1.2.3", Cluster: &statedCluster{cluster.Report{Owner: 1, Nodes: []cluster.NodeReport{{Node: 1}}}}})
	r.reopen(func(o *broker.Options) { o.CertificateEnd = time.Now })
	o := r.serveOthers()
	r.talk(o.producers, "orders\none\ntwo\nthree\n")
	r.talk(o.producers, "orders?delay=1h\nlater\n")
	conn := r.followLines(o.consumers, "orders?group=billing&follow&ack&attempts=1", 3)
	fmt.Fprint(conn, "+1\n-2 broken\n")
	cl, err := kgo.NewClient(kgo.SeedBrokers(o.kafka), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := r.broker.As(broker.Self).Configure("orders", func(own map[string]string) error {
		own[broker.ConfigMaxBatch], own[broker.ConfigRetentionBytes], own[broker.ConfigRetention] = "200", "1000000", "3600000"
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	_ = cl.ProduceSync(context.Background(), &kgo.Record{Topic: "orders", Value: make([]byte, 1000)}) // too large
	r.must(http.StatusNotFound, "GET", "/nowhere", "")
	r.awaitMetrics(map[string]float64{`mbus_group_dead_lettered_messages_total{group="billing",topic="orders"}`: 1})
	return r
}

// A dashboard is the part of Grafana's JSON that has queries.
type dashboard struct {
	Panels []struct {
		Title   string
		Targets []struct{ Expr, LegendFormat string }
	}
	Templating struct {
		List []struct{ Type, Definition string }
	}
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	p, err := os.ReadFile("../../docs/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(p, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestEachQueryOfTheDashboardFindsSeries(t *testing.T) {
	series := seriesOf(newBusyRig(t).scrape())
	d := readDashboard(t)
	queries := 0
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			queries++
			if err := series.resolve(target.Expr, target.LegendFormat); err != nil {
				t.Errorf("panel %q: %s: %v", p.Title, target.Expr, err)
			}
		}
	}
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		m := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(v.Definition)
		if m == nil {
			t.Fatalf("variable %q", v.Definition)
		}
		if err := series.resolve(m[1], "{{"+m[2]+"}}"); err != nil {
			t.Errorf("variable %q: %v", v.Definition, err)
		}
	}
	if queries < 30 {
		t.Errorf("only %d queries were found", queries)
	}
	for _, wrong := range []string{
		"mbus_nothing", `sum by (prt) (mbus_connections{port=~"$port"})`, `mbus_connections{port="none"}`, `mbus_connections{topic=~".*"}`, "rate(mbus_connection[1m])",
	} {
		if series.resolve(wrong, "") == nil {
			t.Errorf("%s finds something", wrong)
		}
	}
	if series.resolve("sum by (port) (mbus_connections)", "{{topic}}") == nil {
		t.Error("a legend has a label that the query has not")
	}
}

// A seriesSet is the labels of all series, by metric.
type seriesSet map[string][]map[string]string

var labelPattern = regexp.MustCompile(`(\w+)(=~|!~|!=|=)"([^"]*)"`)

func seriesOf(scrape map[string]float64) seriesSet {
	set := make(seriesSet)
	for text := range scrape {
		name, rest, _ := strings.Cut(text, "{")
		of := map[string]string{"instance": "localhost:9992"} // Prometheus adds it
		for _, m := range labelPattern.FindAllStringSubmatch(rest, -1) {
			of[m[1]] = m[3]
		}
		set[name] = append(set[name], of)
	}
	return set
}

var (
	byPattern       = regexp.MustCompile(`\bby \(([\w, ]*)\)`)
	selectorPattern = regexp.MustCompile(`([a-z_]\w*)(\{[^}]*\})?(\[[^\]]*\])?(\s*\()?`)
	legendPattern   = regexp.MustCompile(`\{\{(\w+)\}\}`)
)

// resolve says whether each selector of a query finds series, with the labels that the query and its legend use.
func (set seriesSet) resolve(query, legend string) error {
	var by []string
	aggregates := strings.Contains(query, "sum(")
	bare := byPattern.ReplaceAllStringFunc(query, func(s string) string {
		aggregates = true
		by = append(by, strings.Split(byPattern.FindStringSubmatch(s)[1], ", ")...)
		return ""
	})
	var found []map[string]string
	for _, m := range selectorPattern.FindAllStringSubmatch(bare, -1) {
		if m[4] != "" {
			continue // a function
		}
		matched := set.matching(m[1], m[2])
		if len(matched) == 0 {
			return fmt.Errorf("no series of %s%s", m[1], m[2])
		}
		for _, label := range by {
			if _, has := matched[0][label]; !has {
				return fmt.Errorf("%s has no label %q", m[1], label)
			}
		}
		found = append(found, matched...)
	}
	if len(found) == 0 {
		return fmt.Errorf("it has no metric")
	}
	for _, m := range legendPattern.FindAllStringSubmatch(legend, -1) {
		if _, has := found[0][m[1]]; !has || aggregates && !slices.Contains(by, m[1]) {
			return fmt.Errorf("the legend has the label %q", m[1])
		}
	}
	return nil
}

// matching finds the series of a selector. A variable of the dashboard stands for any value.
func (set seriesSet) matching(name, selector string) (list []map[string]string) {
	for _, of := range set[name] {
		all := true
		for _, m := range labelPattern.FindAllStringSubmatch(selector, -1) {
			value, has := of[m[1]]
			equal := value == m[3]
			if m[2] == "=~" || m[2] == "!~" {
				pattern := m[3]
				if strings.HasPrefix(pattern, "$") {
					pattern = ".*"
				}
				equal = regexp.MustCompile("^(?:" + pattern + ")$").MatchString(value)
			}
			all = all && has && equal == (m[2][0] == '=')
		}
		if all {
			list = append(list, of)
		}
	}
	return list
}

// docs/operations.md has a row for each metric, and no other.
func TestMetricsAreDocumented(t *testing.T) {
	p, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]bool)
	for line := range strings.Lines(string(p)) {
		if (strings.HasPrefix(line, "| `mbus_") || strings.HasPrefix(line, "| `kafka_")) && strings.Count(line, " | ") == 3 {
			rows[strings.TrimSpace(line)] = true
		}
	}
	served := seriesOf(newBusyRig(t).scrape())
	for _, m := range metricsServed {
		row := fmt.Sprintf("| `%s` | %s | %s | %s |", m.name, m.kind, strings.Join(m.labels, ", "), m.help)
		if !rows[row] {
			t.Errorf("operations.md lacks:\n%s", row)
		}
		delete(rows, row)
		name := m.name
		if _, found := served[name]; !found {
			name += "_count"
		}
		if _, found := served[name]; !found {
			t.Errorf("%s is not served", m.name)
			continue
		}
		labels := served[name][0]
		for _, label := range m.labels {
			if _, has := labels[label]; !has || len(labels) != len(m.labels)+1 {
				t.Errorf("%s has the labels %v, not %v", m.name, labels, m.labels)
			}
		}
		delete(served, m.name)
		for _, suffix := range []string{"_count", "_sum", "_bucket"} {
			delete(served, m.name+suffix)
		}
	}
	for row := range rows {
		t.Errorf("operations.md has a row too many: %s", row)
	}
	for name := range served {
		if !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
			t.Errorf("%s is served, and is no metric of the list", name)
		}
	}
}
