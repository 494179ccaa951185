package web

import (
	"context"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"

	"mbus/internal/broker"
)

var (
	metricBuild   = gauge("mbus_build_info", "Versions of the broker and of Go; the value is always 1.", "goversion", "version")
	metricLeftOut = gauge("mbus_metrics_left_out", "Topics, or topics of groups, without series because there are too many.", "kind")

	metricConnections = gauge("mbus_connections", "Open connections of clients.", "port")
	metricAccepted    = counter("mbus_connections_accepted_total", "Connections that were accepted.", "port")
	metricRefused     = counter("mbus_connections_refused_total", "Connections that were refused because there were too many.", "port")
	metricRefusals    = counter("mbus_publish_refused_total", "Batches of messages that were refused, by reason.", "port", "reason")
	metricKafka       = counter("mbus_kafka_requests_total", "Requests of Kafka clients, by API and first error of the response.", "api", "error")
	metricHTTP        = counter("mbus_http_requests_total", "Requests of HTTP clients, by operation of the OpenAPI document and status.", "code", "operation")

	metricInsecure    = gauge("mbus_insecure", "1 if other machines reach the broker without TLS or without users, otherwise 0.")
	metricCertificate = gauge("mbus_certificate_expiry_timestamp_seconds", "End of the certificate, in seconds since 1970; no series without TLS.")
	metricUsers       = gauge("mbus_users", "Users; without one, everything is open to clients that have not logged in.")
	metricSessions    = gauge("mbus_http_sessions", "Browsers that have logged in to the page.")
	metricBadLogins   = counter("mbus_logins_failed_total", "Log-ins that were refused, of all ports.")
	metricDenied      = counter("mbus_requests_denied_total", "Requests that were refused because the client had not logged in or lacked the permission, as far as the audit trail knows them.")

	metricLeases      = gauge("mbus_leases", "Messages that are leased to clients of HTTP.")
	metricLeaseAge    = gauge("mbus_lease_oldest_seconds", "Age of the oldest lease of a client of HTTP; 0 if there is none.")
	metricLeasesAwait = gauge("mbus_lease_requests_waiting", "Requests of HTTP clients that wait for a message to lease.")

	metricSync     = histogram("mbus_sync_duration_seconds", "Duration of syncs of logs and of the journal.")
	metricAppends  = histogram("mbus_sync_batches", "Batches of messages that became durable with one sync.")
	metricSyncSize = histogram("mbus_sync_bytes", "Bytes that became durable with one sync.")
	metricDamage   = counter("mbus_damage_found_total", "Places where messages were found to be damaged or lost.")

	metricDiskFree    = gauge("mbus_disk_free_bytes", "Free space on the disk of the data directory.")
	metricDiskSize    = gauge("mbus_disk_size_bytes", "Size of the disk of the data directory.")
	metricDiskReserve = gauge("mbus_disk_reserve_bytes", "Free space below which publishing is refused, so that consumers can go on.")
	metricHealthy     = gauge("mbus_healthy", "1 if a check of /healthz has found no problem, otherwise 0.", "check")

	metricMessagesIn  = counter("mbus_topic_messages_in_total", "Messages that were published.", "port", "topic")
	metricBytesIn     = counter("mbus_topic_bytes_in_total", "Bytes of the batches that were published, in stored form.", "port", "topic")
	metricMessagesOut = counter("mbus_topic_messages_out_total", "Messages that were sent to clients, including repeated deliveries.", "port", "topic")
	metricBytesOut    = counter("mbus_topic_bytes_out_total", "Bytes of the messages that were sent to clients, in stored form.", "port", "topic")

	metricTopicBytes     = gauge("mbus_topic_bytes", "Size of the messages that are kept, in stored form.", "topic")
	metricTopicDelayed   = gauge("mbus_topic_delayed_messages", "Delayed messages that are not due yet.", "topic")
	metricRetention      = gauge("mbus_topic_retention_seconds", "Age at which retention removes messages; no series if there is no limit.", "topic")
	metricRetentionBytes = gauge("mbus_topic_retention_bytes", "Size of a partition above which retention removes its oldest messages; no series if there is no limit.", "topic")
	metricStart          = gauge("mbus_partition_start_offset", "Offset of the first message that is kept.", "partition", "topic")
	metricEnd            = gauge("mbus_partition_end_offset", "Offset after the last durable message.", "partition", "topic")

	metricKafkaPartitions = gauge("kafka_topic_partitions", "Partitions of a topic, for dashboards of kafka_exporter.", "topic")
	metricKafkaEnd        = gauge("kafka_topic_partition_current_offset", "Same as mbus_partition_end_offset, for dashboards of kafka_exporter.", "partition", "topic")
)

// metrics answers scrapes.
type metrics struct {
	others  *prometheus.Registry // of the Go runtime and of the process
	scrapes sync.Pool            // of *scrape that have ended
}

func newMetrics() *metrics {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &metrics{others: r, scrapes: sync.Pool{New: func() any { return newScrape() }}}
}

func (m *metrics) serve(c *call) error {
	if err := c.view.Allow(broker.Describe, broker.ClusterResource, ""); err != nil {
		return err
	}
	s := m.scrapes.Get().(*scrape)
	s.text.Reset()
	s.broker(c)
	s.write()
	if err := m.process(s); err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", string(expfmt.NewFormat(expfmt.TypeTextPlain)))
	err := c.compressed(http.StatusOK, s.text.Bytes())
	m.scrapes.Put(s)
	return err
}

// process writes the metrics of the Go runtime and of the process.
func (m *metrics) process(s *scrape) error {
	others, _ := m.others.Gather() // what was gathered is right
	for _, f := range others {
		if _, err := expfmt.MetricFamilyToText(&s.text, f); err != nil {
			return err
		}
	}
	return nil
}

