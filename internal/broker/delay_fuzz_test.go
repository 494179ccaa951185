package broker_test

import (
	"encoding/binary"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/store"
)

// FuzzDelayedRecords starts a broker over a topic of delayed messages in which a
// record holds anything: it starts, delivers what it can, and works.
func FuzzDelayedRecords(f *testing.F) {
	key := append(binary.BigEndian.AppendUint64(nil, 5), make([]byte, 20)...)
	f.Add([]byte{}, []byte{})
	f.Add(append(key, "orders"...), []byte("no batch"))
	f.Add(key[:20], []byte{0})
	f.Add([]byte(nil), binary.BigEndian.AppendUint64(nil, 1<<63))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		s := setup{dir: t.TempDir(), log: commitlog.Options{SyncEvery: time.Hour}}
		st, err := commitlog.Open(s.dir, s.log)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.CreateTopic(broker.DelayedTopic, 1, ""); err != nil {
			t.Fatal(err)
		}
		log, err := st.Partition(broker.DelayedTopic, 0)
		if err != nil {
			t.Fatal(err)
		}
		var b batch.Builder
		b.Add(1, key, value)
		b.Add(1, nil, value)
		b.Close(0)
		if _, err := store.AppendAndWait(log, b.Bytes()); err != nil {
			t.Fatal(err)
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		over := mustOpen(t, s)
		publish(t, mustMake(t, over, "orders").Partitions()[0], time.Now(), 1, 10)
		mustClose(t, over)
	})
}
