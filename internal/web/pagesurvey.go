package web

import (
	"maps"
	"sync"
	"time"

	"mbus/internal/broker"
)

// A survey is what the views need to know of the positions of all groups.
type survey struct {
	topics map[string]*topicSurvey
	begun  time.Time
	took   time.Duration
}

// A topicSurvey is about the groups that have positions in a topic.
type topicSurvey struct {
	groups     []string // sorted
	worst      int64    // the largest lag of a group
	worstGroup string
}

func newSurvey(v *broker.View) *survey {
	s := &survey{topics: make(map[string]*topicSurvey), begun: time.Now()}
	broker.EachLag(v, func(all []broker.GroupLag) { // of a group, sorted by topic
		for len(all) > 0 {
			lag, end := all[0].Lag, 1
			for end < len(all) && all[end].Topic == all[0].Topic {
				lag += all[end].Lag
				end++
			}
			s.add(all[0].Group, all[0].Topic, lag)
			all = all[end:]
		}
	})
	s.took = time.Since(s.begun)
	return s
}

func (s *survey) add(group, topic string, lag int64) {
	t := s.topics[topic]
	if t == nil {
		t = &topicSurvey{worst: -1}
		s.topics[topic] = t
	}
	t.groups = append(t.groups, group)
	if lag > t.worst {
		t.worst, t.worstGroup = lag, group
	}
}

// of lists the groups that have positions in a topic.
func (s *survey) of(topic string) []string {
	if t := s.topics[topic]; t != nil {
		return t.groups
	}
	return nil
}

// surveys keep the latest survey for all views that are open, whose numbers need one again and again. The zero
// value is ready.
type surveys struct {
	mu     sync.Mutex         // guards what follows, and is held while a survey is made
	latest map[string]*survey // by the name of the principal who sees it
}

// surveyShare bounds the processor time of surveys for the views that a principal has open: a survey is kept for so many times as
// long as it took. 64 is 16 ms of each second; with 100,000 groups a survey takes 50 to 90 ms.
const surveyShare = 64

// get is a survey that is not older than it may be.
func (a *surveys) get(v *broker.View, fresh bool) *survey {
	a.mu.Lock()
	defer a.mu.Unlock()
	name := broker.PrincipalOf(v).Name
	s := a.latest[name]
	if s == nil || fresh || s.isOld() {
		maps.DeleteFunc(a.latest, func(_ string, s *survey) bool { return s.isOld() }) // of views that were closed, too
		if a.latest == nil {
			a.latest = make(map[string]*survey)
		}
		s = newSurvey(v)
		a.latest[name] = s
	}
	return s
}

func (s *survey) isOld() bool {
	return time.Since(s.begun) > max(broker.PageNumbers/2, surveyShare*s.took)
}
