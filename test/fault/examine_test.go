package fault

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/vfs"
)

// A span is offsets of a shelf, from first up to but not including next.
type span struct {
	shelf
	first, next int64
}

// An examination is what was found out about a damaged directory, in two ways that
// must agree: what "broker -verify" says of it, and what a broker serves of it.
type examination struct {
	tally
	missing  []span              // kept batches that were not served
	reported []span              // offsets reported to readers as unreadable
	found    []commitlog.Finding // what -verify says
	failed   error               // -verify's error
	refused  error               // the store did not open
	problem  string              // how the two disagree, or what was silent; empty if nothing was
}

// examine verifies a damaged copy of the specimen, opens it and reads everything.
func (s *specimen) examine(disk vfs.FS) *examination {
	x := &examination{tally: tally{Runs: 1}}
	options := commitlog.Options{FS: disk, SegmentBytes: segmentBytes, JournalBytes: s.journal}
	_, x.failed = commitlog.Verify(specimenRoot, options, func(f commitlog.Finding) { x.found = append(x.found, f) })
	st, err := commitlog.Open(specimenRoot, options)
	if err != nil {
		x.refused = err
		if !x.damaged() {
			x.problem = fmt.Sprintf("-verify finds nothing, the store says %v", err)
		}
		return x
	}
	defer st.Close()
	for _, at := range shelves {
		x.read(st, at, s.logs[at])
	}
	for _, m := range x.missing {
		if !x.verifyHas(m.shelf) {
			x.silent("-verify finds nothing in %+v, which lacks %+v", m.shelf, m)
		}
	}
	return x
}

// damaged says whether -verify's exit code would not be 0.
func (x *examination) damaged() bool {
	return x.failed != nil || slices.ContainsFunc(x.found, func(f commitlog.Finding) bool { return !f.Harmless })
}

func (x *examination) silent(format string, args ...any) {
	if x.problem == "" {
		x.problem = fmt.Sprintf(format, args...)
	}
}

// read compares what a log serves with what it was given.
func (x *examination) read(st store.Store, at shelf, want []kept) {
	served, holes, err := readAll(st, at)
	if err != nil {
		x.silent("reading %+v: %v", at, err)
	}
	x.reported = append(x.reported, holes...)
	for _, k := range want {
		n := int(k.next - k.base)
		x.Acked += n
		got := served[k.base]
		delete(served, k.base)
		switch {
		case bytes.Equal(got, k.bytes):
			x.Read += n
			continue
		case got != nil:
			x.Phantoms += n
			x.silent("%+v serves something else at offset %d", at, k.base)
		case !within(holes, k):
			x.Lost += n
			x.silent("%+v serves nothing for offset %d and does not say so", at, k.base)
		}
		x.missing = append(x.missing, span{at, k.base, k.next})
	}
	for base := range served {
		x.Phantoms++
		x.silent("%+v serves a batch at offset %d that was never given to it", at, base)
	}
}

func within(holes []span, k kept) bool {
	return slices.ContainsFunc(holes, func(h span) bool { return h.first <= k.base && k.next <= h.next })
}

// verifyHas says whether -verify has found damage in a partition.
func (x *examination) verifyHas(at shelf) bool {
	return x.failed != nil || slices.ContainsFunc(x.found, func(f commitlog.Finding) bool {
		return !f.Harmless && f.Topic == at.topic && (f.Partition < 0 || f.Partition == at.partition)
	})
}

// verifySays says whether -verify has listed all these offsets, or says that
// nothing can be known.
func (x *examination) verifySays(m span) bool {
	next := m.first
	for _, f := range x.found {
		switch {
		case f.Harmless || f.Topic != m.topic:
		case f.Partition < 0:
			return true
		case f.Partition == m.partition && f.First <= next:
			next = max(next, f.Next)
		}
	}
	return x.failed != nil || next >= m.next
}

// readAll reads a log past everything that it says is damaged or missing.
func readAll(st store.Store, at shelf) (served map[int64][]byte, holes []span, err error) {
	served = make(map[int64][]byte)
	p, err := st.Partition(at.topic, at.partition)
	if errors.Is(err, store.ErrUnusable) { // each request for it gets the error
		return served, []span{{at, 0, math.MaxInt64}}, nil
	}
	if err != nil {
		return served, nil, err
	}
	var c store.Chunk
	defer c.Release()
	offset, high := p.Offsets()
	for offset < high {
		err := p.Read(offset, 2000, &c)
		var buf []byte
		if err == nil {
			buf, err = c.Load(nil)
		}
		if err != nil {
			hole, ok := holeOf(err)
			if !ok || hole.shelf != at || hole.first > offset || hole.next <= offset {
				return served, holes, fmt.Errorf("at offset %d: %w", offset, err)
			}
			holes = append(holes, hole)
			offset = hole.next
			continue
		}
		for rest := buf; len(rest) > 0; {
			b, after, err := batch.Next(rest)
			if err != nil || b.BaseOffset() > offset || b.NextOffset() <= offset {
				return served, holes, fmt.Errorf("at offset %d come other batches: %v", offset, err)
			}
			served[b.BaseOffset()] = b
			offset, rest = b.NextOffset(), after
		}
	}
	return served, holes, nil
}

func holeOf(err error) (span, bool) {
	if e, ok := errors.AsType[*store.DamageError](err); ok {
		return span{shelf{e.Topic, e.Partition}, e.First, e.Next}, true
	}
	if e, ok := errors.AsType[*store.GapError](err); ok {
		return span{shelf{e.Topic, e.Partition}, e.First, e.Next}, true
	}
	return span{}, false
}

// costs fails the test unless just these batches are missing, and all that are
// missing were reported.
func (x *examination) costs(t *testing.T, what string, want ...span) {
	t.Helper()
	switch {
	case x.problem != "":
		t.Errorf("%s: %s", what, x.problem)
	case x.refused != nil:
		t.Errorf("%s: the store does not open: %v", what, x.refused)
	case !slices.Equal(x.missing, want):
		t.Errorf("%s: missing are %+v, want %+v", what, x.missing, want)
	}
	for _, m := range want {
		if !x.verifySays(m) {
			t.Errorf("%s: -verify does not list %+v: %v", what, m, x.found)
		}
	}
}

// The judge must not be blind itself.
func TestExaminationSeesWhatIsSilent(t *testing.T) {
	s := newSpecimen(t, 1, 20, false, nil)
	if x := s.examine(s.clone()); x.problem != "" || x.damaged() || x.Read != x.Acked {
		t.Fatalf("undamaged: %+v", x)
	}
	at := shelves[0]
	for name, change := range map[string]func(all []kept) []kept{
		"lost":    func(all []kept) []kept { return append(all, kept{all[len(all)-1].next, 1 << 40, []byte("x")}) },
		"changed": func(all []kept) []kept { all[3].bytes = flip(all[3].bytes, 700); return all },
		"phantom": func(all []kept) []kept { return slices.Delete(all, 5, 6) },
	} {
		other := *s
		other.logs = map[shelf][]kept{at: change(slices.Clone(s.logs[at])), shelves[1]: s.logs[shelves[1]], shelves[2]: s.logs[shelves[2]]}
		x := other.examine(s.clone())
		if x.problem == "" || x.Lost+x.Phantoms == 0 {
			t.Errorf("%s: %+v", name, x)
		}
	}
}
