package web

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"mbus/internal/broker"
	"mbus/internal/delivery"
	"mbus/internal/message"
	"mbus/internal/units"
)

func letterOperations() []operation {
	paramN := param{name: "n", about: "letters at most, the oldest first; all if not given", kind: "integer", example: "1"}
	paramLetter := param{name: "letter", about: "PARTITION:OFFSET of a letter, of each that is meant; it excludes n", example: "0:5", many: true}
	return []operation{
		{
			id: "redriveLetters", method: http.MethodPost, path: "/topics/{topic}/redrive", tag: "Operate",
			summary: "Gives dead letters back to the groups that failed them, or publishes them again for all groups. The topic ends in .dlq.",
			params: []param{
				paramExecute, paramN, paramLetter, paramID,
				{name: "to", about: "group, or all, which publishes them again; group if not given", example: "all"},
			},
			answers: asJSON("the letters that were moved, or would be tried", redriveReport{}),
			changes: true, serve: planned(planRedrive),
		},
		{
			id: "discardLetters", method: http.MethodPost, path: "/topics/{topic}/discard", tag: "Operate",
			summary: "Has dead letters count as consumed: a redrive finds them no more, and retention removes them. The topic ends in .dlq.",
			params:  []param{paramExecute, paramN, paramLetter, paramID},
			answers: asJSON("the letters that were, or would be, discarded", discardReport{}),
			changes: true, serve: planned(planDiscard),
		},
	}
}

// A redriveReport says how many letters a redrive has moved.
type redriveReport struct {
	plan
	Topic   string       `json:"topic"`
	Letters int64        `json:"letters"` // that there were before, or fewer if fewer were asked for
	Moved   uint64       `json:"moved"`
	Stay    int64        `json:"stay"`
	Reasons []stayReason `json:"reasons"` // why they stay
	Error   string       `json:"error,omitempty"`
}

// A stayReason is why letters stay.
type stayReason struct {
	Letters int64  `json:"letters"`
	Reason  string `json:"reason"` // "" for others, for which there was no room
}

// A discardReport says how many letters were discarded.
type discardReport struct {
	plan
	Topic     string `json:"topic"`
	Letters   int64  `json:"letters"`
	Discarded int64  `json:"discarded"`
	Error     string `json:"error,omitempty"`
}

// A choice is dead letters that a request is about.
type choice struct {
	delivery.Options
	some []broker.Place // nil for the oldest, of Options
	left int64          // how many of them were neither moved nor discarded
}

// chooseLetters reads which dead letters a request is about, and in which topic they are.
func chooseLetters(c *call) (*choice, *broker.Topic, error) {
	t, err := incarnation(c, broker.Read)
	if name := c.r.PathValue("topic"); !isOfLetters(name) {
		return nil, nil, badRequest("the path: topic %q has no dead letters, because its name does not end in %s", name, message.DeadLetters)
	}
	if err != nil {
		return nil, nil, err
	}
	l := &choice{Options: delivery.Options{View: c.view, Port: broker.HTTP, Topic: t.Name, Group: broker.RedriveGroup, Client: c.r.RemoteAddr}}
	l.Find = func() (*broker.Topic, error) { return t, nil }
	if l.N, err = c.number("n", 1, units.End, 0); err != nil {
		return nil, nil, err
	}
	if l.some, err = lettersChosen(c); err != nil {
		return nil, nil, err
	}
	if l.left = lettersOf(c.view, t); l.some != nil {
		l.left = leftOf(c, t, l.some)
	} else if l.N > 0 {
		l.left = min(l.left, l.N)
	}
	return l, t, nil
}

// leftOf counts those of some letters that are there, and were neither moved nor discarded.
func leftOf(c *call, t *broker.Topic, letters []broker.Place) (n int64) {
	logs := t.Partitions()
	for _, at := range letters {
		if at.Partition >= len(logs) || broker.IsConsumed(c.view, broker.RedriveGroup, t.Name, at.Partition, at.Offset) {
			continue
		}
		if start, end := logs[at.Partition].Offsets(); at.Offset >= start && at.Offset < end {
			n++
		}
	}
	return n
}

