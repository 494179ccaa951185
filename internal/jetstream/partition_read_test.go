package jetstream

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// written makes a log of messages of one record each, and gives an owner that has none of them in memory.
func written(t *testing.T, s *scripted, records int) *partition {
	t.Helper()
	p := s.opened(t, 1)
	for i := range records {
		appended(t, p, fmt.Sprintf("%d %s", i, strings.Repeat("x", 100)), int64(i))
	}
	return s.opened(t, 2)
}

// readsAll reads each offset by itself, and fails the test unless all but some are there.
func readsAll(t *testing.T, p *partition, but ...int64) {
	t.Helper()
	_, high := p.Offsets()
	for offset := range high {
		var c store.Chunk
		err := p.Read(offset, 1, &c)
		if damage := (*store.DamageError)(nil); slices.Contains(but, offset) {
			if !errors.As(err, &damage) || damage.First != offset || damage.Next != offset+1 {
				t.Errorf("offset %d: %v, want it damaged, and no other", offset, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("offset %d: %v", offset, err)
		}
		got, err := c.Load(nil)
		if err != nil || batch.Batch(got).BaseOffset() != offset || !strings.Contains(string(got), fmt.Sprintf("%d x", offset)) {
			t.Fatalf("at offset %d %q is loaded: %v", offset, got, err)
		}
		c.Release()
	}
}

// forget empties the caches.
func (p *partition) forget() {
	p.written.drop(p)
	p.fetched.drop(p)
	p.messages.points.drop(1 << 62)
}

// spoil damages the message of a record.
func spoil(s stored, record int64, how string) (stored, bool) {
	f, _, err := parsePrefix(s.data)
	if err != nil || f.kind != batches || f.base != record {
		return s, true
	}
	switch how {
	case "missing":
		return s, false
	case "prefix":
		s.data = bytes.Clone(s.data)
		s.data[20]++
	case "batch":
		s.data = bytes.Clone(s.data)
		s.data[len(s.data)-1]++
	}
	return s, true
}

func TestReadOfAMessageThatOneReplicaHasDamaged(t *testing.T) {
	for _, how := range []string{"missing", "prefix", "batch"} {
		for replica := range 3 {
			t.Run(fmt.Sprint(how, replica), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newScripted()
					p := written(t, s, 50)
					s.edit = func(r int, m stored) (stored, bool) {
						if r != replica {
							return m, true
						}
						return spoil(m, 20, how)
					}
					for range 5 {
						readsAll(t, p)
						p.forget()
					}
					if err := store.Walk(p, 0, func(err error) error { return err }, func(batch.Batch) (bool, error) { return true, nil }); err != nil {
						t.Error(err)
					}
					if n := p.stats.Damage.Load(); n != 0 {
						t.Errorf("damage is counted %d times, and another replica had it", n)
					}
				})
			})
		}
	}
}

func TestReadOfAMessageThatAllReplicasHaveDamaged(t *testing.T) {
	for _, how := range []string{"missing", "prefix", "batch"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScripted()
				p := written(t, s, 50)
				s.edit = func(_ int, m stored) (stored, bool) { return spoil(m, 20, how) }
				readsAll(t, p, 20)
				p.forget()
				var lost []int64
				next := int64(0)
				err := store.Walk(p, 0, func(err error) error {
					first, behind, _ := store.Missing(err)
					lost = append(lost, first, behind)
					next = behind
					return nil
				}, func(b batch.Batch) (bool, error) {
					if b.BaseOffset() != next {
						t.Errorf("offset %d came, and not %d", b.BaseOffset(), next)
					}
					next = b.NextOffset()
					return true, nil
				})
				if err != nil || next != 50 || !slices.Equal(lost, []int64{20, 21}) {
					t.Errorf("read up to %d, lost are %v: %v", next, lost, err)
				}
				if p.stats.Damage.Load() == 0 {
					t.Error("damage is not counted")
				}
				// A log with damage can be trimmed there, and behind.
				for _, before := range []int64{20, 21, 30} {
					if err := p.Trim(before); err != nil {
						t.Errorf("trim before %d: %v", before, err)
					}
				}
			})
		})
	}
}

