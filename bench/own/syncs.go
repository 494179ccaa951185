package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"mbus/bench/bus"
	"mbus/bench/machine"
)

// A span is when clients published, and how much.
type span struct {
	name       string
	begun, end time.Time
	messages   int
}

// Names of the numbers of a span: its syncs, and of those in which the journal's have
// a part, because a message that is alone is synced in its topic.
func syncsName(span string) string { return "syncs for a message, " + span }

func roundsName(span string) string { return "syncs for each of the journal, " + span }

// countedSyncs counts the syncs of a broker that strace watches, while one client and many
// publish lines.
func (r *round) countedSyncs() error {
	if _, err := exec.LookPath("strace"); err != nil {
		r.syncsNote = "there is no strace"
		return nil
	}
	r.clientCount, r.pacedCount = r.clients, r.paced
	trace := filepath.Join(r.dir, "trace")
	strace := []string{"strace", "-f", "--seccomp-bpf", "-y", "-ttt", "-o", trace, "-e", "trace=fdatasync,fsync,io_submit"}
	if err := r.launchBy(strace, filepath.Join(r.dir, "syncs")); err != nil {
		return err
	}
	defer r.kill()
	var spans []span
	for _, c := range []struct {
		name, topics string
		clients      int
		send         sending
	}{
		{"lines, 1 one at a time", oneTopic, 1, r.inTurn},
		{r.singlyBy(wayLines, oneTopic), oneTopic, r.clients, r.inTurn},
		{r.singlyBy(wayLines, topicsEach), topicsEach, r.clients, r.inTurn},
		{r.pacedBy(wayLines, oneTopic), oneTopic, r.paced, r.steadily},
		{r.pacedBy(wayLines, topicsEach), topicsEach, r.paced, r.steadily},
	} {
		s, err := r.span(c.name, c.topics, c.clients, c.send)
		if err != nil {
			return fmt.Errorf("under strace, %s: %w", c.name, err)
		}
		spans = append(spans, s)
	}
	r.kill() // and strace has written everything
	return r.countSyncs(trace, spans)
}

func (r *round) span(name, topics string, n int, send sending) (span, error) {
	clients, err := r.connect(bus.OpenLines(r.b.Producers(), r.b.Consumers()), name, topics, n)
	if err != nil {
		return span{}, err
	}
	defer clients.Close()
	begun := time.Now()
	list, _, err := send(clients)
	return span{name, begun, time.Now(), len(list)}, err
}

// traced is a line of strace about a call that begins: process, time, call, and the
// file in the brackets of a descriptor.
var traced = regexp.MustCompile(`^\d+ +(\d+\.\d+) (fdatasync|fsync|io_submit)\((?:\d+<([^>]*)>)?`)

// countSyncs makes numbers of the syncs that began in each span.
func (r *round) countSyncs(trace string, spans []span) error {
	file, err := os.Open(trace)
	if err != nil {
		return err
	}
	defer file.Close()
	all, journal := make([]float64, len(spans)), make([]float64, len(spans))
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		m := traced.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		seconds, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return err
		}
		at := time.UnixMicro(int64(seconds * 1e6))
		for i, s := range spans {
			if at.Before(s.begun) || at.After(s.end) {
				continue
			}
			all[i]++
			if strings.Contains(m[3], "/journal/") {
				journal[i]++
			}
		}
	}
	for i, s := range spans {
		r.number(syncsName(s.name), "", all[i]/float64(s.messages))
		if journal[i] > 0 {
			r.number(roundsName(s.name), "", all[i]/journal[i])
		}
	}
	return lines.Err()
}

// slowWrites is how many writes a second a slow disk takes. A sync is two: the
// bytes, and the order to keep them.
const slowWrites = 400

// Names of the rows on a slow disk.
func (t *table) slowRow(journal string) string {
	return fmt.Sprintf("a disk of %d syncs a second, %s, %s", slowWrites/2, t.singlyBy(wayLines, topicsEach), journal)
}

const (
	withJournal = "with the journal"
	noJournal   = "without"
)

// slowDisk has many clients publish to a broker whose disk is slow, with its journal
// and without.
func (r *round) slowDisk() error {
	r.clientCount, r.pacedCount = r.clients, r.paced
	d, err := machine.NewSlowDisk(r.dir, slowWrites)
	if err != nil {
		r.slowNote = err.Error()
		return nil
	}
	defer d.Close()
	defer r.kill()
	for _, journal := range []string{withJournal, noJournal} {
		var flags []string
		if journal == noJournal {
			flags = []string{"-journal", "0"}
		}
		if err := r.launchBy(d.Command(), filepath.Join(d.Dir, journal), flags...); err != nil {
			r.slowNote = err.Error()
			return nil
		}
		lines := bus.OpenLines(r.b.Producers(), r.b.Consumers())
		if err := r.clientsRow(r.slowRow(journal), topicsEach, lines, r.clients, r.inTurn); err != nil {
			return err
		}
	}
	return nil
}
