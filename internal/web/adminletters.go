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
			changes: true, serve: redriveLetters,
		},
		{
			id: "discardLetters", method: http.MethodPost, path: "/topics/{topic}/discard", tag: "Operate",
			summary: "Has dead letters count as consumed: a redrive finds them no more, and retention removes them. The topic ends in .dlq.",
			params:  []param{paramExecute, paramN, paramLetter, paramID},
			answers: asJSON("the letters that were, or would be, discarded", discardReport{}),
			changes: true, serve: discardLetters,
		},
	}
}

// A redriveReport says how many letters a redrive has moved.
type redriveReport struct {
	Executed bool         `json:"executed"`
	Topic    string       `json:"topic"`
	Letters  int64        `json:"letters"` // that there were before, or fewer if fewer were asked for
	Moved    uint64       `json:"moved"`
	Stay     int64        `json:"stay"`
	Reasons  []stayReason `json:"reasons"` // why they stay
	Error    string       `json:"error,omitempty"`
}

// A stayReason is why letters stay.
type stayReason struct {
	Letters int64  `json:"letters"`
	Reason  string `json:"reason"` // "" for others, for which there was no room
}

// A discardReport says how many letters were discarded.
type discardReport struct {
	Executed  bool   `json:"executed"`
	Topic     string `json:"topic"`
	Letters   int64  `json:"letters"`
	Discarded int64  `json:"discarded"`
	Error     string `json:"error,omitempty"`
}

// letterOptions reads what a request about dead letters is about. left is how many letters there
// are for it; a topic that does not exist has none.
func letterOptions(c *call) (o delivery.Options, left int64, execute bool, err error) {
	if execute, err = c.has("execute"); err != nil {
		return o, 0, false, err
	}
	name, err := c.name("topic")
	if err != nil {
		return o, 0, false, err
	}
	if !isOfLetters(name) {
		return o, 0, false, badRequest("the path: topic %q has no dead letters, because its name does not end in %s", name, message.DeadLetters)
	}
	o = delivery.Options{View: c.view, Port: broker.HTTP, Topic: name, Group: broker.RedriveGroup, Client: c.r.RemoteAddr}
	if o.N, err = c.number("n", 1, units.End, 0); err != nil {
		return o, 0, false, err
	}
	t, err := incarnationOf(c, name, broker.Read)
	if err != nil {
		return o, 0, false, err
	}
	o.Find = func() (*broker.Topic, error) { return t, nil }
	letters, err := lettersChosen(c)
	if left = lettersOf(c, t); letters != nil {
		left = leftOf(c, t, letters)
	} else if o.N > 0 {
		left = min(left, o.N)
	}
	return o, left, execute, err
}

// lettersOf counts the letters that were neither moved nor discarded.
func lettersOf(c *call, t *broker.Topic) (n int64) {
	logs := t.Partitions()
	for _, log := range logs {
		start, end := log.Offsets()
		n += end - start
	}
	lags, _ := c.view.Lag(broker.RedriveGroup, t.Name)
	for _, l := range lags {
		if l.Partition < len(logs) { // or the topic is another one by now
			start, end := logs[l.Partition].Offsets()
			n -= end - start - l.Lag
		}
	}
	return max(n, 0)
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

func redriveLetters(c *call) error {
	o, left, execute, err := letterOptions(c)
	if err != nil {
		return err
	}
	to := c.query.Get("to")
	if c.query.Has("to") && to != "group" && to != "all" {
		return badRequest("parameter %q: it takes group or all, not %q", "to", to)
	}
	done := redriveReport{Executed: execute, Topic: o.Topic, Letters: left, Reasons: []stayReason{}}
	if !execute {
		return c.json(http.StatusOK, done)
	}
	if !c.server.finish(c.conn) {
		return errStopping
	}
	defer c.conn.finishes.Store(false)
	letters, err := lettersChosen(c)
	if err != nil {
		return err
	}
	var moved delivery.Redriven
	if letters == nil {
		moved, err = c.server.hub.Redrive(o, to == "all", func(uint64) error { return c.r.Context().Err() })
	} else {
		moved, err = c.server.hub.RedriveSome(o, to == "all", letters)
	}
	done.Moved, done.Stay = moved.Moved, moved.Stays.Total()
	if done.Moved > 0 || done.Stay > 0 {
		c.did("dead letters redriven", "topic", o.Topic, "group", o.Group, "all", to == "all", "moved", done.Moved, "stay", done.Stay)
	}
	for _, s := range moved.Stays.Reasons {
		done.Reasons = append(done.Reasons, stayReason{s.Letters, s.Error()})
	}
	if moved.Stays.Others > 0 {
		done.Reasons = append(done.Reasons, stayReason{moved.Stays.Others, ""})
	}
	if err == nil {
		err = moved.Err()
	}
	if done.Error, err = partial(err, done.Moved > 0 || done.Stay > 0); err != nil {
		return err
	}
	return c.json(http.StatusOK, done)
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

func discardLetters(c *call) error {
	o, left, execute, err := letterOptions(c)
	if err != nil {
		return err
	}
	done := discardReport{Executed: execute, Topic: o.Topic, Letters: left}
	if !execute {
		return c.json(http.StatusOK, done)
	}
	if !c.server.finish(c.conn) {
		return errStopping
	}
	defer c.conn.finishes.Store(false)
	letters, err := lettersChosen(c)
	if err != nil {
		return err
	}
	if letters == nil {
		done.Discarded, err = c.server.hub.Discard(o)
	} else {
		var some delivery.Redriven
		some, err = c.server.hub.DiscardSome(o, letters)
		done.Discarded = int64(some.Moved)
	}
	if done.Discarded > 0 {
		c.did("dead letters discarded", "topic", o.Topic, "group", o.Group, "discarded", done.Discarded)
	}
	if done.Error, err = partial(err, done.Discarded > 0); err != nil {
		return err
	}
	return c.json(http.StatusOK, done)
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
