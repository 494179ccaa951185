package flags

import (
	"flag"
	"strings"
	"testing"
	"time"

	"mbus/internal/units"
)

type settings struct {
	set      *Set
	out, err strings.Builder
	port     *int
	timeout  *time.Duration
	topic    *string
	json     *bool
}

func newSettings(env map[string]string) *settings {
	s := &settings{set: New("prog", "Usage: prog -topic TOPIC")}
	s.set.Out, s.set.Err = &s.out, &s.err
	s.set.LookupEnv = func(name string) (string, bool) {
		v, ok := env[name]
		return v, ok
	}
	s.port = s.set.Int("port", 9990, "the broker's `number`")
	s.timeout = s.set.Duration("write-timeout", time.Minute, "`duration`: how long to wait")
	s.topic = s.set.String("topic", "", "`TOPIC`: the name of a topic")
	s.json = s.set.Bool("json", false, "print JSON")
	return s
}

func TestDefaultsHoldWhereNothingIsSet(t *testing.T) {
	s := newSettings(nil)
	if _, ok := s.set.Parse(nil); !ok {
		t.Fatalf("refused: %s", s.err.String())
	}
	if *s.port != 9990 || *s.timeout != time.Minute || s.set.Given("port") {
		t.Errorf("port %d, timeout %v, given %v", *s.port, *s.timeout, s.set.Given("port"))
	}
}

func TestEnvironmentSetsAFlag(t *testing.T) {
	s := newSettings(map[string]string{
		"MBUS_PORT": "1", "MBUS_WRITE_TIMEOUT": "3s", "MBUS_TOPIC": "orders", "MBUS_JSON": "true",
	})
	if _, ok := s.set.Parse(nil); !ok {
		t.Fatalf("refused: %s", s.err.String())
	}
	if *s.port != 1 || *s.timeout != 3*time.Second || *s.topic != "orders" || !*s.json {
		t.Errorf("port %d, timeout %v, topic %q, json %v", *s.port, *s.timeout, *s.topic, *s.json)
	}
	if !s.set.Given("topic") {
		t.Error("Given does not know of the environment")
	}
}

func TestFlagWinsOverTheEnvironmentEvenWhenThatIsWrong(t *testing.T) {
	s := newSettings(map[string]string{"MBUS_PORT": "many", "MBUS_TOPIC": "a"})
	if _, ok := s.set.Parse([]string{"-port", "7", "-topic", "b"}); !ok {
		t.Fatalf("refused: %s", s.err.String())
	}
	if *s.port != 7 || *s.topic != "b" {
		t.Errorf("port %d, topic %q", *s.port, *s.topic)
	}
}

// A script's -topic "$TOPIC" does not mean the default where TOPIC is not set.
func TestEmptyTextIsRefusedWhereItMeansNothing(t *testing.T) {
	for _, flag := range []string{"port", "topic", "from", "at", "write-timeout"} {
		s := newSettings(map[string]string{"MBUS_TOPIC": "a"})
		s.set.PositionVar(new(string), "from", "a `POSITION`")
		s.set.TimeVar(new(string), "at", "a `TIME`")
		if code, ok := s.set.Parse([]string{"-" + flag, ""}); ok || code != 2 || !strings.HasPrefix(s.err.String(), `prog: invalid value "" for flag -`+flag+": it ") {
			t.Errorf("-%s: code %d, ok %v, said %q", flag, code, ok, s.err.String())
		}
	}
	s := newSettings(map[string]string{"MBUS_TOPIC": "a"})
	s.set.MayBeEmpty("topic")
	if _, ok := s.set.Parse([]string{"-topic", ""}); !ok || *s.topic != "" || !s.set.Given("topic") {
		t.Errorf("ok %v, topic %q", ok, *s.topic)
	}
}

func TestEmptyVariableCountsAsNotSet(t *testing.T) {
	s := newSettings(map[string]string{"MBUS_PORT": ""})
	if _, ok := s.set.Parse(nil); !ok || *s.port != 9990 || s.set.Given("port") {
		t.Errorf("ok %v, port %d, given %v", ok, *s.port, s.set.Given("port"))
	}
}

