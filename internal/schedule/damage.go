package schedule

import (
	"fmt"

	"mbus/internal/store"
)

// An offsetRange is the offsets from first up to but not including next.
type offsetRange struct{ first, next int64 }

// A damage is the part of the log that can't be read.
type damage struct {
	at       offsetRange     // from the first damaged offset to the last; empty for none
	reported map[string]bool // reasons
	unread   bool            // the log could not be read after a start
}

// drop gives up a damaged message that waited at an offset.
func (s *Schedule) drop(offset int64, err error) {
	s.mu.Lock()
	s.usage.left--
	s.mu.Unlock()
	s.reportDamage(offsetRange{offset, offset + 1}, err)
}

// reportDamage reports damage of the log once: at these offsets, unless err names others.
// Damaged messages are not delivered before a restart.
func (s *Schedule) reportDamage(at offsetRange, err error) {
	if first, next, ok := store.Missing(err); ok {
		at = offsetRange{first, next}
	} else {
		err = fmt.Errorf("%s/0: offsets %d to %d: %w", Topic, at.first, at.next-1, err)
	}
	s.mu.Lock()
	d := &s.damage
	if d.at.next == 0 {
		d.at = at
	}
	d.at = offsetRange{min(d.at.first, at.first), max(d.at.next, at.next)}
	known := d.reported[err.Error()]
	d.reported[err.Error()] = true
	s.mu.Unlock()
	if !known {
		s.Report.Error("delayed messages are damaged, and will not be delivered: copy the log of their topic if they are needed, because it is trimmed when it is large",
			"topic", Topic, "partition", 0, "first", at.first, "next", at.next, "trimmed-at-bytes", damageFactor*s.CompactBytes, "reason", err)
	}
}

// keepsDamage says whether the log may not be trimmed to an offset, because it is damaged
// before that, or has not been read. The caller holds mu.
func (s *Schedule) keepsDamage(cut int64) bool {
	d := &s.damage
	return d.unread || d.at.next > 0 && d.at.first < cut && s.log.Size() < damageFactor*s.CompactBytes
}

// trim trims the log.
func (s *Schedule) trim(cut int64) error {
	if err := s.log.Trim(cut); err != nil {
		return err
	}
	s.mu.Lock()
	past := s.damage.at
	if past.next > cut {
		past.next = 0
	}
	if past.next > 0 {
		s.damage.at = offsetRange{}
	}
	s.mu.Unlock()
	if past.next > 0 {
		s.Report.Warn("the log of delayed messages was too large to keep its damaged part, which is removed", "topic", Topic, "partition", 0, "first", past.first, "last", past.next-1)
	}
	return nil
}
