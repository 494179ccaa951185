// Package flags reads the settings of mbus's programs: flags as the standard
// flag package knows them, most of which can also be set in the environment, as
// MBUS_ and the flag's name in capitals with _ for -, or for one program alone as
// MBUS_, the program's name, _ and the flag's. A flag on the command line wins,
// then the variable of the program.
//
// The environment is shared with systems that describe services in it: with a
// service named mbus Kubernetes and docker --link set MBUS_PORT=tcp://10.0.0.7:9990
// and more. Such a value is not a flag's.
package flags

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Version is what -version prints. It is set when a program is linked:
//
//	go build -ldflags "-X mbus/internal/flags.Version=1.2.3"
var Version = "development"

// ExitUsage is the exit code of a program that was called in a wrong way.
const ExitUsage = 2

// A Set is a program's flags. They are defined with the methods of flag.FlagSet, of
// which some stand here in place of the standard ones, to read what package units reads
// and to say what they take. A back-quoted word in a flag's usage stands for its value;
// one at the beginning with a colon behind it is not shown in the text.
type Set struct {
	*flag.FlagSet

	// Out takes what was asked for (-h, -version), Err what is wrong.
	Out, Err io.Writer
	// LookupEnv is os.LookupEnv but in tests.
	LookupEnv func(name string) (string, bool)

	usage  string
	groups []group
	acts   map[string]bool // flags that the environment does not set
	places []string        // the only flags that the environment sets; nil for all but acts
	empty  map[string]bool // texts that may be empty
}

// New returns a program's empty Set. The usage text is shown by -h above the
// list of flags.
func New(program, usage string) *Set {
	fs := flag.NewFlagSet(program, flag.ContinueOnError)
	fs.SetOutput(io.Discard) // errors are said once, by Fail
	fs.Usage = func() {}
	return &Set{
		FlagSet: fs, Out: os.Stdout, Err: os.Stderr, LookupEnv: os.LookupEnv,
		usage: usage, acts: map[string]bool{"version": true}, empty: make(map[string]bool),
	}
}

// Acts says that the flags have the program do something else than it is for. They
// are set on the command line only, as -version is: a variable that was left behind
// must not delete a topic.
func (s *Set) Acts(names ...string) {
	for _, name := range names {
		s.acts[name] = true
	}
}

// Places says that these flags say where something is, and that the environment sets
// no others. A client's environment is passed on to the programs that it runs, and a
// variable there must not say what those do.
func (s *Set) Places(names ...string) {
	s.places = names
}

// MayBeEmpty says that these flags mean something with an empty text.
func (s *Set) MayBeEmpty(names ...string) {
	for _, name := range names {
		s.empty[name] = true
	}
}

// variable reports whether the environment can set the flag.
func (s *Set) variable(name string) bool {
	return !s.acts[name] && (s.places == nil || slices.Contains(s.places, name))
}

// Parse sets the flags from args, which exclude the program's name, and from
// the environment. If ok is false the program ends with the exit code: all has
// been said.
func (s *Set) Parse(args []string) (code int, ok bool) {
	version := s.Bool("version", false, "print the version and exit")
	if len(args) == 1 && (args[0] == "help" || args[0] == "version") {
		args = []string{"-" + args[0]}
	}
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
	s.checkZone()
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

// Variable is the name of the environment variable that sets the flag of all
// programs that have it.
func Variable(name string) string {
	return "MBUS_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// ownVariable is the name of the one that sets the flag of this program alone. The
// commands of a program share it.
func (s *Set) ownVariable(name string) string {
	return Variable(s.program() + "-" + name)
}

// program is the name without that of a command.
func (s *Set) program() string {
	program, _, _ := strings.Cut(s.Name(), " ")
	return program
}

// fromEnvironment sets those flags that were not on the command line.
func (s *Set) fromEnvironment() error {
	var errs []error
	s.VisitAll(func(f *flag.Flag) {
		if !s.variable(f.Name) || s.Given(f.Name) {
			return
		}
		variable, v := s.lookup(f.Name)
		if v == "" {
			return
		}
		if err := s.Set(f.Name, v); err != nil {
			errs = append(errs, fmt.Errorf("invalid value %q of the environment variable %s: %w", v, variable, err))
		}
	})
	if len(errs) > 0 {
		return errs[0]
	}
	return nil
}

// service is what Kubernetes and docker --link say of a service in a variable named
// after it: MBUS_PORT is tcp://10.0.0.7:9990 or udp://[fd00::7]:9990.
var service = regexp.MustCompile(`^[a-z][a-z0-9+.-]*://`)

// lookup gives the value that the environment has for a flag, and the variable. An
// empty variable counts as not set, which is how container files write "none", and
// so does one that describes a service.
func (s *Set) lookup(name string) (variable, value string) {
	for _, variable := range []string{s.ownVariable(name), Variable(name)} {
		v, _ := s.LookupEnv(variable)
		if strings.HasSuffix(variable, "_PORT") && service.MatchString(v) {
			fmt.Fprintf(s.Err, "%s: the environment variable %s is ignored: %q describes a service, not a port; -%s or %s sets the port\n",
				s.Name(), variable, v, name, s.ownVariable(name))
			continue
		}
		if v != "" {
			return variable, v
		}
	}
	return "", ""
}