func TestWrongUseIsSaidOnStandardErrorWithCodeTwo(t *testing.T) {
	tests := []struct {
		name string
		env  map[string]string
		args []string
		want string
	}{
		{"unknown flag", nil, []string{"-prot", "1"}, "prog: flag provided but not defined: -prot\n"},
		{"stray argument", nil, []string{"orders"}, "prog: unexpected argument \"orders\"\n"},
		{"bad value", nil, []string{"-port", "x"}, "prog: invalid value \"x\" for flag -port: it takes a whole number\n"},
		{
			"bad variable",
			map[string]string{"MBUS_WRITE_TIMEOUT": "soon"},
			nil,
			"prog: invalid value \"soon\" of the environment variable MBUS_WRITE_TIMEOUT: " + units.ErrDuration.Error() + "\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSettings(tt.env)
			code, ok := s.set.Parse(tt.args)
			if ok || code != 2 {
				t.Errorf("code %d, ok %v", code, ok)
			}
			if want := tt.want + "prog -h shows the flags\n"; s.err.String() != want {
				t.Errorf("said %q, want %q", s.err.String(), want)
			}
			if s.out.String() != "" {
				t.Errorf("standard output has %q", s.out.String())
			}
		})
	}
}

func TestHelpListsFlagsDefaultsAndVariables(t *testing.T) {
	for _, ask := range []string{"-h", "-help", "--help", "help"} {
		s := newSettings(map[string]string{"MBUS_PORT": "broken"})
		s.set.Group("Where", "port", "topic")
		code, ok := s.set.Parse([]string{ask})
		if ok || code != 0 || s.err.String() != "" {
			t.Errorf("%s: code %d, ok %v, standard error %q", ask, code, ok, s.err.String())
		}
		want := `Usage: prog -topic TOPIC

Where:
  -port number        the broker's number (default 9990) [MBUS_PORT]
  -topic TOPIC        the name of a topic [MBUS_TOPIC]

Also:
  -json               print JSON [MBUS_JSON]
  -version            print the version and exit
  -write-timeout duration
                      how long to wait (default 1m) [MBUS_WRITE_TIMEOUT]

A variable in brackets sets the flag, too. With MBUS_PROG_ in place of MBUS_ it
is for this program alone.
`
		if s.out.String() != want {
			t.Errorf("%s: printed\n%s\nwant\n%s", ask, s.out.String(), want)
		}
	}
}

func TestHelpIsWrappedAtWords(t *testing.T) {
	s := New("prog", "Usage: prog")
	var out strings.Builder
	s.Out = &out
	word := strings.Repeat("w", 9)
	s.String("a", "", "`V`: "+strings.Repeat(word+" ", 20))
	s.String("long-name-of-a-flag", "", "`V`: "+strings.Repeat("x", 100)+" y")
	s.Parse([]string{"-h"})
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSuffix(line, "\n")
		if len(line) > 80 && !strings.Contains(line, "xxx") || line != strings.TrimRight(line, " ") {
			t.Errorf("%q has %d columns", line, len(line))
		}
		for _, w := range strings.Fields(line) {
			if strings.HasPrefix(w, "w") && w != word {
				t.Errorf("%q is a part of a word", w)
			}
		}
	}
}

func TestFlagsSayWhatTheyTake(t *testing.T) {
	var n int64
	for flag, words := range map[string]string{
		"-size": "64KiB", "-size=-1": "64KiB", "-size=1.5": "64KiB", "-time=5": "with its unit", "-time=-1h": "with its unit", "-time=soon": "7d",
		"-number=1.5": "a whole number", "-number=99999999999999999999": "too large", "-large=x": "a whole number", "-flag=maybe": "true or false",
		"-at=tomorrow": "2026-11-22 10:00", "-from=tomorrow": "beginning, end",
	} {
		s := New("prog", "")
		var said strings.Builder
		s.Out, s.Err = &said, &said
		s.SizeVar(&n, "size", 0, "")
		s.Duration("time", 0, "")
		s.Int("number", 0, "")
		s.Int64Var(&n, "large", 0, "")
		s.Bool("flag", false, "")
		at, from := "", ""
		s.TimeVar(&at, "at", "")
		s.PositionVar(&from, "from", "")
		args := []string{flag}
		if flag == "-size" {
			args = append(args, "many")
		}
		if code, ok := s.Parse(args); ok || code != ExitUsage || !strings.Contains(said.String(), words) {
			t.Errorf("%s: code %d, ok %v, said %q", flag, code, ok, said.String())
		}
	}
}

func TestFlagsAreShownAsTheyAreTaken(t *testing.T) {
	s := New("prog", "")
	var out strings.Builder
	s.Out = &out
	var size, other int64
	s.SizeVar(&size, "size", 64<<20, "`S`: size")
	s.SizeVar(&other, "other", 10_000_000_000, "`S`: other")
	s.Duration("time", 168*time.Hour, "`T`: time")
	s.Parse([]string{"-h"})
	for _, want := range []string{"size (default 64MiB)", "other (default 10GB)", "time (default 7d)"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestTimesGetTheZoneOfTheProgram(t *testing.T) {
	defer func(zone *time.Location) { time.Local = zone }(time.Local)
	time.Local = time.FixedZone("JST", 9*3600)
	s := New("prog", "")
	var at, from string
	s.TimeVar(&at, "at", "")
	s.PositionVar(&from, "from", "")
	if _, ok := s.Parse([]string{"-at", "2026-11-28 10:00", "-from", "2026-11-28"}); !ok {
		t.Fatal("refused")
	}
	if at != "2026-11-28T10:00:00+09:00" || from != "2026-11-28T00:00:00+09:00" {
		t.Errorf("at %q, from %q", at, from)
	}
	for _, text := range []string{"stored", "2h", "-10", "end"} {
		if err := s.Set("from", text); err != nil || from != text {
			t.Errorf("%q: %q, %v", text, from, err)
		}
	}
}

func TestEnvironmentSaysPlacesOnly(t *testing.T) {
	s := newSettings(map[string]string{"MBUS_TOPIC": "left behind", "MBUS_PROG_JSON": "true", "MBUS_PROG_PORT": "7"})
	s.set.Places("port")
	if _, ok := s.set.Parse([]string{"-topic", "orders"}); !ok || !s.set.Given("port") || s.set.Given("json") {
		t.Errorf("ok %v, said %q", ok, s.err.String())
	}
}

func TestUnknownTimeZoneIsSaid(t *testing.T) {
	for zone, wrong := range map[string]bool{
		"": false, "UTC": false, "Asia/Tokyo": false, ":Europe/Berlin": false, "/etc/localtime": false, "Asia/Tokio": true, "CET-1CEST": true,
	} {
		s := newSettings(map[string]string{"TZ": zone})
		if _, ok := s.set.Parse(nil); !ok || strings.Contains(s.err.String(), "TZ") != wrong {
			t.Errorf("%q: ok %v, said %q", zone, ok, s.err.String())
		}
	}
}

func TestVersionIsPrintedOnStandardOutput(t *testing.T) {
	s := newSettings(map[string]string{"MBUS_VERSION": "true"})
	if _, ok := s.set.Parse(nil); !ok {
		t.Error("the environment variable MBUS_VERSION made it print the version")
	}
	for _, ask := range []string{"-version", "version"} {
		s = newSettings(nil)
		code, ok := s.set.Parse([]string{ask})
		if ok || code != 0 || s.out.String() != "prog "+Version+"\n" {
			t.Errorf("%s: code %d, ok %v, printed %q", ask, code, ok, s.out.String())
		}
	}
}

// Kubernetes and docker --link describe a service named mbus in these variables; what
// is named after a program describes a service named mbus-prog.
func TestVariablesOfServicesAreNotFlags(t *testing.T) {
	for _, value := range []string{
		"tcp://10.0.0.7:9990", "udp://10.0.0.7:9990", "sctp://10.0.0.7:9990", "tcp://[fd00::7]:9990", "http://mbus:80",
	} {
		for _, name := range []string{"MBUS_PORT", "MBUS_PROG_PORT"} {
			s := newSettings(map[string]string{
				name: value, "MBUS_SERVICE_HOST": "10.0.0.7", "MBUS_SERVICE_PORT": "9990",
				"MBUS_PORT_9990_TCP": "tcp://10.0.0.7:9990", "MBUS_PORT_9990_TCP_PORT": "9990",
				"MBUS_NAME": "/web/mbus", "MBUS_ENV_TOPIC": "x",
			})
			if code, ok := s.set.Parse(nil); !ok || *s.port != 9990 || s.set.Given("port") {
				t.Errorf("%s=%s: code %d, port %d", name, value, code, *s.port)
			}
			if said := s.err.String(); strings.Count(said, "\n") != 1 || !strings.Contains(said, name) {
				t.Errorf("%s=%s: said %q", name, value, said)
			}
		}
	}
}

func TestVariableOfAServiceIsNotMentionedWhereAFlagOrAnotherVariableSetsThePort(t *testing.T) {
	s := newSettings(map[string]string{"MBUS_PORT": "tcp://10.0.0.7:9990"})
	if _, ok := s.set.Parse([]string{"-port", "7"}); !ok || *s.port != 7 || s.err.String() != "" {
		t.Errorf("ok %v, port %d, said %q", ok, *s.port, s.err.String())
	}
	s = newSettings(map[string]string{"MBUS_PORT": "tcp://10.0.0.7:9990", "MBUS_PROG_PORT": "8"})
	if _, ok := s.set.Parse(nil); !ok || *s.port != 8 || s.err.String() != "" {
		t.Errorf("ok %v, port %d, said %q", ok, *s.port, s.err.String())
	}
}

// What looks like a service's address is a value like any other for what no service
// is described by.
func TestOnlyPortsAreDescribedByServices(t *testing.T) {
	s := newSettings(map[string]string{"MBUS_TOPIC": "tcp://10.0.0.7:9990"})
	if _, ok := s.set.Parse(nil); !ok || *s.topic != "tcp://10.0.0.7:9990" || s.err.String() != "" {
		t.Errorf("ok %v, topic %q, said %q", ok, *s.topic, s.err.String())
	}
}

func TestVariableOfTheProgramWinsOverThatOfAll(t *testing.T) {
	s := newSettings(map[string]string{"MBUS_PORT": "1", "MBUS_PROG_PORT": "2", "MBUS_OTHER_PORT": "3", "MBUS_PROG_TOPIC": ""})
	if _, ok := s.set.Parse(nil); !ok || *s.port != 2 || *s.topic != "" {
		t.Errorf("ok %v, port %d, topic %q", ok, *s.port, *s.topic)
	}
	s = newSettings(map[string]string{"MBUS_PROG_PORT": "many"})
	if code, ok := s.set.Parse(nil); ok || code != 2 || !strings.Contains(s.err.String(), "MBUS_PROG_PORT") {
		t.Errorf("code %d, ok %v, said %q", code, ok, s.err.String())
	}
}

func TestCommandsOfAProgramShareItsVariables(t *testing.T) {
	s := newSettings(map[string]string{"MBUS_PROG_PORT": "2"})
	s.set.FlagSet.Init("prog list", flag.ContinueOnError)
	if _, ok := s.set.Parse(nil); !ok || *s.port != 2 {
		t.Errorf("ok %v, port %d", ok, *s.port)
	}
}

func TestActsAreNotSetByTheEnvironment(t *testing.T) {
	s := newSettings(map[string]string{"MBUS_JSON": "true", "MBUS_PROG_JSON": "true"})
	s.set.Acts("json")
	if _, ok := s.set.Parse(nil); !ok || *s.json {
		t.Errorf("ok %v, json %v", ok, *s.json)
	}
	s = newSettings(nil)
	s.set.Acts("json")
	s.set.Parse([]string{"-h"})
	if strings.Contains(s.out.String(), "MBUS_JSON") {
		t.Errorf("help names a variable:\n%s", s.out.String())
	}
}

func TestAddressTakesHostsWithAndWithoutBrackets(t *testing.T) {
	for host, want := range map[string]string{
		"127.0.0.1": "127.0.0.1:7", "localhost": "localhost:7", "bus.example.com": "bus.example.com:7",
		"::1": "[::1]:7", "[::1]": "[::1]:7", "::": "[::]:7", "[::]": "[::]:7", "": ":7", "0.0.0.0": "0.0.0.0:7",
		"fe80::1%eth0": "[fe80::1%eth0]:7", "[fe80::1%eth0]": "[fe80::1%eth0]:7",
		"::ffff:127.0.0.1": "[::ffff:127.0.0.1]:7",
	} {
		if got, err := Address(host, 7); err != nil || got != want {
			t.Errorf("%q: %q, %v", host, got, err)
		}
	}
	for _, host := range []string{
		"[", "]", "[]", "[::1", "::1]", "[[::1]]", "[localhost]", "[127.0.0.1]",
		"127.0.0.1:9990", "localhost:9990", "[::1]:9990", "tcp://127.0.0.1", "a/b",
	} {
		if got, err := Address(host, 7); err == nil {
			t.Errorf("%q: taken as %q", host, got)
		}
	}
}
