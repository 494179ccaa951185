package broker

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"mbus/internal/batch"
	"mbus/internal/group"
	"mbus/internal/message"
	"mbus/internal/store"
)

// RedriveGroup is the group that redrives take dead letters in, unless another one is asked
// for: one that nobody looks at dead letters with.
const RedriveGroup = "redrive"

// A StayError says why a dead letter can't go back, and stays where it is; others may.
type StayError struct {
	Reason string // in words that follow on "it stays because"
	Do     string // what to do about it
	Busy   bool   // it is only for now
}

func (e *StayError) Error() string { return e.Reason + "; " + e.Do }

// What to do about letters that stay.
const (
	doPublish = "redrive with to=all publishes again, for all groups"
	doByHand  = "publish by hand what is still wanted"
)

// A Letter is a dead letter: a message, and where it came from.
type Letter struct {
	*batch.Record
	Topic     string
	Partition int
	Offset    int64
	Group     string // that has failed it; "" for a letter that a client made
}

// ReadLetter is the letter that a message of a topic of dead letters is; with forAll
// nothing but its topic is read. The error is a *StayError if its headers don't say where
// it came from. Of a header that is there several times the last counts: the message may
// have been a dead letter before.
func ReadLetter(r *batch.Record, forAll bool) (Letter, error) {
	l := Letter{Record: r}
	said := make(map[string]string)
	for k, v := range r.Headers() {
		if isOfLetter(string(k)) {
			said[string(k)] = string(v)
		}
	}
	l.Topic = said[HeaderTopic]
	if name, failed := said[HeaderGroup]; failed && !forAll {
		return l, l.readGroup(name, said)
	}
	return l, headerError(HeaderTopic, l.Topic, message.CheckName("topic", l.Topic))
}

// readGroup reads which message of which group has failed.
func (l *Letter) readGroup(name string, said map[string]string) error {
	partition, errPartition := strconv.ParseInt(said[HeaderPartition], 10, 32)
	offset, errOffset := strconv.ParseInt(said[HeaderOffset], 10, 64)
	l.Group, l.Partition, l.Offset = name, int(partition), offset
	for _, wrong := range []error{
		headerError(HeaderTopic, l.Topic, checkOrigin(l.Topic)),
		headerError(HeaderGroup, l.Group, message.CheckName("group", l.Group)),
		headerError(HeaderPartition, said[HeaderPartition], orNegative(errPartition, partition)),
		headerError(HeaderOffset, said[HeaderOffset], orNegative(errOffset, offset)),
	} {
		if wrong != nil {
			return wrong
		}
	}
	return nil
}

// checkOrigin says whether messages of a topic can become dead letters. Letters that claim to
// be of others, which the broker does not make, could have a redrive reopen what it has just
// consumed, again and again.
func checkOrigin(topic string) error {
	if err := message.CheckName("topic", topic); err != nil {
		return err
	}
	if !HasDeadLetters(topic) {
		return errNoLetters
	}
	return nil
}

var errNoLetters = errors.New("a topic that has no dead letters")

var errNegative = errors.New("negative")

func orNegative(err error, n int64) error {
	if err == nil && n < 0 {
		return errNegative
	}
	return err
}

// headerError says that a header has no value that will do, if err is not nil.
func headerError(name, value string, err error) error {
	if err == nil {
		return nil
	}
	if value == "" {
		return &StayError{Reason: "no header " + name + ", which the broker gives to dead letters", Do: doByHand}
	}
	return &StayError{Reason: fmt.Sprintf("header %s is %q", name, brief(value)), Do: doByHand}
}

