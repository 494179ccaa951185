package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/store"
)

// Exit codes of -verify, besides 0.
const (
	exitUnreadable = 1
	exitDamaged    = 2
)

// verify checks a data directory. It prints a line for each finding and one with the sums, and
// returns the exit code.
func verify(dir string, out, errs io.Writer) int {
	if _, err := os.Stat(dir); err != nil {
		fmt.Fprintf(errs, "broker: data directory %q: %v\n", dir, err)
		return exitUnreadable
	}
	lines := bufio.NewWriter(out)
	check := new(positionCheck)
	sum, err := commitlog.VerifyAnd(dir, commitlog.Options{}, check.observer(), func(f commitlog.Finding) {
		fmt.Fprintln(lines, f)
	})
	for _, f := range check.found {
		fmt.Fprintln(lines, f)
		sum.Damaged++
	}
	if err == nil {
		fmt.Fprintf(lines, "verified topics=%d partitions=%d records=%d bytes=%d damaged=%d\n",
			sum.Topics, sum.Partitions, sum.Records, sum.Bytes, sum.Damaged)
	}
	if e := lines.Flush(); err == nil {
		err = e
	}
	switch {
	case errors.Is(err, commitlog.ErrInUse):
		fmt.Fprintf(errs, "broker: %v: -verify needs a directory that no broker uses; stop the broker, or verify a copy: cp -a %s COPY\n", err, dir)
		return exitUnreadable
	case err != nil:
		fmt.Fprintln(errs, "broker:", err)
		return exitUnreadable
	case sum.Damaged > 0:
		return exitDamaged
	}
	return 0
}

// A positionCheck compares the groups' positions with the topics that the store finds.
type positionCheck struct {
	broker.PositionCheck
	found []commitlog.Finding
}

func (c *positionCheck) observer() commitlog.Observer {
	return commitlog.Observer{Topic: broker.PositionsTopic, Batch: c.Batch, Topics: c.compare}
}

func (c *positionCheck) compare(all []commitlog.Checked, deleted func(id [16]byte) bool) {
	topics, ends := make([]store.Topic, len(all)), make([][]int64, len(all))
	for i, t := range all {
		topics[i], ends[i] = t.Topic, t.Ends
	}
	for _, f := range c.Compare(topics, ends, deleted) {
		c.found = append(c.found, commitlog.Finding{Topic: f.Topic, Partition: f.Partition, First: f.First, Next: f.Next, Reason: f.Reason})
	}
}
