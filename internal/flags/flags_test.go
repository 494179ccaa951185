package flags

import (
	"strings"
	"testing"
	"time"
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
	s.timeout = s.set.Duration("write-timeout", time.Minute, "how long to wait")
	s.topic = s.set.String("topic", "", "the `TOPIC`")
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
	if _, ok := s.set.Parse([]string{"-port", "7", "-topic", ""}); !ok {
		t.Fatalf("refused: %s", s.err.String())
	}
	if *s.port != 7 || *s.topic != "" {
		t.Errorf("port %d, topic %q", *s.port, *s.topic)
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
		{"bad value", nil, []string{"-port", "x"}, "prog: invalid value \"x\" for flag -port: parse error\n"},
		{
			"bad variable",
			map[string]string{"MBUS_WRITE_TIMEOUT": "soon"},
			nil,
			"prog: invalid value \"soon\" of the environment variable MBUS_WRITE_TIMEOUT: parse error\n",
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
	s := newSettings(map[string]string{"MBUS_PORT": "broken"})
	code, ok := s.set.Parse([]string{"-h"})
	if ok || code != 0 || s.err.String() != "" {
		t.Errorf("code %d, ok %v, standard error %q", code, ok, s.err.String())
	}
	for _, want := range []string{
		"Usage: prog -topic TOPIC\n",
		"  -port number\n    \tthe broker's number (default 9990) [MBUS_PORT]\n",
		"  -topic TOPIC\n    \tthe TOPIC [MBUS_TOPIC]\n",
		"  -json\n    \tprint JSON [MBUS_JSON]\n",
		"  -write-timeout duration\n    \thow long to wait (default 1m0s) [MBUS_WRITE_TIMEOUT]\n",
		"  -version\n    \tprint the version and exit\n",
	} {
		if !strings.Contains(s.out.String(), want) {
			t.Errorf("help lacks %q:\n%s", want, s.out.String())
		}
	}
}

func TestVersionIsPrintedOnStandardOutput(t *testing.T) {
	s := newSettings(map[string]string{"MBUS_VERSION": "true"})
	if _, ok := s.set.Parse(nil); !ok {
		t.Error("the environment variable MBUS_VERSION made it print the version")
	}
	s = newSettings(nil)
	code, ok := s.set.Parse([]string{"-version"})
	if ok || code != 0 || s.out.String() != "prog "+Version+"\n" {
		t.Errorf("code %d, ok %v, printed %q", code, ok, s.out.String())
	}
}
