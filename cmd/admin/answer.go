package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// printAnswer prints a table with its columns aligned, and JSON as it is. Lines
// that begin with # are for people, and go to notes.
func printAnswer(answer []string, asJSON bool, out, notes io.Writer) error {
	buffered := bufio.NewWriter(out)
	var rows io.Writer = buffered
	table := tabwriter.NewWriter(buffered, 0, 0, 2, ' ', 0)
	if !asJSON {
		rows = table
	}
	var said []string
	for _, line := range answer {
		if note, ok := strings.CutPrefix(line, "# "); ok {
			said = append(said, note)
			continue
		}
		if name, ok := strings.CutPrefix(line, "%2D"); ok { // a name that begins with a dash
			line = "-" + name
		}
		_, _ = io.WriteString(rows, line) // an error comes with Flush
	}
	if err := errors.Join(table.Flush(), buffered.Flush()); err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	for _, note := range said {
		fmt.Fprint(notes, "admin: ", note)
	}
	return nil
}
