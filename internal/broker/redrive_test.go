package broker_test

import (
	"errors"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/message"
)

// letterOf is a record with these headers.
func letterOf(t testing.TB, headers ...batch.Header) *batch.Record {
	t.Helper()
	var b batch.Builder
	b.Add(1, nil, []byte("m"), headers...)
	b.Close(0)
	var it batch.Iterator
	if err := it.Reset(b.Bytes()); err != nil || !it.Next() {
		t.Fatal(err)
	}
	return it.Record()
}

// Every publisher can make letters: their headers count only if they are plausible.
func FuzzReadLetter(f *testing.F) {
	f.Add("orders", "3", "17", "billing")
	f.Add("orders", "-1", "17", "")
	f.Add("__delayed", "0", "9223372036854775808", "a/b")
	f.Add("", "x", "+1", "\xff\n")
	f.Add("orders.dlq", "0", "1", "redrive")
	f.Fuzz(func(t *testing.T, topic, partition, offset, group string) {
		r := letterOf(t,
			batch.Header{Key: broker.HeaderTopic, Value: []byte("before")}, // of when it died before
			batch.Header{Key: broker.HeaderTopic, Value: []byte(topic)}, batch.Header{Key: broker.HeaderPartition, Value: []byte(partition)},
			batch.Header{Key: broker.HeaderOffset, Value: []byte(offset)}, batch.Header{Key: broker.HeaderGroup, Value: []byte(group)})
		l, err := broker.ReadLetter(r, false)
		var stays *broker.StayError
		if err != nil {
			if !errors.As(err, &stays) {
				t.Errorf("%v", err)
			}
			return
		}
		if l.Topic != topic || l.Group != group || l.Partition < 0 || l.Offset < 0 {
			t.Errorf("%+v", l)
		}
		if message.CheckName("topic", l.Topic) != nil || message.CheckName("group", l.Group) != nil {
			t.Errorf("names %q and %q are taken", l.Topic, l.Group)
		}
		if !broker.HasDeadLetters(l.Topic) {
			t.Errorf("a letter of topic %q is taken, which has none", l.Topic)
		}
	})
}

func TestOfALetterThatDiedBeforeTheLastDeathCounts(t *testing.T) {
	header := func(key, value string) batch.Header { return batch.Header{Key: key, Value: []byte(value)} }
	r := letterOf(t,
		header(broker.HeaderTopic, "old"), header(broker.HeaderPartition, "1"), header(broker.HeaderOffset, "2"), header(broker.HeaderGroup, "a"),
		header(broker.HeaderTopic, "orders"), header(broker.HeaderPartition, "3"), header(broker.HeaderOffset, "4"), header(broker.HeaderGroup, "b"))
	l, err := broker.ReadLetter(r, false)
	if err != nil || l.Topic != "orders" || l.Partition != 3 || l.Offset != 4 || l.Group != "b" {
		t.Errorf("%+v, %v", l, err)
	}
	if l, err = broker.ReadLetter(r, true); err != nil || l.Topic != "orders" || l.Group != "" {
		t.Errorf("for all: %+v, %v", l, err)
	}
}

// The letter would count as moved, and its message be nowhere.
func TestALetterOfATopicThatIsDeletedJustNowStays(t *testing.T) {
	for _, again := range []bool{false, true} {
		b := mustOpen(t, setup{dir: t.TempDir()})
		mustFill(t, b, "orders")
		consume(t, position(t, b, "billing", "orders", 0), 0, 1)
		orders, err := b.Topic("orders")
		if err != nil {
			t.Fatal(err)
		}
		r := b.NewRedrive("test")
		defer r.Close()
		if err := b.DeleteTopic("orders"); err != nil {
			t.Fatal(err)
		}
		if again {
			mustFill(t, b, "orders")
		}
		var stays *broker.StayError
		if err := r.Reopen(orders, broker.Letter{Topic: "orders", Group: "billing"}); !errors.As(err, &stays) {
			t.Errorf("created again %v: it does not stay, %v", again, err)
		}
	}
}
