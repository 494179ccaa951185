package web

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"mbus/internal/broker"
	"mbus/internal/delivery"
	"mbus/internal/units"
)

// lastEventID is the header by which a client of events says what it has seen.
const lastEventID = "Last-Event-ID"

// resume has events begin where their client has seen the last one. The id of an event is where its
// client goes on, in each partition, as the parameter from takes it.
//
// A replay goes on there. In a group each message counts as consumed when the client's system has
// it, so what the group has consumed behind the last event is sent again, to this client only, and
// then what the group has not consumed.
func (c consumeRequest) resume(k *consumer) error {
	o := k.options
	last, err := c.lastSeen()
	if err != nil {
		return err
	}
	if last != nil && o.From != nil {
		o.From = last
	}
	t, err := o.Find()
	if errors.Is(err, broker.ErrUnknownTopic) {
		return nil // all messages will be new
	}
	if err != nil {
		return err
	}
	switch {
	case o.From != nil:
		return k.setPlaces(t)
	case last != nil:
		k.sink.places = placesOf(last)
		return k.replayFrom(t, last)
	}
	return nil
}

// lastSeen reads the header; nil for none.
func (c consumeRequest) lastSeen() (*units.Position, error) {
	id := c.r.Header.Get(lastEventID)
	if id == "" {
		return nil, nil
	}
	p, err := units.ParsePosition(id, time.Time{}, time.UTC)
	if err != nil || p.Partitions == nil {
		return nil, badRequest("header %s: it takes the id of an event of this topic, not %q", lastEventID, id)
	}
	return p, nil
}

// setPlaces has a replay begin at an offset in each partition, so that the first id tells where to go
// on in all of them.
func (k *consumer) setPlaces(t *broker.Topic) error {
	o, logs := k.options, t.Partitions()
	if err := delivery.CheckFrom(o.From, len(logs)); err != nil {
		return err
	}
	for i, log := range logs {
		if o.Partitions != nil && !slices.Contains(o.Partitions, i) {
			continue
		}
		at, err := delivery.OffsetFrom(o.From, i, log)
		if err != nil {
			return err
		}
		k.sink.places.set(i, at)
	}
	if len(k.sink.places) > 0 {
		o.From = k.sink.places.position()
	}
	return nil
}

// replayFrom has the client get again what the group has consumed behind a position.
func (k *consumer) replayFrom(t *broker.Topic, last *units.Position) error {
	o, logs := k.options, t.Partitions()
	if err := delivery.CheckFrom(last, len(logs)); err != nil {
		return err
	}
	again := &delivery.Options{
		View: o.View, Port: o.Port, Topic: o.Topic, Find: o.Find, Client: o.Client, N: o.N,
		From: &units.Position{Partitions: make(map[int]int64)}, To: make(map[int]int64),
	}
	for _, i := range slices.Sorted(maps.Keys(last.Partitions)) {
		pos, err := o.View.Position(o.Group, t, i)
		if err != nil {
			return err
		}
		end := pos.ConsumedEnd()
		pos.Close()
		start, _ := logs[i].Offsets()
		if at := max(start, last.Partitions[i]); at < end {
			again.From.Partitions[i], again.To[i] = at, end
			again.Partitions = append(again.Partitions, i)
		}
	}
	if again.Partitions != nil {
		k.again = again
	}
	return nil
}

// Places are positions in partitions.
type places []place

type place struct {
	partition int
	offset    int64
}

// placesOf are those of a position that names partitions.
func placesOf(p *units.Position) (all places) {
	for _, i := range slices.Sorted(maps.Keys(p.Partitions)) {
		all = append(all, place{i, p.Partitions[i]})
	}
	return all
}

// position is the places as a position.
func (p places) position() *units.Position {
	at := &units.Position{Partitions: make(map[int]int64, len(p))}
	for _, place := range p {
		at.Partitions[place.partition] = place.offset
	}
	return at
}

// set sets the position in a partition.
func (p *places) set(partition int, offset int64) {
	for i := range *p {
		if (*p)[i].partition == partition {
			(*p)[i].offset = offset
			return
		}
	}
	*p = append(*p, place{partition, offset})
}

// append appends the positions as the parameter from takes them.
func (p places) append(dst []byte) []byte {
	for i, at := range p {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(strconv.AppendInt(dst, int64(at.partition), 10), ':')
		dst = strconv.AppendInt(dst, at.offset, 10)
	}
	return dst
}
