// Package flags reads the settings of mbus's programs: flags of the standard package, most of which
// can also be set in the environment, as MBUS_NAME for all programs or MBUS_PROGRAM_NAME for one,
// in capitals with _ for -. The command line comes first, then the variable of the program.
//
// Other systems describe services in the environment: for a service named mbus, Kubernetes and
// docker --link set MBUS_PORT=tcp://10.0.0.7:9990 and more. Such values set no flag.
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

// ExitUsage is the exit code after a usage error.
const ExitUsage = 2

// A Set is a program's flags. They are defined with the methods of flag.FlagSet. Some of them are
// replaced here, to read the forms of package units and to give errors that name the accepted
// values. A back-quoted word in a flag's usage is the name of its value; at the beginning, with a
// colon behind it, it is not part of the text.
type Set struct {
	*flag.FlagSet

	// Out gets the help and the version, Err the errors.
	Out, Err io.Writer
	// LookupEnv is os.LookupEnv, except in tests.
	LookupEnv func(name string) (string, bool)

	usage  string
	groups []group
	acts   map[string]bool // flags that the environment can't set
	places []string        // the only flags that the environment can set; nil for all except acts
	empty  map[string]bool // flags whose text may be empty
}

// New returns an empty Set for a program. -h shows the usage text above the flags.
func New(program, usage string) *Set {
	fs := flag.NewFlagSet(program, flag.ContinueOnError)
	fs.SetOutput(io.Discard) // Fail prints errors
	fs.Usage = func() {}
	return &Set{
		FlagSet: fs, Out: os.Stdout, Err: os.Stderr, LookupEnv: os.LookupEnv,
		usage: usage, acts: map[string]bool{"version": true}, empty: make(map[string]bool),
	}
}

// Acts says that these flags make the program do something other than its usual work. Only the
// command line sets them, like -version, because a forgotten variable must not delete a topic.
func (s *Set) Acts(names ...string) {
	for _, name := range names {
		s.acts[name] = true
	}
}

// Places says that the environment can set these flags, and those of earlier calls, and no others. They are
// addresses, directories and how to log in. Programs that a client runs inherit its environment, and a variable must not decide what
// they do.
func (s *Set) Places(names ...string) {
	s.places = append(s.places, names...)
}

// Secret is the value of a variable that no flag has, because a command line is no secret: MBUS_NAME, or
// MBUS_PROGRAM_NAME for this program alone.
func (s *Set) Secret(name string) string {
	_, value := s.lookup(name)
	return value
}

// MayBeEmpty says that an empty text is a valid value of these flags.
func (s *Set) MayBeEmpty(names ...string) {
	for _, name := range names {
		s.empty[name] = true
	}
}

// variable reports whether the environment can set the flag.
func (s *Set) variable(name string) bool {
	return !s.acts[name] && (s.places == nil || slices.Contains(s.places, name))
}

// Parse sets the flags from args, without the program's name, and from the environment. If ok is
// false, it has printed a text, and the program must end with the exit code.
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

// Given reports whether the flag was set, even to its default.
func (s *Set) Given(name string) bool {
	given := false
	s.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	return given
}

// Variable is the environment variable that sets a flag of all programs.
func Variable(name string) string {
	return "MBUS_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// ownVariable is the environment variable that sets a flag of this program. The commands of a
// program share it.
func (s *Set) ownVariable(name string) string {
	return Variable(s.program() + "-" + name)
}

// program is the name of the program, without a command.
func (s *Set) program() string {
	program, _, _ := strings.Cut(s.Name(), " ")
	return program
}

// fromEnvironment sets flags that were not on the command line.
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

// service matches the value of a variable in which Kubernetes or docker --link describe a service:
// MBUS_PORT is tcp://10.0.0.7:9990 or udp://[fd00::7]:9990.
var service = regexp.MustCompile(`^[a-z][a-z0-9+.-]*://`)

// lookup returns a flag's value in the environment, and the variable. It ignores empty variables,
// with which container files unset them, and those that describe a service.
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