// brief is the beginning of what a client gave.
func brief(s string) string {
	const most = 60
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// isOfLetter says whether a header is one that a dead letter has beyond its own.
func isOfLetter(header string) bool {
	switch header {
	case HeaderTopic, HeaderPartition, HeaderOffset, HeaderGroup, HeaderAttempts, HeaderReason:
		return true
	}
	return false
}

// Message appends the letter's message as a batch of its own, as it was before it died, and
// due at once.
func (l Letter) Message(b *batch.Builder) {
	var headers []batch.Header
	for k, v := range l.Headers() {
		if key := string(k); !isOfLetter(key) && !strings.EqualFold(key, HeaderDeliverAt) {
			headers = append(headers, batch.Header{Key: key, Value: v})
		}
	}
	b.Add(l.Timestamp, l.Key, l.Value, headers...)
	b.Close(0)
}

// A Redrive gives dead letters back to the groups that failed them. It uses these, so that
// no Kafka client joins meanwhile, until Close. It is for one goroutine.
type Redrive struct {
	view   *View
	client string
	uses   map[string]func()
}

// NewRedrive is one on behalf of a client, as people are told.
func (v *View) NewRedrive(client string) *Redrive {
	return &Redrive{view: v, client: client, uses: make(map[string]func())}
}

// Close lets go of the groups.
func (r *Redrive) Close() {
	for _, leave := range r.uses {
		leave()
	}
	clear(r.uses)
}

// Return has the group that failed a letter get its message again, and no other group:
// durably with the next AwaitPositions. The error is a *StayError, or says why no letter can
// be returned now.
func (r *Redrive) Return(l Letter) error {
	t, err := r.view.original(l)
	if err != nil {
		return err
	}
	if err := r.use(l.Group); err != nil {
		return err
	}
	return r.reopen(t, l)
}

// reopen is Return for a letter of which the topic was found.
func (r *Redrive) reopen(t *Topic, l Letter) error {
	p, err := r.view.Position(l.Group, t, l.Partition)
	if err != nil {
		return err
	}
	defer p.Close()
	if p.Key().Topic != l.Topic { // kept nowhere
		return noTopicError(l)
	}
	switch err := p.Reopen(l.Offset); {
	case errors.Is(err, group.ErrNoPosition):
		return &StayError{Reason: fmt.Sprintf("group %q has no position in topic %q any more", l.Group, l.Topic), Do: doPublish}
	case errors.Is(err, group.ErrAssigned):
		return &StayError{Reason: fmt.Sprintf("Kafka clients were the last in group %q, and would get all that lies behind, too", l.Group), Do: doPublish}
	case errors.Is(err, group.ErrFull):
		return &StayError{Reason: fmt.Sprintf("group %q has as many messages open that lie between others as it can remember", l.Group), Do: "redrive again when these are consumed", Busy: true}
	case errors.Is(err, group.ErrDying):
		return &StayError{Reason: "the broker is just about to settle the message", Do: "redrive again", Busy: true}
	default:
		return err
	}
}

// use makes the redrive a member of a group.
func (r *Redrive) use(name string) error {
	if r.uses[name] != nil {
		return nil
	}
	u := UseLine
	u.Client = r.client
	leave, err := r.view.UseGroup(name, u)
	if err != nil {
		return &StayError{Reason: err.Error(), Do: "redrive again when they have left, or with to=all, which publishes for all groups", Busy: true}
	}
	r.uses[name] = leave
	return nil
}

// original finds the topic that a letter came from, with the letter's message in its place.
func (v *View) original(l Letter) (*Topic, error) {
	t, err := v.Topic(l.Topic, Read)
	switch {
	case errors.Is(err, ErrDenied):
		return nil, err
	case errors.Is(err, store.ErrUnusable):
		return nil, &StayError{Reason: err.Error(), Do: "redrive again when the topic can be used"}
	case err != nil:
		return nil, noTopicError(l)
	case l.Partition >= len(t.Partitions()):
		return nil, &StayError{Reason: fmt.Sprintf("topic %q has no partition %d", l.Topic, l.Partition), Do: doPublish}
	}
	log := t.Partitions()[l.Partition]
	if start, end := log.Offsets(); l.Offset < start || l.Offset >= end {
		return nil, goneError(l)
	}
	same := false
	err = WithRecord(log, l.Offset, func(r *batch.Record) error {
		same = l.isOf(r)
		return nil
	})
	var hole *HoleError
	switch {
	case IsMissing(err), errors.As(err, &hole):
		return nil, goneError(l)
	case err != nil:
		return nil, err
	case !same:
		return nil, &StayError{Reason: fmt.Sprintf("topic %q has another message in that place: the topic was made anew since", l.Topic), Do: doPublish}
	}
	return t, nil
}

func noTopicError(l Letter) error {
	return &StayError{Reason: fmt.Sprintf("there is no topic %q", l.Topic), Do: doPublish}
}

func goneError(l Letter) error {
	return &StayError{Reason: fmt.Sprintf("the message is not in topic %q any more", l.Topic), Do: doPublish}
}

// isOf says whether a record is the message that a letter was made of. The log of the
// letters may have given it a time of its own.
func (l Letter) isOf(r *batch.Record) bool {
	return sameBytes(l.Key, r.Key) && sameBytes(l.Value, r.Value) && (l.AppendTime || l.Timestamp == r.Timestamp)
}

func sameBytes(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }
