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

// acknowledging are the flags that need acknowledgements.
var acknowledging = []string{"ordered", "window", "ack-timeout", "retry", "attempts"}

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
	if s.acknowledges() {
		return nil
	}
	for _, name := range acknowledging {
		if s.set(name) {
			return fmt.Errorf("-%s goes with -follow or -exec, and with a group", name)
		}
	}
	return nil
}

// set reports whether the flag has a value other than its default.
func (s *settings) set(name string) bool {
	f := s.Lookup(name)
	return f.Value.String() != f.DefValue
}
