package line

import (
	"fmt"
	"strings"

	"mbus/internal/broker"
)

// stays counts the letters that a redrive can't move, by the reason.
type stays struct {
	reasons []stay // in the order in which they came
	others  int64  // for reasons that there was no room for
}

type stay struct {
	*broker.StayError
	letters int64
}

// maxReasons bounds what a client of a redrive is told, which may name many topics and groups.
const maxReasons = 20

func (s *stays) add(e *broker.StayError) {
	for i := range s.reasons {
		if *s.reasons[i].StayError == *e {
			s.reasons[i].letters++
			return
		}
	}
	if len(s.reasons) == maxReasons {
		s.others++
		return
	}
	s.reasons = append(s.reasons, stay{e, 1})
}

// total is how many letters stay.
func (s *stays) total() int64 {
	n := s.others
	for _, r := range s.reasons {
		n += r.letters
	}
	return n
}

// lines are for people: how many letters stay, why, and what to do about each.
func (s *stays) lines() string {
	var b strings.Builder
	for _, r := range s.reasons {
		fmt.Fprintf(&b, "# %s: %s\n", howMany(r.letters), oneLine(r.Error()))
	}
	if s.others > 0 {
		fmt.Fprintf(&b, "# %s for other reasons\n", howMany(s.others))
	}
	return b.String()
}

func howMany(letters int64) string {
	if letters == 1 {
		return "1 letter stays"
	}
	return fmt.Sprintf("%d letters stay", letters)
}

// busy is the answer where letters stay only for now; nil if none do.
func (s *stays) busy() error {
	for _, r := range s.reasons {
		if r.Busy {
			return answer("BUSY", "letters stay, some of them only for now: redrive again")
		}
	}
	return nil
}
