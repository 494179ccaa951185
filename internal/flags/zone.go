package flags

import (
	"fmt"
	"strings"
	"time"
)

// checkZone says on standard error that the time zone of the environment is unknown:
// Go takes UTC then, without a word, for the times that the program reads and prints.
func (s *Set) checkZone() {
	name, _ := s.LookupEnv("TZ")
	name = strings.TrimPrefix(name, ":")
	if name == "" || strings.HasPrefix(name, "/") {
		return
	}
	if _, err := time.LoadLocation(name); err != nil {
		fmt.Fprintf(s.Err, "%s: the environment variable TZ is %q, which is no known time zone: times are read and printed in UTC; it takes a name such as Europe/Berlin\n",
			s.Name(), name)
	}
}
