package main

import (
	"errors"
	"fmt"
)

// exclusions are flags that contradict each other, and why.
var exclusions = []struct{ flag, other, why string }{
	{"f", "json", ""},
	{"from", "group", "-from consumes nothing, so no group has part in it"},
	{"from", "start", ""},
	{"from", "exec", "-from consumes nothing, so a message that failed could not come again"},
	{"out", "group", "what FILE has got is its own position"},
	{"out", "from", "FILE.position says where it goes on"},
	{"out", "start", "FILE begins at the beginning of the topic"},
	{"out", "exec", ""},
	{"exec", "f", "-exec gives the message's bytes"},
	{"exec", "json", "-exec gives the message's bytes"},
	{"redrive", "follow", ""},
	{"redrive", "from", ""},
	{"redrive", "out", ""},
	{"redrive", "exec", ""},
	{"redrive", "n", ""},
}

// acknowledging are the flags that need acknowledgements, each with a value that it takes.
var acknowledging = []struct{ flag, example string }{
	{"ordered", ""}, {"window", " 10"}, {"ack-timeout", " 30s"}, {"retry", " 5s"}, {"attempts", " 3"},
}

// checkTogether reports flags that do not go together.
func (s *settings) checkTogether() error {
	for _, e := range exclusions {
		if !s.set(e.flag) || !s.set(e.other) {
			continue
		}
		if e.why != "" {
			return fmt.Errorf("-%s and -%s exclude each other: %s", e.flag, e.other, e.why)
		}
		return fmt.Errorf("-%s and -%s exclude each other", e.flag, e.other)
	}
	if s.to != "" && !s.redrive {
		return errors.New("-to goes with -redrive")
	}
	if s.Given("grace") && s.command == "" {
		return errors.New("-grace goes with -exec")
	}
	if s.acknowledges() {
		return nil
	}
	for _, a := range acknowledging {
		if s.set(a.flag) {
			return fmt.Errorf("-%s goes with -follow or -exec, and with a group, as in -follow -%s%s", a.flag, a.flag, a.example)
		}
	}
	return nil
}

// set reports whether the flag has a value other than its default.
func (s *settings) set(name string) bool {
	f := s.Lookup(name)
	return f.Value.String() != f.DefValue
}
