package main

import "time"

// A size says how much is measured. Sizes are in bytes.
type size struct {
	diskBytes  int
	relayBytes int
	lines      int           // messages of a bulk row with 100 bytes each
	kibs       int           // messages of a bulk row with 1 KiB each
	drained    int           // messages that are drained in every round
	syncs      int           // of one record, one after the other
	singly     time.Duration // of each row that publishes one message at a time
	perSecond  int           // messages a second while latency is measured
	latency    time.Duration
	bulk       time.Duration // of publishing to the Kafka port, and of each fan-out
	most       int           // messages that are published to the Kafka port
	groups     int           // of the fan-out
	rest       time.Duration // before the memory of an idle broker is looked at

	clients int // that publish one message at a time, to as many topics
	paced   int // the same at a fixed rate

	backlog   [2]int // messages of a short and of a long one
	topics    int
	followers int // idle ones, and as many idle producers

	eventFollowers int // followers of server-sent events
	metricTopics   int // topics, and as many groups, for metrics and the page

	tries int // to log in as a wrong user, and as many with a wrong password
}

var (
	full = size{
		diskBytes: 1 << 30, relayBytes: 4 << 30, lines: 3_000_000, kibs: 1 << 20, drained: 3_000_000,
		syncs: 2000, singly: 3 * time.Second, perSecond: 2000, latency: 5 * time.Second,
		bulk: 2 * time.Second, most: 5_000_000, groups: 100, rest: time.Second, clients: 128, paced: 1000,
		backlog: [2]int{1_000_000, 50_000_000}, topics: 10_000, followers: 5000, eventFollowers: 1000, metricTopics: 1000, tries: 10_000,
	}
	quick = size{
		diskBytes: 128 << 20, relayBytes: 512 << 20, lines: 500_000, kibs: 1 << 17, drained: 500_000,
		syncs: 200, singly: time.Second, perSecond: 2000, latency: time.Second,
		bulk: 300 * time.Millisecond, most: 500_000, groups: 100, rest: 100 * time.Millisecond, clients: 128, paced: 1000,
		backlog: [2]int{200_000, 2_000_000}, topics: 1000, followers: 1000, eventFollowers: 1000, metricTopics: 1000, tries: 500,
	}
)
