package web

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"mbus/internal/broker"
	"mbus/internal/kafka"
	"mbus/internal/line"
)

// others are the other ports of a rig's broker.
type others struct{ producers, consumers, kafka string }

// serveOthers serves the other protocols, too.
func (r *rig) serveOthers() (o others) {
	r.Helper()
	lines, kafkas := line.NewServer(r.broker), kafka.NewServer(r.broker, kafka.Options{})
	stop := r.stop
	r.stop = func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		lines.Stop(ctx)
		kafkas.Stop(ctx)
		stop()
	}
	for _, p := range []struct {
		addr  *string
		serve func(net.Listener)
	}{{&o.producers, lines.ServeProducers}, {&o.consumers, lines.ServeConsumers}, {&o.kafka, kafkas.Serve}} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			r.Fatal(err)
		}
		*p.addr = l.Addr().String()
		go p.serve(l)
	}
	return o
}

// talk sends text to a port, closes the sending side, and returns the response.
func (r *rig) talk(addr, text string) string {
	r.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		r.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		r.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		r.Fatal(err)
	}
	p, err := io.ReadAll(conn)
	if err != nil {
		r.Fatal(err)
	}
	return string(p)
}

// followLines reads n messages of a connection that acknowledges, and keeps it open.
func (r *rig) followLines(addr, request string, n int) net.Conn {
	r.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { conn.Close() })
	fmt.Fprintln(conn, request)
	lines := bufio.NewReader(conn)
	for range n {
		if _, err := lines.ReadString('\n'); err != nil {
			r.Fatal(err)
		}
	}
	return conn
}

// awaitMetrics scrapes until the series have these values, which follow from something that goes on in the
// broker.
func (r *rig) awaitMetrics(want map[string]float64) {
	r.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		got, all := r.scrape(), true
		for name, value := range want {
			v, found := got[name]
			all = all && found && v == value
		}
		if all {
			return
		}
		if time.Now().After(deadline) {
			r.want(got, want)
			return
		}
	}
}

