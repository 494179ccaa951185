package schedule

import (
	"encoding/binary"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/commitlog"
	"mbus/internal/store"
)

// FuzzRecords starts a schedule over a log in which a record holds anything: it reads the
// log, delivers what it can, and works.
func FuzzRecords(f *testing.F) {
	key := append(binary.BigEndian.AppendUint64(nil, 5), make([]byte, 20)...)
	f.Add([]byte{}, []byte{})
	f.Add(append(key, "orders"...), []byte("no batch"))
	f.Add(key[:20], []byte{0})
	f.Add([]byte(nil), binary.BigEndian.AppendUint64(nil, 1<<63))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		w := newWorld(t)
		st, err := commitlog.Open("/data", commitlog.Options{FS: w.disk})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.CreateTopic(Topic, 1, ""); err != nil {
			t.Fatal(err)
		}
		log, err := st.Partition(Topic, 0)
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
		r := w.start(1 << 20)
		to := Target{Topic: stock}
		r.keep(to, map[string]time.Duration{"a": time.Second}).Deliver()
		r.pass(time.Minute)
		w.await("a message arrives", func() bool { return len(w.arrived(to)) > 0 })
		r.end()
	})
}
