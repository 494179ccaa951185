package delivery

import "mbus/internal/broker"

// Stays counts the letters that a redrive can't move, by the reason.
type Stays struct {
	Reasons []Stay // in the order in which they came
	Others  int64  // letters, for reasons that there was no room for
}

// A Stay is letters that stay for a reason.
type Stay struct {
	*broker.StayError
	Letters int64
}

// maxReasons bounds what a client of a redrive gets, which may name many topics and groups.
const maxReasons = 20

func (s *Stays) add(e *broker.StayError) {
	for i := range s.Reasons {
		if *s.Reasons[i].StayError == *e {
			s.Reasons[i].Letters++
			return
		}
	}
	if len(s.Reasons) == maxReasons {
		s.Others++
		return
	}
	s.Reasons = append(s.Reasons, Stay{e, 1})
}

// Total is how many letters stay.
func (s *Stays) Total() int64 {
	n := s.Others
	for _, r := range s.Reasons {
		n += r.Letters
	}
	return n
}

// busy is the error where letters stay only for now; nil if none do.
func (s *Stays) busy() error {
	for _, r := range s.Reasons {
		if r.Busy {
			return errorf(ErrRedriveAgain, "letters stay, some of them only for now: redrive again")
		}
	}
	return nil
}