// planRedrive says how many letters would be moved.
func planRedrive(c *call) (*redriveReport, error) {
	l, t, err := chooseLetters(c)
	if err != nil {
		return nil, err
	}
	to := c.query.Get("to")
	if c.query.Has("to") && to != "group" && to != "all" {
		return nil, badRequest("parameter %q: it takes group or all, not %q", "to", to)
	}
	done := &redriveReport{plan: planFor(t), Topic: l.Topic, Letters: l.left, Reasons: []stayReason{}}
	done.do = func() error {
		return moveLetters(c, func() error { return done.redrive(c, l, to == "all") })
	}
	return done, nil
}

// redrive moves letters.
func (done *redriveReport) redrive(c *call, l *choice, toAll bool) (err error) {
	var moved delivery.Redriven
	if l.some == nil {
		moved, err = c.server.hub.Redrive(l.Options, toAll, func(uint64) error { return c.r.Context().Err() })
	} else {
		moved, err = c.server.hub.RedriveSome(l.Options, toAll, l.some)
	}
	done.Moved, done.Stay = moved.Moved, moved.Stays.Total()
	for _, s := range moved.Stays.Reasons {
		done.Reasons = append(done.Reasons, stayReason{s.Letters, s.Error()})
	}
	if moved.Stays.Others > 0 {
		done.Reasons = append(done.Reasons, stayReason{moved.Stays.Others, ""})
	}
	if err == nil {
		err = moved.Err()
	}
	done.Error, err = partial(err, done.Moved > 0 || done.Stay > 0)
	return err
}

// moveLetters moves letters, which a stop of the broker lets go on for a while.
func moveLetters(c *call, move func() error) error {
	if !c.server.finish(c.conn) {
		return errStopping
	}
	defer c.conn.finishes.Store(false)
	return move()
}

// partial makes the error of something that was done in part a member of the answer, so that the
// client gets the numbers, too.
func partial(err error, some bool) (text string, _ error) {
	passed := errors.Is(err, delivery.ErrGap) || errors.Is(err, delivery.ErrDamaged)
	if err != nil && (some || passed) {
		return delivery.Code(err) + " " + err.Error(), nil
	}
	return "", err
}

// planDiscard says how many letters would be discarded.
func planDiscard(c *call) (*discardReport, error) {
	l, t, err := chooseLetters(c)
	if err != nil {
		return nil, err
	}
	done := &discardReport{plan: planFor(t), Topic: l.Topic, Letters: l.left}
	done.do = func() error {
		return moveLetters(c, func() error { return done.discard(c, l) })
	}
	return done, nil
}

// discard has letters count as consumed.
func (done *discardReport) discard(c *call, l *choice) (err error) {
	if l.some == nil {
		done.Discarded, err = c.server.hub.Discard(l.Options)
	} else {
		var some delivery.Redriven
		some, err = c.server.hub.DiscardSome(l.Options, l.some)
		done.Discarded = int64(some.Moved)
	}
	done.Error, err = partial(err, done.Discarded > 0)
	return err
}

// lettersChosen are the places of the letters that the client has named; nil if it has named none.
func lettersChosen(c *call) (all []broker.Place, err error) {
	if c.query.Has("letter") && c.query.Has("n") {
		return nil, badRequest("parameters %q and %q exclude each other", "letter", "n")
	}
	for _, text := range c.query["letter"] {
		partition, offset, _ := strings.Cut(text, ":")
		number, err := strconv.ParseUint(partition, 10, 31)
		at, err2 := strconv.ParseUint(offset, 10, 63)
		if err != nil || err2 != nil {
			return nil, badRequest("parameter %q: it takes PARTITION:OFFSET, not %q", "letter", text)
		}
		all = append(all, broker.Place{Partition: int(number), Offset: int64(at)})
	}
	return all, nil
}
