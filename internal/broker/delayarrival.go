package broker

import (
	"encoding/binary"
	"errors"
	"time"

	"mbus/internal/batch"
	"mbus/internal/store"
)

// A data directory that is copied while the broker works has each of its files as it was
// at another moment. So the copy of the log of delayed messages may say that a message has
// been delivered that the copy of its topic does not have yet. For that reason a note says
// where messages have been put, and what was delivered is kept for a while: at the start
// messages that are not where they were put are delivered again.

// keepDelivered is how long messages are kept that have been delivered, unless they are
// more than Limits.CompactDelayed: as long as a copy of the directory may take.
const keepDelivered = time.Hour

// headerArrival is the header of a note that has the arrival.
const headerArrival = "to"

// An arrival says where messages have been put: the last one is before the offset end of
// the target. The zero value says that they were dropped or moved.
type arrival struct {
	target
	end int64
}

const arrivalSize = 16 + 4 + 8

// headers are those of a note.
func (a arrival) headers() []batch.Header {
	if a.end == 0 {
		return nil
	}
	p := append(make([]byte, 0, arrivalSize), a.topic[:]...)
	p = binary.BigEndian.AppendUint32(p, a.partition)
	return []batch.Header{{Key: headerArrival, Value: binary.BigEndian.AppendUint64(p, uint64(a.end))}}
}

// parseArrival reads the headers of a note; the zero value stands for none.
func parseArrival(r *batch.Record) (a arrival) {
	for k, v := range r.Headers() {
		if string(k) == headerArrival && len(v) == arrivalSize {
			a.topic = [16]byte(v)
			a.partition = binary.BigEndian.Uint32(v[16:])
			a.end = int64(binary.BigEndian.Uint64(v[20:]))
		}
	}
	return a
}

// latestArrivals is how many of the latest notes of a partition may be found not to have
// arrived.
const latestArrivals = 1000

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
	runs := l.arrivals[a.target]
	if len(runs) == 2*latestArrivals {
		runs = append(runs[:0], runs[latestArrivals:]...)
	}
	l.arrivals[a.target] = append(runs, deliveredRun{a.end, from, len(l.delivered)})
}

// ends are those of all partitions.
func (b *Broker) ends() map[target]int64 {
	all := make(map[target]int64)
	for _, t := range b.Topics() {
		for i, p := range t.Partitions() {
			_, end := p.Offsets()
			all[target{t.ID, uint32(i)}] = end
		}
	}
	return all
}

// recall takes those offsets from what has been delivered whose messages are not where
// they were put. The logs ended at ends when the broker was made.
func (b *Broker) recall(l *replayed, ends map[target]int64) {
	for t, runs := range l.arrivals {
		messages := 0
		for i := len(runs) - 1; i >= 0 && !b.holds(t, runs[i].end-1, ends); i-- {
			for j := runs[i].from; j < runs[i].to; j++ {
				l.delivered[j] = -1
			}
			messages += runs[i].to - runs[i].from
		}
		if messages > 0 {
			b.Log.Warn("delayed messages are delivered again, because the log of their topic ends before them: the data directory is an incomplete copy, or damaged",
				"topic", b.topicName(t.topic), "partition", t.partition, "messages", messages)
		}
	}
}

// holds says whether a log has the record at an offset, or has had it: what was trimmed
// since counts, and so does a topic that is gone.
func (b *Broker) holds(t target, offset int64, ends map[target]int64) bool {
	topic, err := b.TopicByID(t.topic)
	if err != nil {
		return true
	}
	all := topic.Partitions()
	if int(t.partition) >= len(all) || offset >= ends[t] {
		return false
	}
	log := all[t.partition]
	if start, _ := log.Offsets(); offset < start {
		return true
	}
	found := false
	err = walk(log, offset, stopAt, func(bt batch.Batch) (bool, error) {
		found = bt.BaseOffset() <= offset
		return false, nil
	})
	if _, lacks := missingUntil(err); err != nil && !lacks {
		found = !errors.Is(err, store.ErrOutOfRange) // it can't be told now
	}
	return found
}

// topicName is the name of a topic, for people.
func (b *Broker) topicName(id [16]byte) string {
	t, err := b.TopicByID(id)
	if err != nil {
		return "?"
	}
	return t.Name
}

// cut says to which offset the log may be trimmed, now that nothing before base waits; 0
// if there is time. What has been delivered stays for a while. The caller holds mu.
func (d *delays) cut(base int64, now time.Time) int64 {
	d.log.hide(base)
	if d.bytes >= d.keepDelivered {
		d.bytes, d.messages, d.floor = 0, 0, 0
		d.delivered = deliveredUpTo{}
		return base
	}
	earlier := d.delivered
	if earlier.base > 0 && now.Sub(earlier.at) < keepDelivered {
		return 0
	}
	d.bytes -= earlier.bytes
	d.messages -= earlier.messages
	d.floor = 0
	d.delivered = deliveredUpTo{base, now, d.bytes, d.messages}
	return earlier.base
}

// A deliveredUpTo is an offset of the log of delayed messages before which nothing waited,
// when that was, and what was in the log then. The zero value is none.
type deliveredUpTo struct {
	base     int64
	at       time.Time
	bytes    int64
	messages int
}
