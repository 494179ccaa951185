package delivery

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/group"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// A leasedTo is a message as a client without a connection gets it.
type leasedTo struct {
	Delivery
	offset int64
	value  string
}

func (b *bus) leaseOptions(topic, groupName string) Options {
	return Options{
		View: b.broker.View, Topic: topic, Group: groupName, Retry: group.Retry{Attempts: 3},
		Find: func() (*broker.Topic, error) { return b.broker.Topic(topic) },
	}
}

// lease leases messages.
func (b *bus) lease(o Options, want Leasing) (*Lease, []leasedTo) {
	b.t.Helper()
	l, all, err := b.tryLease(o, want)
	if err != nil {
		b.t.Fatal(err)
	}
	return l, all
}

func (b *bus) tryLease(o Options, want Leasing) (*Lease, []leasedTo, error) {
	var all []leasedTo
	want.Append = func(dst []byte, d *Delivery, r *batch.Record) []byte {
		all = append(all, leasedTo{*d, r.Offset, string(r.Value)})
		return append(dst, r.Value...)
	}
	l, err := b.hub.Lease(o, want)
	if err == nil {
		l.Delivered()
	}
	return l, all, err
}

func tokensOf(all []leasedTo) (tokens []string) {
	for _, m := range all {
		tokens = append(tokens, m.Token)
	}
	return tokens
}

func valuesOf(all []leasedTo) (values []string) {
	for _, m := range all {
		values = append(values, m.value)
	}
	return values
}

// mustEnd fails unless exactly these tokens are of leases that have ended.
func mustEnd(t testing.TB, want, ended []string, err error) {
	t.Helper()
	want = slices.Sorted(slices.Values(want))
	if err != nil || !slices.Equal(want, ended) {
		t.Fatalf("ended are %q, not %q; error %v", ended, want, err)
	}
}

func TestATokenOfAnExpiredLeaseSettlesNoOther(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", "a", "b")
	o := b.leaseOptions("orders", "g")
	_, first := b.lease(o, Leasing{Max: 2, For: time.Nanosecond})
	_, again := b.lease(o, Leasing{Max: 2, For: time.Hour, Wait: patience})
	if len(again) == 1 { // the other one expired a moment later
		_, more := b.lease(o, Leasing{Max: 2, For: time.Hour, Wait: patience})
		again = append(again, more...)
	}
	if len(again) != 2 || again[0].Attempt != 2 || again[1].Attempt != 2 {
		t.Fatalf("leased again: %+v", again)
	}
	ended, err := b.hub.AckTokens(o, tokensOf(first))
	mustEnd(t, tokensOf(first), ended, err)
	ended, err = b.hub.FailTokens(o, tokensOf(first), Failure{})
	mustEnd(t, tokensOf(first), ended, err)
	_, ended, err = b.hub.ExtendTokens(o, tokensOf(first), time.Nanosecond)
	mustEnd(t, tokensOf(first), ended, err)
	ended, err = b.hub.AckTokens(o, tokensOf(again))
	mustEnd(t, nil, ended, err)
	if n := b.committed("g", "orders"); n != 2 {
		t.Fatalf("committed %d", n)
	}
}

