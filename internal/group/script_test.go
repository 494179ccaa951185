package group_test

import (
	"fmt"
	"strings"
	"testing"

	"mbus/internal/group"
)

// A script drives one position, a step a line; what follows -> is what must
// come of it.
//
//	a lease 0 5 -> refused     member a leases; without -> it must work
//	a gives back 3             from offset 3 on
//	a releases                 a acks
//	free 10 -> 5 10            below offset 10; "nothing" for an empty span
//	committed -> 5
//	others a 10 -> somebody    does another than a hold something below 10?
//	journal waits              writes are durable only from "journal goes on" on
//	kept -> 5 7-9              the state written last, and what is beyond its offset
//	writes -> 2                so many so far
//	restart                    with the state written last
type script struct {
	t       *testing.T
	journal *heldJournal
	groups  *group.Groups
	members map[string]*group.Member
}

var theKey = group.Key{Group: "default", Topic: "orders", Partition: 3}

func runScript(t *testing.T, text string) {
	s := &script{t: t}
	s.start()
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		step, want, _ := strings.Cut(line, " -> ")
		if got := s.step(strings.Fields(step)); got != want {
			t.Fatalf("%s: %q, not %q", step, got, want)
		}
	}
}

func (s *script) start() {
	old := s.journal
	s.journal, s.members = &heldJournal{goesOn: true}, make(map[string]*group.Member)
	s.groups = group.New(s.journal.write)
	if old != nil && len(old.states) > 0 {
		s.groups.Load(theKey, old.states[len(old.states)-1])
	}
}

func (s *script) step(words []string) string {
	p := s.groups.Position(theKey)
	switch words[0] {
	case "free":
		return spanText(p.Free(s.number(words[1])))
	case "committed":
		return fmt.Sprint(p.Committed())
	case "others":
		if p.Others(s.member(words[1]), s.number(words[2])) == nil {
			return "nobody"
		}
		return "somebody"
	case "journal":
		s.journal.hold(words[1] == "waits")
		return ""
	case "kept":
		return s.journal.kept()
	case "writes":
		return fmt.Sprint(len(s.journal.states))
	case "restart":
		s.start()
		return ""
	}
	return s.memberStep(p, s.member(words[0]), words[1:])
}

func (s *script) memberStep(p *group.Position, m *group.Member, words []string) string {
	switch words[0] {
	case "lease":
		if !p.Lease(m, group.Span{From: s.number(words[1]), To: s.number(words[2])}) {
			return "refused"
		}
	case "gives":
		p.GiveBack(m, s.number(words[2]))
	case "releases":
		p.Release(m)
	case "acks":
		p.Ack(m)
	default:
		s.t.Fatalf("no step %q", words)
	}
	return ""
}

func (s *script) member(name string) *group.Member {
	if s.members[name] == nil {
		s.members[name] = new(group.Member)
	}
	return s.members[name]
}

func (s *script) number(word string) (n int64) {
	s.t.Helper()
	if _, err := fmt.Sscan(word, &n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

func spanText(s group.Span) string {
	if s.To <= s.From {
		return "nothing"
	}
	return fmt.Sprintf("%d %d", s.From, s.To)
}

// A heldJournal keeps all states that it was given. While it is held it keeps
// their done, too.
type heldJournal struct {
	states  []group.State
	goesOn  bool
	waiting []func(error)
}

func (j *heldJournal) write(k group.Key, s group.State, done func(error)) {
	if k != theKey {
		panic(fmt.Sprintf("journal of %v", k))
	}
	j.states = append(j.states, s)
	if j.goesOn {
		done(nil)
		return
	}
	j.waiting = append(j.waiting, done)
}

func (j *heldJournal) hold(on bool) {
	j.goesOn = !on
	waiting := j.waiting
	j.waiting = nil
	for _, done := range waiting {
		done(nil)
	}
}

func (j *heldJournal) kept() string {
	if len(j.states) == 0 {
		return "nothing"
	}
	s := j.states[len(j.states)-1]
	text := fmt.Sprint(s.Offset)
	for _, b := range s.Beyond {
		text += fmt.Sprintf(" %d-%d", b.From, b.To)
	}
	return text
}
