package main

import (
	"fmt"
	"math"
)

// Names of the rows that figures are about.
const (
	rowDisk         = "machine: write 1 MiB, fdatasync"
	rowRelay        = "machine: relay over loopback"
	rowAnswers      = "machine: Kafka client, server that only answers, in"
	rowSends        = "machine: Kafka client, server that only sends, out"
	rowPublish      = "publish 100-byte lines, 1 producer"
	rowKib          = "publish 1-KiB lines, 1 producer"
	rowOne          = "publish one at a time, 1 connection"
	rowMany         = "publish one at a time, 64 connections"
	rowFloor        = "machine: 64 connections, a server that only reads, syncs and answers"
	rowDrain        = "drain 100-byte lines"
	rowDrainBatches = "drain the same in batches"
	rowFanOut       = "fan out as lines, deliveries"
	rowFanOutKafka  = "fan out to Kafka clients, deliveries"
	rowKafkaIn      = "Kafka client, in"
	rowKafkaOut     = "Kafka client without a group, out"
	rowKafkaGroup   = "Kafka client in a group, out"
	numberIdle      = "resident memory, idle"
	numberEmpty     = "listening, empty directory"
	numberFull      = "listening, after kill -9 with the long backlog"
	numberMany      = "listening, many topics after kill -9"
	numberRAM       = "resident memory, many topics"
	numberRAMRead   = "resident memory, many topics, each read"
	numberCrowd     = "resident memory, many idle connections"
	numberInLog     = "bytes in the log for one of a 1-KiB line"
)

// The connections that exist while the cost of connections is measured.
const (
	alone = "nobody else"
	crowd = "idle connections"
)

func publishBeside(who string) string { return "publish 100-byte lines beside " + who }

func drainBeside(who string) string { return "drain 100-byte lines beside " + who }

// Ways through which latency is measured.
const (
	latencySync   = "one sync"
	latencyRelay  = "relay"
	latencySynced = "relay that syncs"
	latencyOurs   = "mbus, lines"
)

func latencyName(percentile, way string) string { return "latency " + percentile + ", " + way }

func ratioName(percentile, way string) string {
	return latencyName(percentile, way) + ", to a sync and a relay"
}

// programs are what users install.
var programs = []string{"broker", "producer", "consumer"}

// A figure is something to reach: at least the bound, or at most.
type figure struct {
	name     string
	measured float64 // NaN where it was not
	bound    float64 // 0: none, for information
	atMost   bool
	unit     string

	machine string  // what the machine manages, in words; "" where nothing compares
	limit   float64 // the same, where it is in the unit of the bound
}

// verdict says whether the figure was reached, and if not, whether the machine
// reaches it at all.
func (f *figure) verdict() string {
	switch {
	case math.IsNaN(f.measured) || math.IsInf(f.measured, 0):
		return "not measured"
	case f.bound == 0:
		return ""
	case f.reachedBy(f.measured):
		return "reached"
	case f.limit > 0 && !f.reachedBy(f.limit):
		return "NOT REACHED, nor by the machine's row"
	}
	return "NOT REACHED"
}

func (f *figure) reachedBy(v float64) bool {
	if f.atMost {
		return v <= f.bound
	}
	return v >= f.bound
}

// target is the bound in words.
func (f *figure) target() string {
	switch {
	case f.bound == 0:
		return ""
	case f.atMost:
		return "at most " + digits(f.bound)
	}
	return "at least " + digits(f.bound)
}

// value is what was measured, with its unit.
func (f *figure) value() string {
	if f.unit == "" {
		return digits(f.measured)
	}
	return digits(f.measured) + " " + f.unit
}

