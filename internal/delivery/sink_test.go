package delivery

import (
	"bytes"
	"sync"
	"testing"
	"time"
)

// A memory is a Sink that keeps lines.
type memory struct {
	mu       sync.Mutex // guards what follows
	out      []byte     // what was appended and not flushed
	lines    []string   // what was flushed
	confirms []Range    // that are durable; a count is from 1
	changed  chan struct{}
	broken   error // of the transport, from now on
	onFlush  func(onStall func())
	written  int64
}

func (m *memory) Append(s *Messages) (next int64, full bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	it, err := s.Records()
	if err != nil {
		return s.From, false, err
	}
	for it.Next() {
		r := it.Record()
		if r.Offset < s.From || r.Offset >= s.To {
			continue
		}
		m.out = append(append(m.out, r.Value...), '\n')
		if m.onFlush != nil && r.Offset%7 == 6 { // a small buffer
			return r.Offset + 1, true, nil
		}
	}
	return s.To, false, it.Err()
}

func (m *memory) Confirm(count uint64, ranges []Range) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if count > 0 {
		m.confirms = append(m.confirms, Range{1, count})
	}
	m.confirms = append(m.confirms, ranges...)
	m.change()
}

func (m *memory) Flush(_ time.Duration, onStall func()) error {
	if m.onFlush != nil {
		m.onFlush(onStall)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return m.broken
	}
	m.written += int64(len(m.out))
	for line := range bytes.Lines(m.out) {
		m.lines = append(m.lines, string(bytes.TrimSuffix(line, []byte("\n"))))
	}
	m.out = m.out[:0]
	m.change()
	return nil
}

// await waits until the sink is as it must be; holds is called with mu held.
func (m *memory) await(t testing.TB, holds func() bool) {
	t.Helper()
	for late := time.After(patience); ; {
		m.mu.Lock()
		if holds() {
			m.mu.Unlock()
			return
		}
		if m.changed == nil {
			m.changed = make(chan struct{})
		}
		changed := m.changed
		m.mu.Unlock()
		select {
		case <-changed:
		case <-late:
			t.Fatalf("got %q, and no more", m.lines)
		}
	}
}

// change wakes those that await something of the sink. The caller holds mu.
func (m *memory) change() {
	if m.changed != nil {
		close(m.changed)
		m.changed = nil
	}
}

func (m *memory) Written() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.written
}

func (m *memory) Received() (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.written, m.broken
}

func (m *memory) Cut()               {}
func (m *memory) TakesBatches() bool { return false }
func (m *memory) ReleaseBuffers()    {}
