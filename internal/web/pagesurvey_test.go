package web

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"mbus/internal/broker"
)

// manyGroups makes topics, and as many groups with a position in each.
func (r *rig) manyGroups(topics, groups int) {
	r.Helper()
	view := r.broker.As(broker.Self)
	for i := range topics {
		t := r.publish(fmt.Sprintf("topic-%05d", i), "one", "two", "three")
		for k := range groups {
			p, err := view.Position(fmt.Sprintf("group-%05d-%05d", k, i), t, 0)
			if err != nil {
				r.Fatal(err)
			}
			p.Start(int64(k%3), true)
			p.Close()
		}
		if err := r.broker.AwaitPositions(); err != nil {
			r.Fatal(err)
		}
	}
}

// newNumberStream is the numbers of a view, which is not served.
func (r *rig) newNumberStream(query string) *numberStream {
	req := httptest.NewRequest(http.MethodGet, "/ui/numbers?"+query, nil)
	c := &call{server: r.server, r: req, view: r.broker.As(broker.Principal{}), query: req.URL.Query()}
	return &numberStream{call: c, sent: make(map[string][]int64)}
}

func TestSurveyKnowsTheGroupsOfATopic(t *testing.T) {
	r := newRig(t, Options{})
	r.manyGroups(2, 3)
	s := newSurvey(r.broker.As(broker.Principal{}))
	if got, want := s.of("topic-00001"), []string{"group-00000-00001", "group-00001-00001", "group-00002-00001"}; !slices.Equal(got, want) {
		t.Errorf("the groups are %q, not %q", got, want)
	}
	if of := s.topics["topic-00000"]; of.worst != 3 || of.worstGroup != "group-00000-00000" {
		t.Errorf("the worst lag is %d, of %q", of.worst, of.worstGroup)
	}
	if n := len(s.of("topic-00000")) + len(s.of("topic-00001")); n != 6 || len(s.topics) != 2 || s.of("nothing") != nil {
		t.Errorf("%d groups in %d topics, and %q of a topic that is not there", n, len(s.topics), s.of("nothing"))
	}
}

// All views that are open share one survey, until it is as old as it may be.
func TestOpenViewsShareASurvey(t *testing.T) {
	r := newRig(t, Options{})
	r.manyGroups(1, 3)
	v := r.broker.As(broker.Principal{})
	first := r.server.surveys.get(v, true)
	first.took = time.Hour // it is not due again
	for _, query := range []string{"", "topic=topic-00000"} {
		stream := r.newNumberStream(query)
		stream.isOpen = true
		if stream.gather(); r.server.surveys.latest[""] != first {
			t.Errorf("view %q: the survey is made again", query)
		}
	}
	if r.newNumberStream("").gather(); r.server.surveys.latest[""] == first {
		t.Error("the first numbers of a view are old")
	}
	second := r.server.surveys.latest[""]
	second.begun = time.Now().Add(-time.Minute)
	if r.server.surveys.get(v, false) == second {
		t.Error("a survey of a minute ago is used still")
	}
}

// Views of two users, each of whom sees other groups, don't have each other's survey made again each second. One of
// views that were closed is not kept.
func TestOpenViewsOfTwoUsersKeepTheirSurveys(t *testing.T) {
	r := newRig(t, Options{})
	alice, bob := r.broker.As(broker.Principal{Name: "alice"}), r.broker.As(broker.Principal{Name: "bob"})
	first, other := r.server.surveys.get(alice, true), r.server.surveys.get(bob, true)
	first.took, other.took = time.Hour, time.Hour // they are not due again
	if first == other || r.server.surveys.get(alice, false) != first || r.server.surveys.get(bob, false) != other {
		t.Error("the surveys of two users are made again")
	}
	first.begun = time.Now().Add(-1000 * time.Hour)
	if r.server.surveys.get(bob, true); len(r.server.surveys.latest) != 1 {
		t.Errorf("%d surveys are kept", len(r.server.surveys.latest))
	}
}

// BenchmarkOpenViews is the numbers of views that are open beside 100,000 groups: a second of one view, of which
// each shows some, and a survey, which all share and which is made as seldom as surveyShare says.
func BenchmarkOpenViews(b *testing.B) {
	r := newRig(b, Options{})
	r.manyGroups(100, 1000)
	for _, query := range []string{"", "groups", "topic=topic-00050", "group=group-00500-00050"} {
		b.Run("view="+query, func(b *testing.B) {
			stream := r.newNumberStream(query)
			stream.gather()
			for b.Loop() {
				stream.gather()
			}
		})
	}
	b.Run("survey", func(b *testing.B) {
		for b.Loop() {
			newSurvey(r.broker.As(broker.Principal{}))
		}
	})
}
