// Package batchtest makes record batches for tests: valid ones, and some that are not.
package batchtest

import (
	"bytes"
	"fmt"
	"math/rand/v2"

	"mbus/internal/batch"
)

// FirstTime is the time of a Maker's first record, in milliseconds since 1970: in January
// 2026.
const FirstTime = 1_768_000_000_000

// A Maker makes record batches, no two of which are alike. The zero value is
// ready; its batches are the same in every run.
type Maker struct {
	records int64
	builder batch.Builder
}

// NewMaker is a maker that numbers its records from first on, to differ from others.
func NewMaker(first int64) *Maker { return &Maker{records: first} }

// Batch makes a batch of that many records, a millisecond apart, with size
// bytes of value each.
func (m *Maker) Batch(records, size int) []byte {
	m.builder.Reset()
	for range records {
		m.add(FirstTime+m.records, size)
	}
	return m.close()
}

// At makes a batch with one record for each of the times.
func (m *Maker) At(times ...int64) []byte {
	m.builder.Reset()
	for _, time := range times {
		m.add(time, 100)
	}
	return m.close()
}

func (m *Maker) add(time int64, size int) {
	m.records++
	rng := rand.New(rand.NewPCG(uint64(m.records), 2))
	value := make([]byte, 0, size+8)
	for len(value) < size {
		value = fmt.Appendf(value, "%016x", rng.Uint64())
	}
	m.builder.Add(time, fmt.Appendf(nil, "record %d", m.records), value[:size])
}

func (m *Maker) close() []byte {
	m.builder.Close(0)
	return bytes.Clone(m.builder.Bytes())
}

// A Stored is a batch as a log has it.
type Stored struct {
	Base, Next int64 // offsets: of the first record, and after the last
	Bytes      []byte
}

// Split returns copies of the batches that lie end to end in p.
func Split(p []byte) ([]Stored, error) {
	var list []Stored
	for rest := bytes.Clone(p); len(rest) > 0; {
		b, after, err := batch.Next(rest)
		if err != nil {
			return list, err
		}
		list = append(list, Stored{b.BaseOffset(), b.NextOffset(), b})
		rest = after
	}
	return list, nil
}

// MaxTime is the latest time in the header.
func (s Stored) MaxTime() int64 { return batch.Batch(s.Bytes).MaxTimestamp() }
