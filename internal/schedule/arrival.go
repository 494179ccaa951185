package schedule

import (
	"encoding/binary"

	"mbus/internal/batch"
)

// A data directory that is copied while the broker works has each of its files as it was
// at another moment. So the copy of the log of delayed messages may say that a message has
// been delivered that the copy of its topic does not have yet. For that reason a note says
// where messages have been put, and what was delivered is kept for a while: at the start
// messages that are not where they were put are delivered again.

// headerArrival is the header of a note that has the arrival.
const headerArrival = "to"

// An arrival says where messages have been put: the last one is before the offset end of
// the target. The zero value says that they were dropped or moved.
type arrival struct {
	Target
	end int64
}

const arrivalSize = 16 + 4 + 8

// headers are those of a note.
func (a arrival) headers() []batch.Header {
	if a.end == 0 {
		return nil
	}
	p := append(make([]byte, 0, arrivalSize), a.Topic[:]...)
	p = binary.BigEndian.AppendUint32(p, a.Partition)
	return []batch.Header{{Key: headerArrival, Value: binary.BigEndian.AppendUint64(p, uint64(a.end))}}
}

// parseArrival reads the headers of a note; the zero value stands for none.
func parseArrival(r *batch.Record) (a arrival) {
	for k, v := range r.Headers() {
		if string(k) == headerArrival && len(v) == arrivalSize {
			a.Topic = [16]byte(v)
			a.Partition = binary.BigEndian.Uint32(v[16:])
			a.end = int64(binary.BigEndian.Uint64(v[20:]))
		}
	}
	return a
}

// A deliveredRun is where the offsets of a note are among those that have been delivered.
type deliveredRun struct {
	end      int64 // of the arrival
	from, to int   // of replayed.delivered
}

// arrived notes an arrival of the offsets that have been read since from.
func (l *replayed) arrived(a arrival, from int) {
	if a.end == 0 {
		return
	}
	runs := l.arrivals[a.Target]
	if len(runs) == 2*latestArrivals {
		runs = append(runs[:0], runs[latestArrivals:]...)
	}
	l.arrivals[a.Target] = append(runs, deliveredRun{a.end, from, len(l.delivered)})
}

// recall has those messages wait again that were delivered, and that their partition does
// not have.
func (s *Schedule) recall(l *replayed, holds func(Target, int64) bool) {
	for t, runs := range l.arrivals {
		messages := 0
		for i := len(runs) - 1; i >= 0 && !holds(t, runs[i].end-1); i-- {
			for j := runs[i].from; j < runs[i].to; j++ {
				l.delivered[j] = -1
			}
			messages += runs[i].to - runs[i].from
		}
		if messages > 0 {
			name, _ := s.Topics.Name(t.Topic)
			s.Report.Warn("delayed messages are delivered again, because the log of their topic ends before them: the data directory is an incomplete copy, or damaged",
				"topic", name, "partition", t.Partition, "messages", messages)
		}
	}
}
