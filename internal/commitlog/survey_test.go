package commitlog_test

import (
	"errors"
	"fmt"
	"slices"

	"mbus/internal/batch/batchtest"
	"mbus/internal/store"
)

// A hole is a range of offsets for which readers get an error.
type hole struct {
	first, next int64
	gap         bool // a GapError, not a DamageError
}

// survey reads a log to its end, past everything that can't be read.
func survey(p store.Partition, maxBytes int) (sound []batchtest.Stored, holes []hole, err error) {
	offset, high := p.Offsets()
	var c store.Chunk
	defer c.Release()
	for offset < high {
		var buf []byte
		err := p.Read(offset, maxBytes, &c)
		if err == nil {
			buf, err = c.Load(nil)
		}
		if err != nil {
			h, ok := holeOf(err)
			if !ok || h.first != offset || h.next <= offset {
				return sound, holes, fmt.Errorf("read at %d: %w", offset, err)
			}
			holes = append(holes, h)
			offset = h.next
			continue
		}
		list, err := batchtest.Split(buf)
		if err != nil || len(list) == 0 {
			return sound, holes, fmt.Errorf("read at %d gave %d batches: %w", offset, len(list), err)
		}
		sound = append(sound, list...)
		offset = list[len(list)-1].Next
	}
	return sound, holes, nil
}

func holeOf(err error) (hole, bool) {
	if e, ok := errors.AsType[*store.DamageError](err); ok {
		return hole{e.First, e.Next, false}, e.Topic != "" && e.File != "" && e.Reason != nil
	}
	if e, ok := errors.AsType[*store.GapError](err); ok {
		return hole{e.First, e.Next, true}, e.Topic != ""
	}
	return hole{}, false
}

// shows says whether the log has all that was stored but for these holes,
// whichever way it is read.
func (r *rig) shows(missing ...hole) error {
	want := slices.DeleteFunc(slices.Clone(r.stored), func(b batchtest.Stored) bool {
		return slices.ContainsFunc(missing, func(h hole) bool { return b.Base >= h.first && b.Next <= h.next })
	})
	for _, maxBytes := range []int{1, 2000, 1 << 20} {
		sound, holes, err := survey(r.Partition, maxBytes)
		if err != nil {
			return err
		}
		if !slices.Equal(holes, missing) {
			return fmt.Errorf("reading %d bytes at a time, %+v are missing, want %+v", maxBytes, holes, missing)
		}
		if string(bytesOf(sound)) != string(bytesOf(want)) {
			return fmt.Errorf("reading %d bytes at a time, %d sound batches, want %d", maxBytes, len(sound), len(want))
		}
	}
	for _, b := range want { // each without what was read before
		if err := r.showsAt(b); err != nil {
			return err
		}
	}
	return nil
}

func (r *rig) showsAt(b batchtest.Stored) error {
	for _, offset := range []int64{b.Base, b.Next - 1} {
		var c store.Chunk
		err := r.Read(offset, 1, &c)
		var buf []byte
		if err == nil {
			buf, err = c.Load(nil)
		}
		c.Release()
		if err != nil || string(buf) != string(b.Bytes) {
			return fmt.Errorf("a look-up of %d, which is sound, gives %d bytes: %w", offset, len(buf), err)
		}
	}
	return nil
}
