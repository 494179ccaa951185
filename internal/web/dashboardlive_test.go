package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"mbus/test/brokertest"
)

// rightlyEmpty are comparisons of the dashboard that find nothing in the test. Without the comparison
// they find series.
var rightlyEmpty = map[string]string{
	"mbus_connections_refused_total": "all connections are accepted",
	"mbus_group_lost_messages_total": "retention removes nothing that a group has not consumed",
	"mbus_metrics_left_out":          "all topics and groups have series",
}

// Prometheus scrapes a live broker, and answers each query of the dashboard as Grafana sends it.
func TestPrometheusAnswersEachQueryOfTheDashboard(t *testing.T) {
	brokertest.Slow(t)
	r := newBusyRig(t)
	p := startPrometheus(t, r.host)
	keepBusy(t, r)
	queries := 0
	for _, panel := range readDashboard(t).Panels {
		for _, target := range panel.Targets {
			queries++
			p.await(panel.Title, asGrafana(r.host, target.Expr), target.LegendFormat)
		}
	}
	for _, v := range readDashboard(t).Templating.List {
		if m := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(v.Definition); m != nil {
			queries++
			p.await("variable "+v.Definition, "count by ("+m[2]+") ("+m[1]+")", "{{"+m[2]+"}}")
		}
	}
	if queries < 40 {
		t.Errorf("only %d queries were found", queries)
	}
	if found := p.query("mbus_nothing"); len(found) > 0 {
		t.Errorf("a metric that is not there: %v", found)
	}
}

// A prometheusServer is a server of Prometheus.
type prometheusServer struct {
	testing.TB
	url string
}

// startPrometheus has a server scrape a broker each second.
func startPrometheus(t *testing.T, broker string) *prometheusServer {
	t.Helper()
	config := fmt.Sprintf("scrape_configs:\n- job_name: mbus\n  scrape_interval: 1s\n  static_configs:\n  - targets: [%q]\n", broker)
	return &prometheusServer{t, brokertest.StartPrometheus(t, config)}
}

// keepBusy has clients of all ports go on until the end of the test, so that rates are above 0.
func keepBusy(t *testing.T, r *rig) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.serveOthers().kafka), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() {
		close(stop)
		<-stopped
		cl.Close()
	})
	go func() {
		defer close(stopped)
		for {
			if err := busyRound(r, cl); err != nil {
				t.Error(err)
				return
			}
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
}

// busyRound publishes, consumes, leases messages that fail, and is refused.
func busyRound(r *rig, cl *kgo.Client) error {
	_ = cl.ProduceSync(context.Background(), &kgo.Record{Topic: "orders", Value: make([]byte, 1000)}) // too large
	if err := cl.ProduceSync(context.Background(), &kgo.Record{Topic: "orders", Value: []byte("small")}).FirstErr(); err != nil {
		return err
	}
	for _, fail := range []string{`"dead":true`, `"retry":"1ms"`, `"retry":"1h"`, ""} { // the last one stays leased
		if err := post(r, "/topics/orders", "one", nil); err != nil {
			return err
		}
		var leased struct{ Messages []struct{ Token string } }
		if err := post(r, "/topics/orders/groups/jobs/lease?for=1h", "", &leased); err != nil {
			return err
		}
		if fail == "" || len(leased.Messages) == 0 {
			continue
		}
		if err := post(r, "/topics/orders/groups/jobs/fail", fmt.Sprintf(`{"tokens":[%q],%s}`, leased.Messages[0].Token, fail), nil); err != nil {
			return err
		}
	}
	return nil
}

func post(r *rig, path, body string, answer any) error {
	req, err := http.NewRequest(http.MethodPost, r.url+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, resp.Status)
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}

var comparison = regexp.MustCompile(` > 0\)?$`)

// asGrafana replaces the variables of a query as Grafana does with "All" selected, and takes off a
// comparison that finds nothing here.
func asGrafana(instance, query string) string {
	for metric := range rightlyEmpty {
		if strings.Contains(query, metric) {
			query = comparison.ReplaceAllString(query, "")
		}
	}
	return strings.NewReplacer("$__rate_interval", "1m", "$instance", strings.ReplaceAll(regexp.QuoteMeta(instance), `\`, `\\`), "$topic", ".*", "$group", ".*").Replace(query)
}

// A sample is an element of a result.
type sample struct{ Metric map[string]string }

// query is what Prometheus finds: nothing before it serves.
func (p *prometheusServer) query(query string) []sample {
	p.Helper()
	resp, err := http.Get(p.url + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct{ Result []sample }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil
	}
	if answer.Status != "success" {
		p.Fatalf("%s: %s", query, answer.Error)
	}
	return answer.Data.Result
}

// await waits until a query has a result, whose series have the labels of the legend.
func (p *prometheusServer) await(title, query, legend string) {
	p.Helper()
	var found []sample
	brokertest.Await(p, time.Minute, fmt.Sprintf("panel %q: %s finds something", title, query), func() bool {
		found = p.query(query)
		return len(found) > 0
	})
	for _, m := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(legend, -1) {
		for _, s := range found {
			if s.Metric[m[1]] == "" {
				p.Errorf("panel %q: %s finds %v, without the label %q of its legend", title, query, s.Metric, m[1])
			}
		}
	}
}
