package main

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"mbus/internal/message"
)

// printAnswer prints a table with its columns aligned, and JSON as it is. Lines
// that begin with # are for people, and go to notes.
func (c *command) printAnswer(answer []string, out, notes io.Writer) error {
	buffered := bufio.NewWriter(out)
	var rows, said []string
	for _, line := range answer {
		if note, ok := strings.CutPrefix(line, "# "); ok {
			// The protocol's word for the flag.
			said = append(said, strings.Replace(note, "add execute to", "add -execute to", 1))
			continue
		}
		if name, ok := strings.CutPrefix(line, "%2D"); ok { // a name that begins with a dash
			line = "-" + name
		}
		if !c.hides(line) {
			rows = append(rows, line)
		}
	}
	if c.asJSON {
		for _, row := range rows {
			buffered.WriteString(row)
		}
	} else {
		printColumns(buffered, rows)
	}
	if err := buffered.Flush(); err != nil { // the first error of all writes
		return fmt.Errorf("standard output: %w", err)
	}
	for _, note := range said {
		fmt.Fprint(notes, "admin: ", note)
	}
	if c.done != "" && !c.asJSON {
		fmt.Fprintln(notes, "admin:", c.done)
	}
	return nil
}

// hides says that a line is of one of the broker's own topics, which nobody has asked
// for.
func (c *command) hides(line string) bool {
	name, isJSON := strings.CutPrefix(line, `{"topic":"`)
	end := "\t"
	if isJSON {
		end = `"`
	}
	name, _, _ = strings.Cut(name, end)
	return !c.own && message.IsInternal(name)
}

// printColumns prints lines of fields, which TABs separate: numbers to the right of
// their columns, all else to the left.
func printColumns(out *bufio.Writer, lines []string) {
	rows := make([][]string, len(lines))
	var widths []int
	var numeric []bool
	for i, line := range lines {
		rows[i] = strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		for j, field := range rows[i] {
			if j == len(widths) {
				widths, numeric = append(widths, 0), append(numeric, len(lines) > 1)
			}
			widths[j] = max(widths[j], utf8.RuneCountInString(field))
			numeric[j] = numeric[j] && (i == 0 || isNumber(field))
		}
	}
	for _, row := range rows {
		for j, field := range row {
			pad := strings.Repeat(" ", widths[j]-utf8.RuneCountInString(field))
			switch {
			case numeric[j]:
				field = pad + field
			case j < len(row)-1: // nothing is filled up at the end of a line
				field += pad
			}
			if j > 0 {
				out.WriteString("  ")
			}
			out.WriteString(field)
		}
		out.WriteByte('\n')
	}
}

func isNumber(field string) bool {
	_, err := strconv.ParseInt(field, 10, 64)
	return err == nil
}