// Of a message with several batches those before the damage can be read.
func TestReadOfAMessageWithADamagedBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted()
		old := s.opened(t, 1)
		if _, err := store.AppendAndWait(old, slices.Concat(oneRecord("0 x"), oneRecord("1 x"), oneRecord("2 x"))); err != nil {
			t.Fatal(err)
		}
		appended(t, old, "3 x", 3)
		p := s.opened(t, 2)
		p.forget()
		s.edit = func(_ int, m stored) (stored, bool) { return spoil(m, 0, "batch") }
		readsAll(t, p, 2)
	})
}

func TestReadsPassASilentReplica(t *testing.T) {
	for replica := range 3 {
		synctest.Test(t, func(t *testing.T) {
			s := newScripted()
			p := written(t, s, 20)
			s.reads = func(r int) readFate { return readFate{silent: r == replica} }
			readsAll(t, p)
		})
	}
}

func TestReadsPassAReplicaThatLags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted()
		p := written(t, s, 20)
		p.forget()
		s.reads = func(r int) readFate { return readFate{lag: 5 * r} }
		readsAll(t, p)
	})
}

func TestReadFailsWhileNoReplicaAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted()
		p := written(t, s, 20)
		p.forget()
		s.reads = func(int) readFate { return readFate{silent: true} }
		var c store.Chunk
		if err := p.Read(10, 1, &c); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("read: %v", err)
		}
		s.reads = func(int) readFate { return readFate{} }
		readsAll(t, p)
	})
}

// What chunks hold is bounded together. A chunk beyond that is read again when it is loaded.
func TestChunksHoldBoundedMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted()
		p := written(t, s, 400)
		chunks := make([]store.Chunk, 400)
		for i := range chunks {
			if err := p.Read(int64(i), 1, &chunks[i]); err != nil {
				t.Fatal(err)
			}
		}
		if used := p.held.used; used < testSizes.held/2 || used > testSizes.held+2*messageCost {
			t.Errorf("chunks hold %d bytes, the limit is %d", used, testSizes.held)
		}
		p.forget()
		for i := range chunks {
			got, err := chunks[i].Load(nil)
			if err != nil || batch.Batch(got).BaseOffset() != int64(i) || len(got) != chunks[i].Len() {
				t.Fatalf("chunk %d: %d bytes of %d: %v", i, len(got), chunks[i].Len(), err)
			}
			chunks[i].Release()
			chunks[i].Release()
		}
		if used := p.held.used; used != 0 {
			t.Errorf("released chunks hold %d bytes", used)
		}
		if n := p.fetched.bytes + p.written.bytes; n > testSizes.fetched+testSizes.written {
			t.Errorf("%d bytes of messages are kept", n)
		}
	})
}

// A reader that waits for more holds nothing.
func TestChunkAtTheEndHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted()
		p := written(t, s, 5)
		var c store.Chunk
		for offset := int64(0); offset <= 5; offset++ {
			if err := p.Read(offset, 1, &c); err != nil {
				t.Fatal(err)
			}
		}
		if used := p.held.used; used != 0 || c.Next != 5 {
			t.Errorf("at offset %d %d bytes are held", c.Next, used)
		}
	})
}

// At a takeover older positions must not come in place of those that can't be read.
func TestInternalLogIsReadWholeOrNotAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted()
		p := written(t, s, 50)
		p.topic = "__consumer_offsets"
		s.edit = func(_ int, m stored) (stored, bool) { return spoil(m, 20, "missing") }
		walk := func() (read int64, err error) {
			return read, store.Walk(p, 0, func(error) error { return nil }, func(b batch.Batch) (bool, error) {
				read = b.NextOffset()
				return true, nil
			})
		}
		if read, err := walk(); !errors.Is(err, store.ErrUnavailable) || read != 20 {
			t.Errorf("read up to %d: %v", read, err)
		}
		s.edit = func(_ int, m stored) (stored, bool) { return m, true }
		if read, err := walk(); err != nil || read != 50 {
			t.Errorf("read up to %d: %v", read, err)
		}
		p.forget()
		s.edit = func(_ int, m stored) (stored, bool) { return spoil(m, 20, "missing") }
		if read, err := walk(); err != nil || read != 50 {
			t.Errorf("later, read up to %d: %v", read, err)
		}
	})
}