func TestATokenIsOfItsGroupTopicAndLife(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", "a")
	b.publish("others", "a")
	o, g, other := b.leaseOptions("orders", "g"), b.leaseOptions("orders", "h"), b.leaseOptions("others", "g")
	_, mine := b.lease(o, Leasing{Max: 1, For: time.Hour})
	b.lease(g, Leasing{Max: 1, For: time.Hour})
	b.lease(other, Leasing{Max: 1, For: time.Hour})
	for _, foreign := range []Options{g, other} {
		ended, err := b.hub.AckTokens(foreign, tokensOf(mine))
		mustEnd(t, tokensOf(mine), ended, err)
	}
	forged := []byte(mine[0].Token)
	for i := range forged {
		p := slices.Clone(forged)
		if p[i]++; p[i] > 'z' {
			p[i] = 'A'
		}
		if ended, err := b.hub.AckTokens(o, []string{string(p)}); err == nil && len(ended) == 0 {
			t.Fatalf("%q was taken for %q", p, forged)
		}
	}
	for _, wrong := range []string{"", "x", mine[0].Token + "A", mine[0].Token[1:]} {
		if _, err := b.hub.AckTokens(o, []string{mine[0].Token, wrong}); !errors.Is(err, ErrToken) {
			t.Fatalf("%q: %v", wrong, err)
		}
	}
	b.hub.Stop()
	b.hub.CloseLeases()
	b.restart()
	o = b.leaseOptions("orders", "g")
	_, again := b.lease(o, Leasing{Max: 1, For: time.Hour})
	if len(again) != 1 || again[0].Attempt != 1 || again[0].Token == mine[0].Token {
		t.Fatalf("after a restart: %+v", again)
	}
	ended, err := b.hub.AckTokens(o, tokensOf(mine))
	mustEnd(t, tokensOf(mine), ended, err)
	ended, err = b.hub.AckTokens(o, tokensOf(again))
	mustEnd(t, nil, ended, err)
}

func TestAnAcknowledgementMayComeAgain(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", "a")
	o := b.leaseOptions("orders", "g")
	_, m := b.lease(o, Leasing{Max: 1, For: time.Hour})
	for range 2 {
		ended, err := b.hub.AckTokens(o, tokensOf(m))
		mustEnd(t, nil, ended, err)
	}
	ended, err := b.hub.FailTokens(o, tokensOf(m), Failure{})
	mustEnd(t, tokensOf(m), ended, err)
}

func TestOneWaitingRequestIsWokenForAMessage(t *testing.T) {
	b := start(t, 2)
	b.publish("orders", "first")
	o := b.leaseOptions("orders", "g")
	_, first := b.lease(o, Leasing{Max: 1, For: time.Hour})
	got := make(chan []leasedTo)
	const requests = 5
	for range requests {
		go func() {
			_, all, err := b.tryLease(o, Leasing{Max: 1, For: time.Hour, Wait: patience})
			if err != nil {
				t.Error(err)
			}
			got <- all
		}()
	}
	gone := make(chan struct{})
	close(gone)
	if _, all := b.lease(o, Leasing{Max: 1, For: time.Hour, Wait: patience, Gone: gone}); len(all) != 0 {
		t.Fatalf("a client that is gone got %+v", all)
	}
	for i := range requests - 1 {
		b.publish("orders", fmt.Sprint("message ", i))
		if all := <-got; len(all) != 1 || all[0].value != fmt.Sprint("message ", i) {
			t.Fatalf("got %+v", all)
		}
	}
	ended, err := b.hub.FailTokens(o, tokensOf(first), Failure{})
	mustEnd(t, nil, ended, err)
	if all := <-got; len(all) != 1 || all[0].value != "first" || all[0].Attempt != 2 {
		t.Fatalf("got %+v", all)
	}
}

// What is woken for nobody wakes another member of the group.
func TestAMessageGoesToAConsumerWhenNoRequestWaits(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", "held")
	o := b.leaseOptions("orders", "g")
	b.lease(o, Leasing{Max: 1, For: time.Hour}) // the holder stays
	if _, all := b.lease(o, Leasing{Max: 1, For: time.Hour, Wait: time.Nanosecond}); len(all) != 0 {
		t.Fatalf("got %+v", all)
	}
	w := b.worker("orders", Options{Group: "g"})
	w.mustGetNothing()
	b.publish("orders", "next")
	w.mustGet("next")
}

