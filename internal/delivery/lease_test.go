package delivery

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/group"
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

func TestALeaseSaysOnceThatMessagesAreGone(t *testing.T) {
	b := start(t, 2)
	b.publish("orders", "1", "2", "3")
	o := b.leaseOptions("orders", "g")
	_, m := b.lease(o, Leasing{Max: 1, For: time.Hour})
	ended, err := b.hub.AckTokens(o, tokensOf(m))
	mustEnd(t, nil, ended, err)
	if err := mustTopic(t, b).Partitions()[0].Trim(2); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.tryLease(o, Leasing{Max: 3, For: time.Hour, Wait: patience}); Code(err) != "GAP" {
		t.Fatal(err)
	}
	_, m = b.lease(o, Leasing{Max: 3, For: time.Hour, Wait: patience})
	if got := valuesOf(m); !slices.Equal(got, []string{"3"}) || m[0].offset != 2 {
		t.Fatalf("got %+v", m)
	}
}

// Tokens of a topic that was deleted settle nothing in another one of its name.
func TestATokenIsOfAnIncarnation(t *testing.T) {
	b := start(t, 1)
	b.publish("orders", "a")
	o := b.leaseOptions("orders", "g")
	_, before := b.lease(o, Leasing{Max: 1, For: time.Hour})
	result := make(chan error)
	go func() {
		_, _, err := b.tryLease(o, Leasing{Max: 1, For: time.Hour, Wait: patience})
		result <- err
	}()
	brokertest.Await(t, patience, "a request waits", func() bool {
		_, waiting := b.hub.Leases()
		return waiting == 1
	})
	if err := b.broker.DeleteTopic("orders"); err != nil {
		t.Fatal(err)
	}
	if err := <-result; Code(err) != "GONE" {
		t.Fatal(err)
	}
	brokertest.Await(t, patience, "its leases have ended", func() bool {
		held, _ := b.hub.Leases()
		return held == 0
	})
	b.publish("orders", "a")
	_, after := b.lease(o, Leasing{Max: 1, For: time.Hour})
	ended, err := b.hub.AckTokens(o, tokensOf(before))
	mustEnd(t, tokensOf(before), ended, err)
	ended, err = b.hub.AckTokens(o, tokensOf(after))
	mustEnd(t, nil, ended, err)
}