// digits writes three that count, and never fewer than stand before the point.
func digits(v float64) string {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "–"
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// figures are all of them, in the order of the document.
func figures(t *table) []figure {
	var list []figure
	for _, part := range []func(*table) []figure{
		publishing, sharing, draining, overKafka, httpFigures, tlsFigures, timingFigures, latency, independence, fanningOut, others,
	} {
		list = append(list, part(t)...)
	}
	return list
}

func publishing(t *table) []figure {
	disk := t.mbs(rowDisk)
	written := digits(disk) + " MB/s written and synced"
	floor := t.rate(rowFloor)
	return []figure{
		{"publish 1-KiB lines, of the disk's rate", t.share(rowKib), 0.8, false, "", written, 0},
		{"the same in bytes of the log", t.share(rowKib) * t.value(numberInLog), 0, false, "", written, 0},
		{"publish 100-byte lines, 1 connection", t.rate(rowPublish) / 1e6, 3, false, "million/s", digits(disk/100) + " million/s", disk / 100},
		{"64 connections to 1, one message at a time", t.rate(rowMany) / t.rate(rowOne), 20, false, "times", "", 0},
		{"64 connections, one message at a time", t.rate(rowMany), 40_000, false, "/s", digits(floor) + "/s read, synced and answered", floor},
		{"processor time a 100-byte line in", t.each(rowPublish), 0.5, true, "µs", "", 0},
	}
}

// sharing compares clients with a topic each with the same clients on one topic.
func sharing(t *table) []figure {
	var list []figure
	for _, way := range []string{wayKafka, wayLines} {
		for _, name := range []func(way, topics string) string{t.singlyBy, t.pacedBy} {
			one, each := name(way, oneTopic), name(way, topicsEach)
			p99 := func(row string) float64 { return t.value(latencyName("p99", row)) }
			begin := each + ", to on one: "
			list = append(list,
				figure{begin + "rate", t.rate(each) / t.rate(one), 0.9, false, "times", "", 0},
				figure{begin + "latency p99", p99(each) / p99(one), 1.5, true, "times", "", 0},
				figure{begin + "processor time a message", t.each(each) / t.each(one), within, true, "times", "", 0},
			)
		}
	}
	slow := t.rate(t.slowRow(withJournal)) / t.rate(t.slowRow(noJournal))
	for _, name := range []func(way, topics string) string{t.singlyBy, t.pacedBy} {
		one, each := name(wayLines, oneTopic), name(wayLines, topicsEach)
		ratio := t.value(syncsName(each)) / t.value(syncsName(one))
		list = append(list, figure{each + ", to on one: syncs", ratio, within, true, "times", "", 0})
	}
	return append(list, figure{t.slowRow(withJournal) + ", to without: rate", slow, 20, false, "times", "", 0})
}

func draining(t *table) []figure {
	relay := t.mbs(rowRelay)
	relayed := digits(relay) + " MB/s relayed"
	return []figure{
		{"drain as lines, of the relay's rate", t.share(rowDrain), 0.7, false, "", relayed, 0},
		{"drain in batches, of the relay's rate", t.share(rowDrainBatches), 0.7, false, "", relayed, 0},
		{"drain 100-byte lines", t.rate(rowDrain) / 1e6, 3, false, "million/s", digits(relay/101) + " million/s", relay / 101},
		{"processor time a 100-byte line out", t.each(rowDrain), 0.3, true, "µs", "", 0},
	}
}

func overKafka(t *table) []figure {
	in, out, disk := t.each(rowAnswers), t.each(rowSends), t.each(rowDisk)
	answers := fmt.Sprintf("%s µs to only answer, %s to write and sync", digits(in), digits(disk))
	sends := digits(out) + " µs to only send"
	rateIn, rateOut := digits(t.rate(rowAnswers)/1e6)+" million/s", digits(t.rate(rowSends)/1e6)+" million/s"
	return []figure{
		{"Kafka client: processor time a message in", t.each(rowKafkaIn), 0.15, true, "µs", answers, in + disk},
		{"Kafka client: what mbus adds, in", t.each(rowKafkaIn) - in - disk, 0, true, "µs", "", 0},
		{"Kafka client: publish", t.rate(rowKafkaIn) / 1e6, 0, false, "million/s", rateIn, 0},
		{"Kafka client: publish, of its own limit", t.share(rowKafkaIn), 0, false, "", rateIn, 0},
		{"Kafka client: processor time a message out", t.each(rowKafkaOut), 0.05, true, "µs", sends, out},
		{"Kafka client in a group: the same", t.each(rowKafkaGroup), 0.05, true, "µs", sends, out},
		{"Kafka client: what mbus adds, out", t.each(rowKafkaOut) - out, 0, true, "µs", "", 0},
		{"Kafka client: drain", t.rate(rowKafkaOut) / 1e6, 0, false, "million/s", rateOut, 0},
		{"Kafka client in a group: drain", t.rate(rowKafkaGroup) / 1e6, 0, false, "million/s", rateOut, 0},
		{"Kafka client: drain, of its own limit", t.share(rowKafkaOut), 0, false, "", rateOut, 0},
	}
}

func latency(t *table) []figure {
	var list []figure
	for _, p := range []struct {
		percentile string
		bound      float64
	}{{"p50", 1.3}, {"p99", 2}} {
		of := func(way string) string { return digits(t.value(latencyName(p.percentile, way))) }
		synced := t.value(ratioName(p.percentile, latencySynced))
		list = append(list, figure{
			"latency " + p.percentile + ", to a sync and a relay", t.value(ratioName(p.percentile, latencyOurs)), p.bound, true, "times",
			fmt.Sprintf("%s times a relay that syncs (%s ms synced, %s ms relayed, %s ms relayed and synced; mbus %s ms)",
				digits(synced), of(latencySync), of(latencyRelay), of(latencySynced), of(latencyOurs)), synced,
		})
	}
	return list
}

// within is how much dearer something may be that should not depend on what is
// around it.
const within = 1.2

// startLimit is how long a broker with many topics may take until it listens, in milliseconds.
const startLimit = 500

func independence(t *table) []figure {
	topics, idle := whole(t.topicCount), whole(t.idle)
	backlogs := " " + t.drainLong() + ", to one of " + whole(t.short)
	besides := fmt.Sprintf(" beside %s idle followers and %s idle producers, to without them", idle, idle)
	each := (t.value(numberRAM) - t.value(numberIdle)) * 1e6 / 1024 / float64(t.topicCount)
	return []figure{
		{"processor time a message to" + backlogs, t.each(t.drainLong()) / t.each(t.drainShort()), within, true, "times", "", 0},
		{"time a message to" + backlogs, t.rate(t.drainShort()) / t.rate(t.drainLong()), within, true, "times", "", 0},
		{"resident memory for each of " + topics + " topics", each, 20, true, "KiB", "", 0},
		{"listening with " + topics + " topics after kill -9", t.value(numberMany), startLimit, true, "ms", "", 0},
		{"processor time a message to publish" + besides, t.each(publishBeside(crowd)) / t.each(publishBeside(alone)), within, true, "times", "", 0},
		{"processor time a message to drain" + besides, t.each(drainBeside(crowd)) / t.each(drainBeside(alone)), within, true, "times", "", 0},
	}
}

func fanningOut(t *table) []figure {
	return []figure{
		{"fan-out to 100 groups as lines, deliveries", t.rate(rowFanOut) / 1e6, 1, false, "million/s", "", 0},
		{"fan-out to 100 Kafka groups, deliveries", t.rate(rowFanOutKafka) / 1e6, 1, false, "million/s", "", 0},
	}
}

// largest bounds the size of a program in MB. Without HTTP the broker had 11 MB of 12. client_golang
// with protobuf takes 2 MB, and the rest of HTTP, such as net/http and html/template, 6 MB.
func largest(program string) float64 {
	if program == "broker" {
		return 20
	}
	return 12
}

func others(t *table) []figure {
	list := []figure{
		{numberIdle, t.value(numberIdle), 14, true, "MB", "", 0},
		{numberEmpty, t.value(numberEmpty), 20, true, "ms", "", 0},
		{numberFull, t.value(numberFull), 100, true, "ms", "", 0},
	}
	for _, name := range programs {
		list = append(list, figure{"size of " + name, t.value("size of " + name), largest(name), true, "MB", "", 0})
	}
	return list
}