func TestAWaitForATopicEndsWithItsFirstMessage(t *testing.T) {
	b := start(t, 1)
	o := b.leaseOptions("later", "g")
	got := make(chan []leasedTo)
	go func() {
		_, all, err := b.tryLease(o, Leasing{Max: 5, For: time.Hour, Wait: patience})
		if err != nil {
			t.Error(err)
		}
		got <- all
	}()
	b.publish("later", "first")
	if all := <-got; !slices.Equal(valuesOf(all), []string{"first"}) {
		t.Fatalf("got %+v", all)
	}
}

func TestAStopEndsRequestsThatWait(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", "a")
	o := b.leaseOptions("orders", "g")
	_, m := b.lease(o, Leasing{Max: 1, For: time.Hour})
	result := make(chan error)
	go func() {
		_, _, err := b.tryLease(o, Leasing{Max: 1, For: time.Hour, Wait: patience})
		result <- err
	}()
	b.hub.Stop()
	if err := <-result; Code(err) != "SHUTDOWN" {
		t.Fatal(err)
	}
	ended, err := b.hub.AckTokens(o, tokensOf(m)) // while others end
	mustEnd(t, nil, ended, err)
	b.hub.CloseLeases()
}

func TestOfOneKeyOneMessageIsLeased(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", "k=1", "k=2", "other=1")
	o := b.leaseOptions("orders", "g")
	o.Ordered = true
	_, first := b.lease(o, Leasing{Max: 10, For: time.Hour})
	if got := valuesOf(first); !slices.Equal(got, []string{"1", "1"}) {
		t.Fatalf("got %q", got)
	}
	ended, err := b.hub.FailTokens(o, tokensOf(first[:1]), Failure{Retry: time.Hour, HasRetry: true})
	mustEnd(t, nil, ended, err)
	if _, none := b.lease(o, Leasing{Max: 10, For: time.Hour}); len(none) > 0 {
		t.Fatalf("got %+v behind one that waits", none)
	}
	o.Ordered = false
	var inUse *group.InUseError
	if _, _, err := b.tryLease(o, Leasing{Max: 1, For: time.Hour}); !errors.As(err, &inUse) {
		t.Fatalf("leased in another way: %v", err)
	}
}

func TestTheMessagesOfALostClientGoToOthersAtOnce(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", "a", "b", "c")
	o := b.leaseOptions("orders", "g")
	o.Retry.Backoff, o.Retry.Bound = time.Hour, time.Hour
	l, _ := b.lease(o, Leasing{Max: 3, For: time.Hour})
	l.Lost()
	_, others := b.lease(o, Leasing{Max: 3, For: time.Hour})
	if got := valuesOf(others); !slices.Equal(got, []string{"b", "c"}) || others[0].Attempt != 1 {
		t.Fatalf("others got %+v", others)
	}
	if l.Lost(); len(b.hub.leases.holders) != 1 || b.hub.leases.held.Load() != 2 {
		t.Fatal("lost twice")
	}
}

func TestAGroupWithoutLeasesHasNoMember(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", "a")
	o := b.leaseOptions("orders", "g")
	_, m := b.lease(o, Leasing{Max: 1, For: time.Hour})
	if n := len(b.broker.Members("g")); n != 1 {
		t.Fatalf("members: %d", n)
	}
	ended, err := b.hub.AckTokens(o, tokensOf(m))
	mustEnd(t, nil, ended, err)
	if n := len(b.broker.Members("g")); n != 0 || len(b.hub.leases.holders) != 0 || b.hub.leases.held.Load() != 0 {
		t.Fatalf("members: %d, holders: %d", n, len(b.hub.leases.holders))
	}
}

func TestTheNumberOfLeasesIsBounded(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", "a", "b")
	o := b.leaseOptions("orders", "g")
	b.hub.leases.held.Store(broker.LeasesOfAll - 1)
	if _, all := b.lease(o, Leasing{Max: 2, For: time.Hour}); len(all) != 1 {
		t.Fatalf("got %+v", all)
	}
	if _, _, err := b.tryLease(o, Leasing{Max: 1, For: time.Hour}); Code(err) != "BUSY" {
		t.Fatal(err)
	}
}

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
