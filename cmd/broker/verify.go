package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"mbus/internal/commitlog"
	"mbus/internal/transfer"
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
	found, err := transfer.Look(dir, func(f commitlog.Finding) { fmt.Fprintln(lines, f) })
	sum := found.Verified
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
