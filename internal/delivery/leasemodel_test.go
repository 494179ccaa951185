package delivery

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"mbus/internal/group"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// A leaseModel is what clients know of one group.
type leaseModel struct {
	*bus
	rng     *rand.Rand
	next    int              // value that is published next
	current map[string]int64 // offset by token, of leases that hold for long
	ended   []string         // tokens of leases that have ended
	state   map[int64]*messageState
}

type messageState struct {
	token       string // that holds it; "" for none
	isDone      bool   // acknowledged, or dead
	isForgotten bool   // dead, which a power cut may undo
	isUncertain bool   // a power cut may have undone failures
	least, most int    // failures, those that are durable and all
}

// TestLeasesAgreeWithAModel has clients lease and settle at random, over restarts and power cuts.
func TestLeasesAgreeWithAModel(t *testing.T) {
	rounds, steps := 12, 80
	if testing.Short() {
		rounds = 3
	}
	for seed := range rounds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			m := &leaseModel{
				bus: start(t, 1), rng: rand.New(rand.NewPCG(uint64(seed), 16)),
				current: make(map[string]int64), state: make(map[int64]*messageState),
			}
			m.publishSome()
			for range steps {
				m.step()
			}
			m.finish()
		})
	}
}

func (m *leaseModel) step() {
	switch n := m.rng.IntN(20); {
	case n < 4:
		m.publishSome()
	case n < 9:
		m.leaseSome(time.Hour)
	case n < 11:
		m.leaseSome(time.Nanosecond)
	case n < 15:
		m.ackSome()
	case n < 17:
		m.failSome()
	case n < 19:
		m.extendSome()
	default:
		m.bootAgain(m.rng.IntN(2) == 0)
	}
}

func (m *leaseModel) options() Options { return m.leaseOptions("orders", "g") }

func (m *leaseModel) publishSome() {
	for range 1 + m.rng.IntN(4) {
		m.state[int64(m.next)] = new(messageState)
		m.publish("orders", fmt.Sprint(m.next))
		m.next++
	}
}

// leaseSome leases. A lease of a nanosecond expires before anything else happens.
func (m *leaseModel) leaseSome(length time.Duration) (n int) {
	m.t.Helper()
	_, all := m.lease(m.options(), Leasing{Max: 1 + m.rng.Int64N(5), For: length})
	for _, x := range all {
		s := m.state[x.offset]
		switch {
		case x.value != fmt.Sprint(x.offset):
			m.t.Fatalf("offset %d has %q", x.offset, x.value)
		case s.isDone:
			m.t.Fatalf("%d comes again, and is settled for good", x.offset)
		case s.token != "":
			m.t.Fatalf("%d is leased twice", x.offset)
		case x.Attempt-1 < s.least || x.Attempt-1 > s.most || !s.isUncertain && x.Attempt-1 < s.most:
			m.t.Fatalf("%d: attempt %d after %d to %d failures", x.offset, x.Attempt, s.least, s.most)
		}
		s.most, s.isUncertain, s.isForgotten = x.Attempt-1, false, false
		if length < time.Second {
			m.ended = append(m.ended, x.Token)
			m.failed(s, 3, false)
			continue
		}
		s.token, m.current[x.Token] = x.Token, x.offset
	}
	return len(all)
}

// failed notes a failure, which a power cut may undo unless it is durable.
func (m *leaseModel) failed(s *messageState, attempts int, isDurable bool) {
	s.token = ""
	s.most++
	if isDurable {
		s.least = s.most
	}
	s.isDone = s.most >= attempts
	s.isForgotten = s.isDone && !isDurable
}

// pick picks tokens, of leases that hold and of others, and lists those that have ended.
func (m *leaseModel) pick() (all, ended []string) {
	for token := range m.current {
		if m.rng.IntN(2) == 0 {
			all = append(all, token)
		}
	}
	for range m.rng.IntN(3) {
		if len(m.ended) > 0 {
			ended = append(ended, m.ended[m.rng.IntN(len(m.ended))])
		}
	}
	ended = slices.Compact(slices.Sorted(slices.Values(ended)))
	return append(all, ended...), ended
}

// take ends the lease of a token, and returns the state of its message; nil if it had ended.
func (m *leaseModel) take(token string) *messageState {
	offset, holds := m.current[token]
	if !holds {
		return nil
	}
	delete(m.current, token)
	return m.state[offset]
}

func (m *leaseModel) ackSome() {
	m.t.Helper()
	tokens, want := m.pick()
	ended, err := m.hub.AckTokens(m.options(), tokens)
	mustEnd(m.t, want, ended, err)
	for _, token := range tokens {
		if s := m.take(token); s != nil {
			s.token, s.isDone = "", true
		}
	}
}

func (m *leaseModel) failSome() {
	m.t.Helper()
	tokens, want := m.pick()
	f := Failure{Reason: "no", Dead: m.rng.IntN(4) == 0}
	ended, err := m.hub.FailTokens(m.options(), tokens, f)
	mustEnd(m.t, want, ended, err)
	for _, token := range tokens {
		if s := m.take(token); s != nil {
			m.ended = append(m.ended, token)
			m.failed(s, (&f).applied(group.Retry{Attempts: 3}).Attempts, true)
		}
	}
}

func (m *leaseModel) extendSome() {
	m.t.Helper()
	tokens, want := m.pick()
	by := time.Hour
	if m.rng.IntN(3) == 0 {
		by = -time.Nanosecond // it expires
	}
	_, ended, err := m.hub.ExtendTokens(m.options(), tokens, by)
	mustEnd(m.t, want, ended, err)
	for _, token := range tokens {
		if s := m.state[m.current[token]]; by < 0 && slices.Contains(tokens, token) {
			if _, holds := m.current[token]; holds {
				m.take(token)
				m.ended = append(m.ended, token)
				m.failed(s, 3, false)
			}
		}
	}
}

// bootAgain starts again, in good order or after a power cut. All leases have ended.
func (m *leaseModel) bootAgain(inOrder bool) {
	m.t.Helper()
	m.settleExpired()
	if inOrder {
		m.hub.Stop()
		m.hub.CloseLeases()
		m.restart()
	} else {
		before, hub := m.broker, m.hub
		m.disk = m.disk.Crash(crashfs.Some(m.rng.Uint64()))
		m.begin()
		hub.Stop()
		hub.CloseLeases()
		_ = before.Close()
		for _, s := range m.state {
			s.isUncertain, s.isDone = true, s.isDone && !s.isForgotten
		}
	}
	for token, offset := range m.current {
		m.ended = append(m.ended, token)
		m.state[offset].token = ""
	}
	clear(m.current)
}

// settleExpired waits until nothing that has expired is on its way to the dead letters.
func (m *leaseModel) settleExpired() {
	m.t.Helper()
	if _, err := m.hub.AckTokens(m.options(), nil); err != nil {
		m.t.Fatal(err)
	}
	brokertest.Await(m.t, patience, "nothing is on its way", func() bool {
		return !slices.ContainsFunc(m.broker.Positions("g"), func(n group.Numbers) bool { return n.Waiting > 0 })
	})
}

// finish acknowledges all that is left: each message was settled once.
func (m *leaseModel) finish() {
	m.t.Helper()
	m.bootAgain(true)
	for m.leaseSome(time.Hour) > 0 {
		m.ackSome()
	}
	for len(m.current) > 0 {
		m.ackSome()
	}
	for offset, s := range m.state {
		if !s.isDone && !s.isForgotten {
			m.t.Errorf("%d is lost", offset)
		}
	}
}
