// Package flags reads the settings of mbus's programs: flags as the standard
// flag package knows them, each of which can also be set in the environment, as
// MBUS_ and the flag's name in capitals with _ for -. A flag on the command
// line wins.
package flags

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// Version is what -version prints. It is set when a program is linked:
//
//	go build -ldflags "-X mbus/internal/flags.Version=1.2.3"
var Version = "development"

// ExitUsage is the exit code of a program that was called in a wrong way.
const ExitUsage = 2

// A Set is a program's flags. They are defined with the methods of
// flag.FlagSet; a back-quoted word in a flag's usage stands for its value.
type Set struct {
	*flag.FlagSet

	// Out takes what was asked for (-h, -version), Err what is wrong.
	Out, Err io.Writer
	// LookupEnv is os.LookupEnv but in tests.
	LookupEnv func(name string) (string, bool)

	usage string
}

// New returns a program's empty Set. The usage text is shown by -h above the
// list of flags.
func New(program, usage string) *Set {
	fs := flag.NewFlagSet(program, flag.ContinueOnError)
	fs.SetOutput(io.Discard) // errors are said once, by Fail
	fs.Usage = func() {}
	return &Set{FlagSet: fs, Out: os.Stdout, Err: os.Stderr, LookupEnv: os.LookupEnv, usage: usage}
}

// Parse sets the flags from args, which exclude the program's name, and from
// the environment. If ok is false the program ends with the exit code: all has
// been said.
func (s *Set) Parse(args []string) (code int, ok bool) {
	version := s.Bool("version", false, "print the version and exit")
	err := s.FlagSet.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		s.printUsage()
		return 0, false
	case err != nil:
		return s.Fail("%v", err), false
	case *version:
		fmt.Fprintln(s.Out, s.Name(), Version)
		return 0, false
	case s.NArg() > 0:
		return s.Fail("unexpected argument %q", s.Arg(0)), false
	}
	if err := s.fromEnvironment(); err != nil {
		return s.Fail("%v", err), false
	}
	return 0, true
}

// Fail reports a usage error and returns the exit code for it.
func (s *Set) Fail(format string, args ...any) int {
	fmt.Fprintf(s.Err, "%s: %s\n", s.Name(), fmt.Sprintf(format, args...))
	fmt.Fprintf(s.Err, "%s -h shows the flags\n", s.Name())
	return ExitUsage
}

// Given reports whether the flag was set, be it to its default.
func (s *Set) Given(name string) bool {
	given := false
	s.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	return given
}

// Variable is the name of the environment variable that sets the flag.
func Variable(name string) string {
	return "MBUS_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// fromEnvironment sets those flags that were not on the command line. An empty
// variable counts as not set, which is how container files write "none".
func (s *Set) fromEnvironment() error {
	var errs []error
	s.VisitAll(func(f *flag.Flag) {
		v, _ := s.LookupEnv(Variable(f.Name))
		if v == "" || f.Name == "version" || s.Given(f.Name) {
			return
		}
		if err := s.Set(f.Name, v); err != nil {
			errs = append(errs, fmt.Errorf("invalid value %q of the environment variable %s: %w", v, Variable(f.Name), err))
		}
	})
	if len(errs) > 0 {
		return errs[0]
	}
	return nil
}

func (s *Set) printUsage() {
	fmt.Fprintf(s.Out, "%s\n\nFlags, and the environment variables that set them too:\n", strings.TrimSpace(s.usage))
	s.VisitAll(func(f *flag.Flag) {
		value, usage := flag.UnquoteUsage(f)
		fmt.Fprintf(s.Out, "  %s\n    \t%s", strings.TrimSpace("-"+f.Name+" "+value), usage)
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" {
			fmt.Fprintf(s.Out, " (default %s)", f.DefValue)
		}
		if f.Name != "version" {
			fmt.Fprintf(s.Out, " [%s]", Variable(f.Name))
		}
		fmt.Fprintln(s.Out)
	})
}
