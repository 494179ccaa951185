package delivery

import (
	"cmp"
	"slices"

	"mbus/internal/batch"
	"mbus/internal/group"
)

// A stretch is what a session takes next of what is loaded: a span of offsets, and which of
// them have records.
type stretch struct {
	group.Span
	runs    []group.Span // of offsets that have records, ascending
	records int64
	bytes   int64 // of these records, about
}

// add notes records of a batch, at offsets in a row.
func (s *stretch) add(b batch.Batch, run group.Span) {
	if run.Len() <= 0 {
		return
	}
	s.records += run.Len()
	s.bytes += int64(len(b)) * run.Len() / int64(b.Count())
	if i := len(s.runs) - 1; i >= 0 && s.runs[i].To == run.From {
		s.runs[i].To = run.To
	} else {
		s.runs = append(s.runs, run)
	}
}

// hasMessages says whether a batch has records for consumers: one that stands for removed
// records has none, and those of a control batch are the broker's.
func hasMessages(b batch.Batch) bool { return b.Count() > 0 && !b.IsControl() }

// stretch finds in what is loaded what can be taken of a free span: most records at most, and
// the offsets without a record that follow them. A *broker.DamageError says that the
// first batch can't be decoded.
func (s *sender) stretch(p *partition, free group.Span, most int64) (stretch, error) {
	if s.spans == nil {
		s.spans = s.oneSpan[:0]
	}
	x := stretch{Span: group.Span{From: free.From, To: free.From}, runs: s.spans[:0]}
	for loaded := s.loader.loaded; x.To < free.To && x.records < most; {
		b, rest, err := batch.Next(loaded)
		if err != nil {
			break
		}
		if loaded = rest; b.NextOffset() <= x.To {
			continue
		}
		end := min(free.To, b.NextOffset())
		from := min(end, max(x.To, b.BaseOffset()))
		switch {
		case !hasMessages(b):
			x.To = end
		case int64(b.LastOffsetDelta()) == int64(b.Count())-1: // the usual case: no offset is missing
			x.To = min(end, from+most-x.records)
			x.add(b, group.Span{From: from, To: x.To})
		default:
			if err := s.sparse(&x, p, b, group.Span{From: from, To: end}, most); err != nil {
				if x.To > free.From {
					return x, nil // what is before it comes first
				}
				return x, err
			}
		}
	}
	s.spans = x.runs
	return x, nil
}

// sparse is stretch for the part in span of a batch in which offsets are missing.
func (s *sender) sparse(x *stretch, p *partition, b batch.Batch, span group.Span, most int64) error {
	l := &s.loader
	if err := l.beginSlot(b); err != nil {
		return err
	}
	defer l.endSlot()
	err := l.expand(b)
	for err == nil && l.it.Next() {
		o := l.it.Record().Offset
		if o < span.From {
			continue
		}
		if o >= span.To {
			break
		}
		if x.records == most {
			x.To = o
			return nil
		}
		x.add(b, group.Span{From: o, To: o + 1})
	}
	if err == nil {
		err = l.it.Err()
	}
	if err != nil {
		x.cutAt(span.From)
		return undecodable(s.sub.topic.Name, p.number, b.BaseOffset(), b.NextOffset(), err)
	}
	x.To = span.To
	return nil
}

// cutAt forgets the records from an offset on.
func (s *stretch) cutAt(offset int64) {
	for i := len(s.runs) - 1; i >= 0 && s.runs[i].To > offset; i-- {
		run := &s.runs[i]
		left := max(run.From, offset)
		s.records -= run.To - left
		if run.To = left; run.Len() == 0 {
			s.runs = s.runs[:i]
		}
	}
}

// holeBehind is where the offsets without a record end that follow the record at offset; they
// are none where that is the next offset.
func (s *stretch) holeBehind(offset int64) int64 {
	i, _ := slices.BinarySearchFunc(s.runs, offset+1, func(run group.Span, o int64) int { return cmp.Compare(run.To, o) })
	switch {
	case i == len(s.runs) || offset+1 < s.runs[i].To:
		return offset + 1
	case i+1 < len(s.runs):
		return s.runs[i+1].From
	}
	return s.To
}
