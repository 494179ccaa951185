package broker_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
)

// of is a batch of records with these times.
func of(times ...time.Time) batch.Batch {
	var b batch.Builder
	for _, at := range times {
		b.Add(at.UnixMilli(), nil, []byte("x"))
	}
	b.Close(0)
	return slices.Clone(b.Bytes())
}

// claiming is p with a header that says that this is the latest time.
func claiming(p batch.Batch, latest int64) batch.Batch {
	p = bytes.Clone(p)
	binary.BigEndian.PutUint64(p[35:], uint64(latest))
	binary.BigEndian.PutUint32(p[17:], crc32.Checksum(p[21:], crc32.MakeTable(crc32.Castagnoli)))
	return p
}

// A shifted clock is the system's, and so much ahead.
type shifted struct{ atomic.Int64 }

func (s *shifted) now() time.Time         { return time.Now().Add(time.Duration(s.Load())) }
func (s *shifted) ahead(by time.Duration) { s.Store(int64(by)) }

func TestTimesThatATopicDoesNotTakeAreRefused(t *testing.T) {
	var clock shifted
	b := newTryout(t, setup{dir: t.TempDir(), options: broker.Options{Now: clock.now}})
	now := clock.now()
	const after, before = broker.ConfigTimestampAfter, broker.ConfigTimestampBefore
	for _, test := range []struct {
		config []string
		batch  batch.Batch
		refuse bool
	}{
		{nil, of(now.Add(59 * time.Minute)), false},
		{nil, of(now.Add(62 * time.Minute)), true},
		{nil, of(now, now.Add(62*time.Minute), now), true},
		{nil, of(time.UnixMilli(now.UnixMicro())), true}, // microseconds for milliseconds
		{nil, of(time.UnixMilli(math.MaxInt64)), true},
		{nil, of(time.UnixMilli(math.MinInt64), time.UnixMilli(-1), time.UnixMilli(0), now), false},
		{nil, claiming(of(now), math.MaxInt64), false}, // none of its records is ahead
		{nil, claiming(of(now.Add(2*time.Hour)), now.UnixMilli()), true},
		{[]string{after, "0"}, of(now.Add(time.Minute)), true},
		{[]string{after, fmt.Sprint(math.MaxInt64)}, of(time.UnixMilli(math.MaxInt64)), false},
		{[]string{before, "60000"}, of(now, now.Add(-59*time.Second)), false},
		{[]string{before, "60000"}, of(now, now.Add(-2*time.Minute)), true},
		{[]string{before, "60000"}, of(time.UnixMilli(math.MinInt64)), true},
		{[]string{before, "60000"}, of(time.UnixMilli(batch.NoTimestamp)), false}, // none is no time
		{[]string{before, "60000"}, of(now.Add(62 * time.Minute)), true},
		{[]string{broker.ConfigTimestamps, broker.LogAppendTime}, of(now.Add(62 * time.Minute)), false},
	} {
		err := b.Configure("orders", func(own map[string]string) error {
			clear(own)
			for i := 0; i < len(test.config); i += 2 {
				own[test.config[i]] = test.config[i+1]
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		_, high := b.topic.Partitions()[0].Offsets()
		_, err = b.produce(test.batch)
		if _, end := b.topic.Partitions()[0].Offsets(); errors.Is(err, broker.ErrTime) != test.refuse || end > high == test.refuse {
			t.Errorf("%q, %v to %v: %v", test.config, time.UnixMilli(test.batch.BaseTimestamp()), time.UnixMilli(test.batch.MaxTimestamp()), err)
		}
	}
}

// The times are compared with the clock as it is: producers whose clocks are right are
// not refused because the broker does not believe its own yet.
func TestTimesAreNotRefusedByAClockThatIsNotBelievedOrNotSet(t *testing.T) {
	var clock shifted
	b := newTryout(t, setup{dir: t.TempDir(), options: broker.Options{Now: clock.now}})
	clock.ahead(8 * time.Hour) // it has slept
	if _, err := b.produce(of(clock.now())); err != nil {
		t.Error(err)
	}
	clock.ahead(-time.Since(time.Unix(5, 0))) // 1970
	if _, err := b.produce(of(time.Now())); err != nil {
		t.Error(err)
	}
}

func TestTheLatestTimeOfABatchIsThatOfItsRecords(t *testing.T) {
	b := newTryout(t, setup{dir: t.TempDir()})
	for i, claimed := range []int64{-1, 0, newYear.UnixMilli(), math.MaxInt64, math.MinInt64} {
		if _, err := b.produce(claiming(of(newYear, newYear.Add(day), newYear), claimed)); err != nil {
			t.Fatal(err)
		}
		var c store.Chunk
		if err := b.topic.Partitions()[0].Fetch(int64(3*i), 1, &c); err != nil {
			t.Fatal(err)
		}
		p, err := c.Load(nil) // which checks the CRC
		if err != nil {
			t.Fatal(err)
		}
		stored, _, err := batch.Next(p)
		if err != nil || stored.MaxTimestamp() != newYear.Add(day).UnixMilli() {
			t.Errorf("claimed %d: stored %d, %v", claimed, stored.MaxTimestamp(), err)
		}
		c.Release()
	}
}

// A clock that was believed and is put back stamps the right time from then on.
func TestTheTimeOfTheLogIsNotStuckWhereTheClockWasWrong(t *testing.T) {
	var clock shifted
	clock.ahead(10 * 365 * day)
	b := newTryout(t, setup{dir: t.TempDir(), options: broker.Options{Now: clock.now}})
	configure(t, b.bus, "orders", broker.ConfigTimestamps, broker.LogAppendTime)
	for i, wrong := range []time.Duration{10 * 365 * day, 0, -100 * day, 0} {
		clock.ahead(wrong)
		if _, err := b.produce(of(newYear)); err != nil {
			t.Fatal(err)
		}
		if i == 0 { // what the clock says at the start is believed
			continue
		}
		if err := broker.WithRecord(b.topic.Partitions()[0], int64(i), func(r *batch.Record) error {
			if off := time.Until(time.UnixMilli(r.Timestamp)) - min(0, wrong); off > time.Minute || off < -time.Minute {
				t.Errorf("the clock is %v ahead, and the message is stamped %v ahead", wrong, off)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// What was due while the broker was down is put into its topic then, and kept for its
// time from then on.
func TestAnOverdueMessageIsKeptForItsTime(t *testing.T) {
	var clock shifted
	s := setup{dir: t.TempDir(), options: broker.Options{Now: clock.now}}
	b := mustOpen(t, s)
	topic, err := b.CreateTopic("orders", 1, map[string]string{broker.ConfigRetention: fmt.Sprint(day.Milliseconds())})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := topic.Partitions()[0].AppendAndWait(waiting(time.Now().Add(time.Hour), "the oven")); err != nil {
		t.Fatal(err)
	}
	mustClose(t, b)
	clock.ahead(3 * day) // a long weekend
	for range 2 {
		b = mustOpen(t, s)
		topic = mustMake(t, b, "orders")
		await(t, "it is delivered", func() bool { _, high := topic.Partitions()[0].Offsets(); return high == 1 })
		b.Sweep()
		b.Retain(clock.now().Add(23 * time.Hour))
		mustStart(t, topic, 0)
		mustClose(t, b)
	}
	b = mustOpen(t, s)
	defer mustClose(t, b)
	topic = mustMake(t, b, "orders")
	b.Retain(clock.now().Add(25 * time.Hour))
	mustStart(t, topic, 1)
}

// A machine that has never known the time keeps what it took in, whenever it learns it.
func TestAFirstStartWithAClockThatIsNotSetRemovesNothing(t *testing.T) {
	for _, running := range []bool{false, true} {
		var clock shifted
		clock.ahead(-time.Since(time.Unix(0, 0)))
		s := setup{dir: t.TempDir(), options: broker.Options{Now: clock.now, Retention: 7 * day}}
		b := mustOpen(t, s)
		publish(t, mustMake(t, b, "orders").Partitions()[0], clock.now(), 10, 10)
		if _, err := mustMake(t, b, "later").Partitions()[0].AppendAndWait(waiting(b.Now().Add(time.Hour), "the oven")); err != nil {
			t.Error(err)
		}
		if running {
			clock.ahead(0)
			b.Sweep()
		}
		for range 2 {
			mustClose(t, b)
			clock.ahead(0)
			b = mustOpen(t, s)
			b.Sweep()
			mustStart(t, mustMake(t, b, "orders"), 0)
		}
		b.Retain(clock.now().Add(8 * day)) // the negative control
		mustStart(t, mustMake(t, b, "orders"), 10)
		mustClose(t, b)
	}
}

// Each caller that finds a jump of the clock notes it, with the store's help.
func TestAJumpOfTheClockIsFoundByWhoeverLooksFirst(t *testing.T) {
	var clock shifted
	b := newTryout(t, setup{dir: t.TempDir(), options: broker.Options{Now: clock.now, Retention: 7 * day}})
	for i, look := range []func(){
		func() { mustMake(t, b.bus, "stock") },
		func() { publish(t, b.topic.Partitions()[0], time.Now(), 1, 10) },
		func() {
			if err := b.AddPartitions("orders", 2); err != nil {
				t.Error(err)
			}
		},
		b.Sweep,
		func() { configure(t, b.bus, "orders", broker.ConfigRetention, "1000000") },
		func() {
			if err := b.DeleteTopic("stock"); err != nil {
				t.Error(err)
			}
		},
	} {
		clock.ahead(time.Duration(i+1) * time.Hour)
		within(t, "it goes on", look)
	}
}

// A start by a wrong clock removes nothing before it has lasted for as long as messages
// are kept, nor does the next one, whether the broker ended in good order or not.
func TestAStartByAWrongClockRemovesNothing(t *testing.T) {
	for _, killed := range []bool{false, true} {
		var clock shifted
		disk := crashfs.New()
		s := setup{disk: disk, options: broker.Options{Now: clock.now, Retention: 7 * day}}
		b := mustOpen(t, s)
		topic := mustMake(t, b, "orders")
		publish(t, topic.Partitions()[0], time.Now(), 10, 10)
		brief, err := b.CreateTopic("brief", 1, map[string]string{broker.ConfigRetention: "1"})
		if err != nil {
			t.Fatal(err)
		}
		publish(t, brief.Partitions()[0], time.Now(), 10, 10)
		for range 3 {
			if killed {
				await(t, "the time is kept", func() bool { _, err := disk.Open("/data/clock"); return err == nil })
				dead := disk
				disk = disk.Crash(crashfs.Nothing())
				dead.Kill()
				_ = b.Close()
			} else {
				mustClose(t, b)
			}
			clock.ahead(10 * 365 * day)
			s.disk = disk
			b = mustOpen(t, s)
			b.Sweep()
			mustStart(t, mustMake(t, b, "orders"), 0)
		}
		await(t, "what is kept for a moment goes", func() bool {
			b.Sweep()
			start, _ := mustMake(t, b, "brief").Partitions()[0].Offsets()
			return start == 10
		})
		clock.ahead(0)
		b.Sweep()
		mustStart(t, mustMake(t, b, "orders"), 0)
		b.Retain(clock.now().Add(8 * day)) // the negative control
		mustStart(t, mustMake(t, b, "orders"), 10)
		mustClose(t, b)
	}
}
