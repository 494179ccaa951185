package main

import (
	"fmt"
	"io"

	"mbus/bench/measure"
)

// Names of the rows that figures are about.
const (
	rowPublish  = "publish 100-byte lines, 1 producer"
	rowOne      = "publish one at a time, 1 connection"
	rowMany     = "publish one at a time, 64 connections"
	rowDrain    = "drain 100-byte lines"
	rowBacklog  = "drain the backlog as lines"
	rowRelay    = "machine: relay over loopback"
	numberIdle  = "resident memory, idle"
	numberEmpty = "listening, empty directory"
	numberFull  = "listening, after kill -9 with the backlog"
	numberMany  = "listening, 1,000 topics after kill -9"
	numberRAM   = "resident memory, 1,000 topics"
)

// A figure is something to reach: at least the bound, or at most.
type figure struct {
	name            string
	measured, bound float64
	atMost          bool
	unit            string
}

func printFigures(w io.Writer, t *table) {
	fmt.Fprintf(w, "\nFigures to reach\n")
	for _, f := range figures(t) {
		word, verdict := "at least", "reached"
		if f.atMost {
			word = "at most"
		}
		if f.atMost != (f.measured <= f.bound) {
			verdict = "NOT REACHED"
		}
		fmt.Fprintf(w, "%-46s %9.2f, %s %g %s: %s\n", f.name, f.measured, word, f.bound, f.unit, verdict)
	}
}

func figures(t *table) []figure {
	publish, drain := t.row(rowPublish), t.row(rowDrain)
	list := []figure{
		{"publishing, of the disk's write-and-sync rate", measure.Median(publish.share), 0.6, false, ""},
		{"publishing", measure.Median(publish.rate) / 1e6, 1.5, false, "million/s where the disk allows"},
		{"64 connections to 1, one message at a time", measure.Median(t.row(rowMany).rate) / measure.Median(t.row(rowOne).rate), 20, false, "times"},
		{"draining, of a relay's rate", measure.Median(drain.share), 0.6, false, ""},
		{"draining", measure.Median(drain.rate) / 1e6, 3, false, "million/s where a relay manages 5"},
		{"processor time a message in", measure.Median(publish.each), 0.5, true, "us"},
		{"processor time a message out", measure.Median(drain.each), 0.3, true, "us"},
		{numberIdle, t.value(numberIdle), 12, true, "MB"},
		{numberEmpty, t.value(numberEmpty), 20, true, "ms"},
		{numberFull, t.value(numberFull), 100, true, "ms"},
		{numberMany, t.value(numberMany), 1000, true, "ms"},
		{numberRAM, t.value(numberRAM), 60, true, "MB"},
	}
	for _, name := range []string{"broker", "producer", "consumer"} {
		list = append(list, figure{"size of " + name, t.value("size of " + name), 12, true, "MB"})
	}
	return list
}
