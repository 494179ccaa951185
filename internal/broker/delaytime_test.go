package broker_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/batch/codec"
	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/group"
	"mbus/internal/message"
	"mbus/internal/store"
)

// withTime is a batch of which the second message has a delivery time.
func withTime(value []byte) batch.Batch {
	var b batch.Builder
	b.Add(1, nil, []byte("first"))
	b.Add(1, nil, []byte("second"), batch.Header{Key: broker.HeaderDeliverAt, Value: value})
	b.Close(0)
	return b.Bytes()
}

func TestDeliveryTimes(t *testing.T) {
	for value, want := range map[string]int64{
		"1893456000000":             1893456000000,
		"+1893456000000":            1893456000000,
		"2030-01-01T00:00:00Z":      1893456000000,
		"2030-01-01T01:00:00+01:00": 1893456000000,
		"0":                         0,
		"-1":                        -1,
		"100000000000":              100000000000,
		"253402300799999":           253402300799999,
		"1969-12-31T23:59:59Z":      -1000,
	} {
		if got, err := broker.ParseDeliverAt(value); got != want || err != nil {
			t.Errorf("%q: %d, %v; want %d", value, got, err, want)
		}
	}
}

func TestDeliveryTimesThatCantBeMeantAreRefused(t *testing.T) {
	b := newTryout(t, setup{dir: t.TempDir()})
	for _, value := range []string{
		"", " ", "soon", "30s", "1893456000000 ", " 1893456000000", "1893456000000.0", "1.893456e12", "1893456000000ms", "0x1b8dc0f8c00",
		"NaN", "Inf", "-Infinity", "1e400", "1_893_456_000_000", "１８９３４５６００００００", "1893456000000\x00", "true", "[]", "-",
		"2030-01-01", "2030-01-01T00:00:00", "9223372036854775808", "null",
		"1", "1893456000", "30000", "99999999999", // seconds, or a delay
		"253402300800000", "1893456000000000", "9223372036854775807", // microseconds, nanoseconds
	} {
		if got, err := broker.ParseDeliverAt(value); !errors.Is(err, broker.ErrDeliverAt) {
			t.Errorf("%q: %d, %v", value, got, err)
		}
		p := withTime([]byte(value))
		b.mustRefuse(p, broker.ErrDeliverAt)
		b.mustRefuse(batchtest.Compress(t, codec.Gzip, p), broker.ErrDeliverAt)
		b.mustRefuse(batchtest.Idempotent(p, 7, 0, 0), broker.ErrDeliverAt)
	}
	b.mustRefuse(withTime(nil), broker.ErrDeliverAt)
	b.mustProduce(batchtest.Idempotent(batchtest.Values("now"), 7, 0, 0), 0) // nothing was remembered
	var several batch.Builder
	several.Add(1, nil, nil, batch.Header{Key: broker.HeaderDeliverAt, Value: []byte("soon")}, batch.Header{Key: broker.HeaderDeliverAt, Value: []byte("0")})
	several.Close(0)
	b.mustProduce(several.Bytes(), 1) // the last one counts
	several.Reset()
	several.Add(1, nil, nil, batch.Header{Key: broker.HeaderDeliverAt, Value: []byte("0")}, batch.Header{Key: broker.HeaderDeliverAt, Value: []byte("soon")})
	several.Close(0)
	b.mustRefuse(several.Bytes(), broker.ErrDeliverAt)
}

// A message that was taken by an older version, whatever its delivery time, can be put
// among the dead letters.
func TestADeadLetterDoesNotWait(t *testing.T) {
	s := setup{dir: t.TempDir()}
	st, err := commitlog.Open(s.dir, s.log)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.CreateTopic("orders", 1, ""); err != nil {
		t.Fatal(err)
	}
	log, err := st.Partition("orders", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.AppendAndWait(log, withTime([]byte("soon"))); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	b := mustOpen(t, s)
	defer mustClose(t, b)
	orders := mustMake(t, b, "orders")
	var m group.Member
	m.Lease(position(t, b, "billing", "orders", 0), group.Span{From: 0, To: 2}, 0)
	m.Fail(1, group.Retry{}, time.Now())
	f, _, err := m.Fail(2, group.Retry{Attempts: 1}, time.Now())
	if err != nil || f.Offset != 1 || !f.Dead {
		t.Fatal(f, err)
	}
	settled := make(chan struct{})
	b.Bury(orders, f, "no good", func() { close(settled) })
	within(t, "it is settled", func() { <-settled })
	dead, err := b.Topic("orders" + message.DeadLetters)
	if err != nil {
		t.Fatal(err)
	}
	if got := arrived(t, dead.Partitions()[0]); !slices.Equal(got, []string{"second"}) {
		t.Errorf("the dead letters are %q", got)
	}
}
