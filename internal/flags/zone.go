package flags

import (
	"fmt"
	"strings"
	"time"
)

// checkZone warns on standard error if TZ is an unknown time zone: Go then uses UTC silently for the
// times that the program reads and prints.
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