func TestMetricsOfEachPort(t *testing.T) {
	r := newRig(t, Options{})
	o := r.serveOthers()
	if got := r.talk(o.producers, "orders\none\ntwo\nthree\n"); got != "+3\n" {
		t.Fatalf("the producers' port answers %q", got)
	}
	size := r.scrape()[`mbus_topic_bytes{topic="orders"}`]
	cl, err := kgo.NewClient(kgo.SeedBrokers(o.kafka), kgo.ConsumeTopics("orders"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(context.Background(), &kgo.Record{Topic: "orders", Value: []byte("four")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	all := r.scrape()[`mbus_topic_bytes{topic="orders"}`]
	for n := 0; n < 4; {
		n += len(cl.PollFetches(context.Background()).Records())
	}
	if got := r.talk(o.consumers, "orders\n"); strings.Count(got, "\n") != 4 {
		t.Fatalf("the consumers' port answers %q", got)
	}
	r.must(http.StatusOK, "GET", "/topics/orders/messages?from=0&n=2", "")
	r.must(http.StatusOK, "POST", "/topics/http", "one")
	r.awaitMetrics(map[string]float64{
		`mbus_topic_messages_in_total{port="producers",topic="orders"}`:    3,
		`mbus_topic_bytes_in_total{port="producers",topic="orders"}`:       size,
		`mbus_topic_messages_in_total{port="kafka",topic="orders"}`:        1,
		`mbus_topic_bytes_in_total{port="kafka",topic="orders"}`:           all - size,
		`mbus_topic_messages_out_total{port="kafka",topic="orders"}`:       4,
		`mbus_topic_bytes_out_total{port="kafka",topic="orders"}`:          all,
		`mbus_topic_messages_out_total{port="consumers",topic="orders"}`:   4,
		`mbus_topic_bytes_out_total{port="consumers",topic="orders"}`:      all,
		`mbus_topic_messages_out_total{port="http",topic="orders"}`:        2,
		`mbus_topic_messages_in_total{port="http",topic="http"}`:           1,
		`mbus_connections_accepted_total{port="producers"}`:                1,
		`mbus_connections{port="producers"}`:                               0,
		`mbus_connections{port="consumers"}`:                               0,
		`mbus_kafka_requests_total{api="Produce",error="NONE"}`:            1,
		`mbus_http_requests_total{code="200",operation="consumeMessages"}`: 1,
	})
}

func TestMetricsOfGroups(t *testing.T) {
	r := newRig(t, Options{})
	o := r.serveOthers()
	r.talk(o.producers, "orders\none\ntwo\nthree\nfour\n")
	conn := r.followLines(o.consumers, "orders?group=billing&follow&ack&attempts=1", 4)
	const of = `{group="billing",topic="orders"}`
	r.awaitMetrics(map[string]float64{
		"mbus_group_lag_messages" + of: 4, "mbus_group_unacknowledged_messages" + of: 4, `mbus_group_members{group="billing"}`: 1,
	})
	if age := r.scrape()["mbus_group_oldest_unconsumed_seconds"+of]; age <= 0 || age > time.Hour.Seconds() {
		t.Errorf("the age of the oldest message is %v s", age)
	}
	fmt.Fprint(conn, "+1\n-2 broken\n")
	r.awaitMetrics(map[string]float64{
		"mbus_group_lag_messages" + of: 2, "mbus_group_dead_lettered_messages_total" + of: 1,
		`mbus_topic_messages_in_total{port="broker",topic="orders.dlq"}`:                           1,
		`kafka_consumergroup_lag{consumergroup="billing",partition="0",topic="orders"}`:            2,
		`kafka_consumergroup_current_offset{consumergroup="billing",partition="0",topic="orders"}`: 2,
	})
	conn.Close()
	r.awaitMetrics(map[string]float64{
		"mbus_group_unacknowledged_messages" + of: 0, "mbus_group_redelivered_messages_total" + of: 2, `mbus_group_members{group="billing"}`: 0,
	})
	r.talk(o.consumers, "orders?group=billing\n")
	r.awaitMetrics(map[string]float64{"mbus_group_lag_messages" + of: 0, "mbus_group_oldest_unconsumed_seconds" + of: 0})
}

func TestMetricsOfLeases(t *testing.T) {
	r := newRig(t, Options{})
	r.want(r.scrape(), map[string]float64{"mbus_leases": 0, "mbus_lease_oldest_seconds": 0, "mbus_lease_requests_waiting": 0})
	r.publish("orders", "one", "two", "three")
	const at = "/topics/orders/groups/jobs/"
	var leased struct{ Messages []struct{ Token string } }
	if err := json.Unmarshal([]byte(r.must(http.StatusOK, "POST", at+"lease?max=2&for=1h", "")), &leased); err != nil {
		t.Fatal(err)
	}
	got := r.scrape()
	r.want(got, map[string]float64{"mbus_leases": 2})
	age := got["mbus_lease_oldest_seconds"]
	r.must(http.StatusOK, "POST", at+"extend", fmt.Sprintf(`{"tokens":[%q],"for":"12h"}`, leased.Messages[0].Token), "Content-Type", typeJSON)
	r.must(http.StatusOK, "POST", at+"ack", fmt.Sprintf(`{"tokens":[%q]}`, leased.Messages[1].Token), "Content-Type", typeJSON)
	r.must(http.StatusOK, "POST", at+"lease?for=1s", "")
	got = r.scrape()
	r.want(got, map[string]float64{"mbus_leases": 2})
	if older := got["mbus_lease_oldest_seconds"]; age <= 0 || older <= age || older > time.Hour.Seconds() {
		t.Errorf("the oldest lease is %v s old, and later %v s", age, older)
	}
	r.must(http.StatusOK, "POST", "/topics/orders/groups/other/lease?max=3", "")
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	req, err := http.NewRequestWithContext(ctx, "POST", r.url+"/topics/orders/groups/other/lease?wait=1m", nil)
	if err != nil {
		t.Fatal(err)
	}
	go http.DefaultClient.Do(req)
	r.awaitMetrics(map[string]float64{"mbus_lease_requests_waiting": 1})
}

func TestMetricsOfRefusals(t *testing.T) {
	r := newRig(t, Options{})
	o := r.serveOthers()
	r.must(http.StatusNotFound, "GET", "/nowhere", "")
	r.must(http.StatusMisdirectedRequest, "GET", "/version", "", "Host", "attacker.example")
	cl, err := kgo.NewClient(kgo.SeedBrokers(o.kafka), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.AllowAutoTopicCreation(), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	r.publish("small", "one")
	if err := r.broker.As(broker.Self).Configure("small", func(own map[string]string) error {
		own[broker.ConfigMaxBatch] = "200"
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(context.Background(), &kgo.Record{Topic: "small", Value: make([]byte, 1000)}).FirstErr(); err == nil {
		t.Fatal("a batch above the topic's limit was stored")
	}
	r.want(r.scrape(), map[string]float64{
		`mbus_http_requests_total{code="404",operation="none"}`:              1,
		`mbus_http_requests_total{code="421",operation="none"}`:              1,
		`mbus_publish_refused_total{port="kafka",reason="too-large"}`:        1,
		`mbus_kafka_requests_total{api="Produce",error="MESSAGE_TOO_LARGE"}`: 1,
	})
}

func TestMetricsOfSyncs(t *testing.T) {
	r := newRig(t, Options{})
	for range 3 {
		r.publish("orders", "one", "two")
	}
	got := r.scrape()
	syncs := got["mbus_sync_duration_seconds_count"]
	if syncs < 3 || got["mbus_sync_duration_seconds_sum"] <= 0 || got[`mbus_sync_duration_seconds_bucket{le="+Inf"}`] != syncs {
		t.Errorf("%v syncs, of %v s", syncs, got["mbus_sync_duration_seconds_sum"])
	}
	if n := got["mbus_sync_batches_sum"]; n < 3 {
		t.Errorf("%v batches became durable", n)
	}
	if n := got["mbus_sync_bytes_sum"]; n <= 0 {
		t.Errorf("%v bytes became durable", n)
	}
}

// Whatever clients publish and get is counted at the port that they use.
func TestFrontsNameTheirPorts(t *testing.T) {
	places := 0
	for _, front := range []string{"line", "kafka", "web"} {
		paths, err := filepath.Glob("../" + front + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			source, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(source), "p.AppendAndWait(") {
				t.Errorf("%s: AppendAndWait is for the messages of the broker itself, and has no port", path)
			}
			for _, m := range regexp.MustCompile(`(?:broker\.AppendOptions|delivery\.Options)\{([^}]+)\}`).FindAllStringSubmatch(string(source), -1) {
				if places++; !strings.Contains(m[1], "Port: ") {
					t.Errorf("%s: no port in {%s}", path, m[1])
				}
			}
		}
	}
	if places < 4 {
		t.Errorf("only %d places were found", places)
	}
}
