package main

import (
	"bufio"
	"fmt"
	"io"
	"os"

	"mbus/internal/commitlog"
)

// Exit codes of -verify, beside 0.
const (
	exitUnreadable = 1
	exitDamaged    = 2
)

// verify checks a data directory: a line on out for each thing that is wrong and
// one with what was read. It gives the exit code.
func verify(dir string, out, errs io.Writer) int {
	if _, err := os.Stat(dir); err != nil {
		fmt.Fprintf(errs, "broker: data directory %q: %v\n", dir, err)
		return exitUnreadable
	}
	lines := bufio.NewWriter(out)
	sum, err := commitlog.Verify(dir, commitlog.Options{}, func(f commitlog.Finding) {
		fmt.Fprintln(lines, f)
	})
	if err == nil {
		fmt.Fprintf(lines, "verified topics=%d partitions=%d records=%d bytes=%d damaged=%d\n",
			sum.Topics, sum.Partitions, sum.Records, sum.Bytes, sum.Damaged)
	}
	if e := lines.Flush(); err == nil {
		err = e
	}
	switch {
	case err != nil:
		fmt.Fprintln(errs, "broker:", err)
		return exitUnreadable
	case sum.Damaged > 0:
		return exitDamaged
	}
	return 0
}
