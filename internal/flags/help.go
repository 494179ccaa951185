package flags

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Columns of the help: the width of a terminal, and the beginning of the texts.
const (
	helpWidth  = 80
	textColumn = 22
)

// A group is flags under a title.
type group struct {
	title string
	names []string
}

// Group shows flags in the help under a title, in the order of the calls. Flags without a group
// come last.
func (s *Set) Group(title string, names ...string) {
	s.groups = append(s.groups, group{title, names})
}

// ungrouped are the names of the flags without a group.
func (s *Set) ungrouped() (names []string) {
	grouped := make(map[string]bool)
	for _, g := range s.groups {
		for _, name := range g.names {
			grouped[name] = true
		}
	}
	s.VisitAll(func(f *flag.Flag) {
		if !grouped[f.Name] {
			names = append(names, f.Name)
		}
	})
	return names
}

func (s *Set) printUsage() {
	fmt.Fprintln(s.Out, strings.TrimSpace(s.usage))
	groups := slices.Clone(s.groups)
	if rest := s.ungrouped(); len(rest) > 0 {
		groups = append(groups, group{"Also", rest})
	}
	for _, g := range groups {
		fmt.Fprintf(s.Out, "\n%s:\n", g.title)
		for _, name := range g.names {
			if f := s.Lookup(name); f != nil {
				s.printFlag(f)
			}
		}
	}
	if !s.hasVariables() {
		return
	}
	fmt.Fprintln(s.Out)
	wrap(s.Out, 0, fmt.Sprintf("A variable in brackets sets the flag, too. With %s_ in place of MBUS_ it is for this program alone.",
		Variable(s.program())))
}

// hasVariables says whether the environment can set any flag.
func (s *Set) hasVariables() (has bool) {
	s.VisitAll(func(f *flag.Flag) { has = has || s.variable(f.Name) })
	return has
}

// printFlag prints a flag with its value, text, default and variable.
func (s *Set) printFlag(f *flag.Flag) {
	value, text := flag.UnquoteUsage(f)
	text = strings.TrimPrefix(text, value+": ")
	if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" {
		text += " (default " + f.DefValue + ")"
	}
	if s.variable(f.Name) {
		text += " [" + Variable(f.Name) + "]"
	}
	head := strings.TrimSpace("-" + f.Name + " " + value)
	if utf8.RuneCountInString(head) > textColumn-4 {
		fmt.Fprintf(s.Out, "  %s\n%*s", head, textColumn, "")
	} else {
		fmt.Fprintf(s.Out, "  %-*s", textColumn-2, head)
	}
	wrap(s.Out, textColumn, text)
}

// wrap prints a text in lines of at most helpWidth columns that begin at a column. The output is at
// that column already.
func wrap(w io.Writer, column int, text string) {
	at := column
	for i, word := range strings.Fields(text) {
		length := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case at+1+length >= helpWidth:
			fmt.Fprintf(w, "\n%*s", column, "")
			at = column
		default:
			fmt.Fprint(w, " ")
			at++
		}
		fmt.Fprint(w, word)
		at += length
	}
	fmt.Fprintln(w)
}
