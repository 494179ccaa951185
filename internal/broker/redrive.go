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

// RedriveGroup is the group in which redrives consume dead letters by default: no reader of
// dead letters has it.
const RedriveGroup = "redrive"

// A StayError is the reason why a dead letter stays where it is. Other letters may go back.
type StayError struct {
	Reason string // follows "it stays because"
	Do     string // advice
	Busy   bool   // a later attempt may succeed
}

func (e *StayError) Error() string { return e.Reason + "; " + e.Do }

// Advice for letters that stay.
const (
	doPublish = "redrive with to=all publishes again, for all groups"
	doByHand  = "publish by hand what is still wanted"
)

// A Letter is a dead letter: a message, and its origin.
type Letter struct {
	*batch.Record
	Topic     string
	Partition int
	Offset    int64
	Group     string // that failed the message; "" for a letter that a client made
}

// ReadLetter reads a message as a letter; with forAll only its topic. The error is a *StayError
// if its headers lack the origin. The last header of a name counts: the message may have been
// a dead letter before.
func ReadLetter(r *batch.Record, forAll bool) (Letter, error) {
	l := Letter{Record: r}
	values := make(map[string]string)
	for k, v := range r.Headers() {
		if isOfLetter(string(k)) {
			values[string(k)] = string(v)
		}
	}
	l.Topic = values[HeaderTopic]
	if name, failed := values[HeaderGroup]; failed && !forAll {
		return l, l.readGroup(name, values)
	}
	return l, headerError(HeaderTopic, l.Topic, message.CheckName("topic", l.Topic))
}

// readGroup reads the group and the offset of a letter.
func (l *Letter) readGroup(name string, values map[string]string) error {
	partition, errPartition := strconv.ParseInt(values[HeaderPartition], 10, 32)
	offset, errOffset := strconv.ParseInt(values[HeaderOffset], 10, 64)
	l.Group, l.Partition, l.Offset = name, int(partition), offset
	for _, wrong := range []error{
		headerError(HeaderTopic, l.Topic, checkOrigin(l.Topic)),
		headerError(HeaderGroup, l.Group, message.CheckName("group", l.Group)),
		headerError(HeaderPartition, values[HeaderPartition], orNegative(errPartition, partition)),
		headerError(HeaderOffset, values[HeaderOffset], orNegative(errOffset, offset)),
	} {
		if wrong != nil {
			return wrong
		}
	}
	return nil
}

// checkOrigin returns an error if messages of a topic can't become dead letters. The broker
// makes no such letters: a client's could make a redrive reopen its own letters without end.
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

// headerError is a *StayError for a header whose value is wrong, nil if err is nil.
func headerError(name, value string, err error) error {
	if err == nil {
		return nil
	}
	if value == "" {
		return &StayError{Reason: "no header " + name + ", which the broker gives to dead letters", Do: doByHand}
	}
	return &StayError{Reason: fmt.Sprintf("header %s is %q", name, brief(value)), Do: doByHand}
}

// brief is the beginning of a client's text.
func brief(s string) string {
	const most = 60
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// isOfLetter reports whether a header is one that the broker gives to dead letters.
func isOfLetter(header string) bool {
	switch header {
	case HeaderTopic, HeaderPartition, HeaderOffset, HeaderGroup, HeaderAttempts, HeaderReason:
		return true
	}
	return false
}

// Message appends the letter's message as a batch of its own, without the headers of a letter,
// and due at once.
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

// A Redrive gives dead letters back to the groups that failed them. It is a member of these
// groups until Close, so that no Kafka client joins meanwhile. It is for one goroutine.
type Redrive struct {
	view   *View
	client string
	uses   map[string]func()
}

// NewRedrive is one for a client, whose name is shown to people.
func (v *View) NewRedrive(client string) *Redrive {
	return &Redrive{view: v, client: client, uses: make(map[string]func())}
}

// Close leaves the groups.
func (r *Redrive) Close() {
	for _, leave := range r.uses {
		leave()
	}
	clear(r.uses)
}

// Return gives a letter's message back to the group that failed it, and to no other group. That
// is durable after the next AwaitPositions. The error is a *StayError, or the reason why no
// letter can be returned now.
func (r *Redrive) Return(l Letter) error {
	t, err := r.original(l)
	if err != nil {
		return err
	}
	if err := r.use(l.Group); err != nil {
		return err
	}
	return r.reopen(t, l)
}

// reopen is Return for a letter whose topic was found.
func (r *Redrive) reopen(t *Topic, l Letter) error {
	p, err := r.view.Position(l.Group, t, l.Partition)
	if err != nil {
		return err
	}
	defer p.Close()
	if p.Key().Topic != l.Topic { // the topic was deleted just now
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

// use joins a group.
func (r *Redrive) use(name string) error {
	if r.uses[name] != nil {
		return nil
	}
	u := UseLine
	u.Client = r.client
	leave, err := r.view.UseGroup(name, u)
	if errors.Is(err, ErrDenied) {
		return err
	}
	if err != nil {
		return &StayError{Reason: err.Error(), Do: "redrive again when they have left, or with to=all, which publishes for all groups", Busy: true}
	}
	r.uses[name] = leave
	return nil
}

// original finds the topic that a letter came from, with the letter's message in its place.
func (r *Redrive) original(l Letter) (*Topic, error) {
	t, err := r.view.Topic(l.Topic, Read)
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
		return nil, &StayError{Reason: fmt.Sprintf("topic %q has another message in that place: the topic was deleted and created again", l.Topic), Do: doPublish}
	}
	return t, nil
}

func noTopicError(l Letter) error {
	return &StayError{Reason: fmt.Sprintf("there is no topic %q", l.Topic), Do: doPublish}
}

func goneError(l Letter) error {
	return &StayError{Reason: fmt.Sprintf("the message is not in topic %q any more", l.Topic), Do: doPublish}
}

// isOf reports whether a letter was made of a record. The letters' topic may have stamped it
// with a time of its own.
func (l Letter) isOf(r *batch.Record) bool {
	return sameBytes(l.Key, r.Key) && sameBytes(l.Value, r.Value) && (l.AppendTime || l.Timestamp == r.Timestamp)
}

func sameBytes(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }
