package group_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mbus/internal/group"
)

// A script drives one position, a step a line; what follows -> is what must
// come of it.
//
//	a lease 0 5 -> refused     member a leases; without -> it must work
//	a lease 0 9 2-4 6          of these offsets only some have records; "none" for none
//	a claims 3 k -> waits      the message at offset 3, which has the key k
//	a claims 3-5 k             it has a hole behind it, up to offset 5
//	a acks                     all; "a acks 3" the first three, "a acks 2-3" these
//	a fails 2 -> attempt 1     of message 2; back-off 1s to 5s, dead at attempt 3
//	a gives back 3             from offset 3 on
//	a is lost -> attempt 1     of the oldest; the others are released
//	a keeps                    what it holds is to be seen when it has left
//	a releases, a leaves       the latter closes the position, too
//	a open -> 2 messages, 20 bytes, from 3 of 4 on
//	log 5                      has messages up to that offset
//	a rests                    waits for what becomes free
//	a passes on                what it was woken for, because it is busy
//	woken -> a b               since that was asked last, or nobody
//	reopen 3 -> full           what can't be; without -> it must work
//	bury 3, unbury 3           the latter due in 1s
//	free 10 -> 5 10            below offset 10; "nothing", or "due in 1s", for an empty span
//	after 2s                   time goes on
//	missing 3 8                the log has nothing there any more, and a client knows
//	start 5, start and keep 5  the position begins there
//	commit 3                   of a Kafka client
//	commits -> ok              how the last one has ended: ok, failed
//	durable -> 3               what others are shown, or nothing
//	committed -> 5
//	others a 10 -> somebody    does another than a hold something below 10?
//	disk waits              writes are durable only from "disk goes on" on
//	disk fails              from now on, or "once"
//	kept -> 5 7-9 8*2          written last: the offset, what is beyond, attempts that failed
//	writes -> 2                so many so far
//	sync                       synced -> no, ok, failed
//	flush                      the broker stops
//	delete                     the position, and a new one with its name
//	restart                    with the state written last
type script struct {
	t         *testing.T
	held      *heldLog
	groups    *group.Groups
	pos       *group.Position
	members   map[string]*group.Member
	log       sharedLog
	waiters   map[string]*group.Waiter
	mu        sync.Mutex // guards woken, for messages are due in another goroutine
	woken     []string
	synced    string
	committed string // how the last commit has ended
}

var theKey = group.Key{Group: "default", Topic: "orders", Partition: 3}

func runScript(t *testing.T, text string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &script{t: t, held: newHeldLog()}
		s.start()
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line == "" {
				continue
			}
			step, want, _ := strings.Cut(line, " -> ")
			got := s.step(strings.Fields(step))
			synctest.Wait() // until the positions log is idle, or waits
			if got != want {
				t.Errorf("%s: %q, not %q", step, got, want)
				break
			}
		}
		s.held.set(true, nil, false)
		s.groups.Flush()
	})
}

// start begins a life of the broker.
func (s *script) start() {
	s.members = make(map[string]*group.Member)
	s.waiters = make(map[string]*group.Waiter)
	s.groups = group.New(s.held.write)
	for k, state := range s.held.all() {
		s.groups.Load(k, state)
	}
	s.pos = position(s.groups, theKey)
}

func (s *script) step(words []string) string {
	if len(words) == 1 && words[0] == "restart" {
		s.start()
		return ""
	}
	if got, ok := s.positionStep(words); ok {
		return got
	}
	if got, ok := s.groupsStep(words); ok {
		return got
	}
	if s.waiterStep(words[0], words[1]) {
		return ""
	}
	return s.memberStep(s.pos, s.member(words[0]), words[1:])
}

// positionStep does what concerns the position, if that is what the words say.
func (s *script) positionStep(words []string) (got string, ok bool) {
	last := words[len(words)-1]
	switch words[0] {
	case "free":
		return s.free(s.number(last)), true
	case "bury":
		s.pos.Bury(s.number(last))
	case "unbury":
		s.pos.Unbury(s.number(last), time.Now().Add(time.Second))
	case "reopen":
		if err := s.pos.Reopen(s.number(last)); err != nil {
			return reasons[err], true
		}
	case "missing":
		s.pos.ConsumeMissing(group.Span{From: s.number(words[1]), To: s.number(last)})
	case "start":
		s.pos.Start(s.number(last), words[1] == "and")
	case "committed":
		return fmt.Sprint(s.pos.Committed()), true
	case "others":
		if s.pos.LeaseEnded(s.member(words[1]), s.number(last)) == nil {
			return "nobody", true
		}
		return "somebody", true
	default:
		return "", false
	}
	return "", true
}

// reasons are why a message can't be reopened, in a word.
var reasons = map[error]string{
	group.ErrNoPosition: "no position", group.ErrAssigned: "assigned", group.ErrFull: "full", group.ErrDying: "dying",
}

// groupsStep does what concerns the groups, their positions log, and time.
func (s *script) groupsStep(words []string) (got string, ok bool) {
	switch words[0] {
	case "after":
		d, err := time.ParseDuration(words[1])
		if err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(d) // in the bubble, where time passes at once
	case "log":
		s.log.publish(s.number(words[1]))
	case "woken":
		s.mu.Lock()
		defer s.mu.Unlock()
		if got = "nobody"; len(s.woken) > 0 {
			got = strings.Join(s.woken, " ")
		}
		s.woken = nil
	case "commit":
		state := group.State{Offset: s.number(words[1]), Epoch: group.NoEpoch, Assigned: true}
		s.groups.Commit([]group.Set{{Position: position(s.groups, theKey), State: state}}, func(err error) {
			s.committed = "ok"
			if err != nil {
				s.committed = "failed"
			}
		})
	case "delete":
		s.groups.Delete(theKey.Group, func(k group.Key) bool { return k == theKey })
		s.pos = position(s.groups, theKey)
	case "disk":
		var err error
		if words[1] == "fails" {
			err = errWrite
		}
		s.held.set(words[1] != "waits", err, words[len(words)-1] == "once")
	case "kept":
		got = s.held.keptText()
	case "writes":
		got = fmt.Sprint(s.held.begun())
	case "sync":
		s.synced = "no"
		s.groups.Sync(s.isSynced)
	case "synced":
		got = s.synced
	case "flush":
		go s.groups.Flush()
	case "commits": // how the last one has ended
		got = s.committed
	case "durable":
		got = "nothing"
		if c, ok := s.groups.Committed(theKey); ok {
			got = fmt.Sprint(c.Offset)
		}
	default:
		return "", false
	}
	return got, true
}

func (s *script) isSynced(err error) {
	switch {
	case s.synced != "no":
		s.synced = "twice"
	case err != nil:
		s.synced = "failed"
	default:
		s.synced = "ok"
	}
}

func (s *script) free(end int64) string {
	span, due := s.pos.Free(end, time.Now())
	switch {
	case span.Len() > 0:
		return fmt.Sprintf("%d %d", span.From, span.To)
	case !due.IsZero():
		return fmt.Sprintf("due in %v", time.Until(due))
	}
	return "nothing"
}

// waiterStep does what concerns how a member waits, if that is what the word says; what
// else there is to do when it leaves is not done here.
func (s *script) waiterStep(name, word string) bool {
	w := s.waiters[name]
	if w == nil && word == "rests" {
		w = group.NewWaiter(func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.woken = append(s.woken, name)
		})
		w.Watch(s.pos, &s.log)
		s.waiters[name] = w
	}
	switch {
	case word == "rests":
		w.Rest()
	case word == "passes":
		w.Busy()
		w.PassOn()
	case word == "leaves" && w != nil:
		w.Close()
		delete(s.waiters, name)
		return false
	default:
		return false
	}
	return true
}

func (s *script) memberStep(p *group.Position, m *group.Member, words []string) string {
	switch words[0] {
	case "lease":
		span := group.Span{From: s.number(words[1]), To: s.number(words[2])}
		if !s.lease(m, p, span, words[3:]) {
			return "refused"
		}
	case "claims":
		switch got, free := m.Claim(p, s.record(words[1]), uint64(words[2][0]), 10); {
		case !free:
			return "refused"
		case !got:
			return "waits"
		}
	case "acks":
		if len(words) == 1 {
			m.AckAll()
		} else if first, last, some := strings.Cut(words[1], "-"); some {
			if _, err := m.AckSome(uint64(s.number(first)), uint64(s.number(last))); err != nil {
				return "not sent"
			}
		} else if err := m.Ack(uint64(s.number(words[1]))); err != nil {
			return err.Error()
		}
	case "fails":
		return s.fail(m, uint64(s.number(words[1])))
	case "gives":
		m.GiveBack(p, s.number(words[2]))
	case "is": // lost
		f, ok := m.Lose(scriptRetry, time.Now())
		return failedText(f, ok)
	case "keeps":
		m.Keep()
	case "releases":
		m.Release()
	case "leaves":
		m.Release()
		p.Close()
		s.pos = position(s.groups, theKey)
	case "open":
		n, bytes := m.Open()
		return fmt.Sprintf("%d messages, %d bytes, from %d of %d on", n, bytes, m.Oldest(), m.Sent())
	default:
		s.t.Fatalf("no step %q", words)
	}
	return ""
}

// lease has a member lease a span: the records in it are the runs that the words name, or,
// with "none", there are none; without words there is one at each offset.
func (s *script) lease(m *group.Member, p *group.Position, span group.Span, words []string) bool {
	if len(words) == 0 {
		return m.Lease(p, span, 10*span.Len())
	}
	var runs []group.Span
	records := int64(0)
	for _, w := range words {
		if w != "none" {
			runs = append(runs, s.record(w))
			records += runs[len(runs)-1].Len()
		}
	}
	return m.LeaseRecords(p, span, runs, 10*records)
}

// scriptRetry is of all members.
var scriptRetry = group.Retry{Backoff: time.Second, Bound: 5 * time.Second, Attempts: 3}

func (s *script) fail(m *group.Member, n uint64) string {
	f, ok, err := m.Fail(n, scriptRetry, time.Now())
	if errors.Is(err, group.ErrNotSent) {
		return "not sent"
	}
	return failedText(f, ok)
}

func failedText(f group.Failed, ok bool) string {
	switch {
	case !ok:
		return "settled"
	case f.Dead:
		return fmt.Sprintf("dead at %d", f.Offset)
	}
	return fmt.Sprintf("attempt %d of %d", f.Attempts, f.Offset)
}

func (s *script) member(name string) *group.Member {
	if s.members[name] == nil {
		s.members[name] = new(group.Member)
	}
	return s.members[name]
}

// record is the span of one record, and of a hole behind it: "3", or "3-5".
func (s *script) record(word string) group.Span {
	first, end, hole := strings.Cut(word, "-")
	span := group.Span{From: s.number(first), To: s.number(first) + 1}
	if hole {
		span.To = s.number(end)
	}
	return span
}

func (s *script) number(word string) (n int64) {
	s.t.Helper()
	if _, err := fmt.Sscan(word, &n); err != nil {
		s.t.Fatal(err)
	}
	return n
}