// broker reads all numbers of the broker.
func (s *scrape) broker(c *call) {
	s.set(metricBuild, 1, labels("goversion", runtime.Version(), "version", c.server.opts.Version))
	s.health(c)
	s.security(c.server)
	s.store(c)
	s.fronts(&c.server.broker.Stats)
	s.leases(c)
	if nodes := c.server.opts.Cluster; nodes != nil {
		ctx, cancel := context.WithTimeout(c.r.Context(), reportTime)
		defer cancel()
		report := nodes.Report(ctx)
		s.cluster(&report, c.server.opts.NodeID)
	}
	leftOut := s.topics(c)
	s.set(metricLeftOut, float64(leftOut), labels("kind", "topics"))
	leftOut = s.groups(c, time.Now())
	s.set(metricLeftOut, float64(leftOut), labels("kind", "groups"))
}

func (s *scrape) health(c *call) {
	h, err := c.health()
	if err != nil {
		return // serve has asked already
	}
	if h.Disk.Size > 0 {
		s.set(metricDiskFree, float64(h.Disk.Free), "")
		s.set(metricDiskSize, float64(h.Disk.Size), "")
	}
	s.set(metricDiskReserve, float64(h.Disk.Reserve), "")
	for _, check := range c.server.checks() {
		value := 1.0
		if h.Has(check) {
			value = 0
		}
		s.set(metricHealthy, value, labels("check", check))
	}
}

// security collects the numbers of users and of TLS.
func (s *scrape) security(server *Server) {
	b := server.broker
	insecure := 0.0
	if b.Exposure() != "" {
		insecure = 1
	}
	s.set(metricInsecure, insecure, "")
	if end := b.Options().CertificateEnd; end != nil {
		s.set(metricCertificate, float64(end().Unix()), "")
	}
	s.set(metricUsers, float64(b.Users().Len()), "")
	s.set(metricSessions, float64(server.sessions.count()), "")
	logins, requests := b.Refused()
	s.set(metricBadLogins, float64(logins), "")
	s.set(metricDenied, float64(requests), "")
}

// store collects the numbers of the store.
func (s *scrape) store(c *call) {
	stats, err := c.view.StoreStats()
	if err != nil {
		return // serve has asked already
	}
	s.histogram(metricSync, &stats.Syncs, 1e9)
	s.histogram(metricAppends, &stats.Appends, 1)
	s.histogram(metricSyncSize, &stats.Bytes, 1)
	s.set(metricDamage, float64(stats.Damage.Load()), "")
}

// fronts collects the numbers of the ports.
func (s *scrape) fronts(stats *broker.Stats) {
	for _, p := range broker.Ports {
		if p == broker.Itself {
			continue
		}
		conns, of := stats.Connections(p), labels("port", p.String())
		s.set(metricConnections, float64(conns.Open.Load()), of)
		s.set(metricAccepted, float64(conns.Accepted.Load()), of)
		s.set(metricRefused, float64(conns.Refused.Load()), of)
	}
	stats.EachRefusal(func(r broker.Refusal, n int64) {
		s.set(metricRefusals, float64(n), labels("port", r.Port.String(), "reason", r.Reason))
	})
	stats.EachRequest(func(r broker.Request, n int64) {
		if r.Port == broker.Kafka {
			s.set(metricKafka, float64(n), labels("api", r.Kind, "error", r.Outcome))
		} else {
			s.set(metricHTTP, float64(n), labels("code", r.Outcome, "operation", r.Kind))
		}
	})
}

// leases collects the numbers of clients without a connection.
func (s *scrape) leases(c *call) {
	held, waiting := c.server.hub.Leases()
	age := 0.0
	if oldest := c.server.hub.OldestLease(); !oldest.IsZero() {
		age = time.Since(oldest).Seconds()
	}
	s.set(metricLeases, float64(held), "")
	s.set(metricLeaseAge, age, "")
	s.set(metricLeasesAwait, float64(waiting), "")
}

// topics collects those of the first topics by name, and returns how many others there are.
func (s *scrape) topics(c *call) (leftOut int) {
	delayed := c.view.Delayed()
	n := 0
	for _, t := range c.view.Topics() {
		if broker.Internal(t.Name) {
			continue
		}
		if n += len(t.Partitions()); n > c.server.series {
			leftOut++
			continue
		}
		s.topic(t, delayed[t.ID])
	}
	return leftOut
}

func (s *scrape) topic(t *broker.Topic, delayed int) {
	of := labels("topic", t.Name)
	partitions := t.Partitions()
	for _, port := range broker.Ports {
		in, out := t.Traffic(port)
		if in == (broker.Traffic{}) && out == (broker.Traffic{}) {
			continue
		}
		by := labels("port", port.String(), "topic", t.Name)
		s.count(metricMessagesIn, in.Messages, by)
		s.count(metricBytesIn, in.Bytes, by)
		s.count(metricMessagesOut, out.Messages, by)
		s.count(metricBytesOut, out.Bytes, by)
	}
	var bytes int64
	for i, p := range partitions {
		bytes += p.Size()
		start, end := p.Offsets()
		each := labels("partition", strconv.Itoa(i), "topic", t.Name)
		s.set(metricStart, float64(start), each)
		s.set(metricEnd, float64(end), each)
		s.set(metricKafkaEnd, float64(end), each)
	}
	s.set(metricTopicBytes, float64(bytes), of)
	s.set(metricTopicDelayed, float64(delayed), of)
	s.set(metricKafkaPartitions, float64(len(partitions)), of)
	ms, most := t.Retention()
	if ms >= 0 {
		s.set(metricRetention, float64(ms)/1000, of)
	}
	if most >= 0 {
		s.set(metricRetentionBytes, float64(most), of)
	}
}
