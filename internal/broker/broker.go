// Package broker has topics, partitions and groups, over any store. It owns validation,
// limits and policy: when topics are created, what retention may remove, how positions are
// kept. It knows no protocol.
package broker

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"mbus/internal/auth"
	"mbus/internal/batch"
	"mbus/internal/message"
	"mbus/internal/schedule"
	"mbus/internal/store"
)

// Options configure New.
type Options struct {
	Limits         Limits        // DefaultLimits, or changed
	Partitions     int           // of topics that are created by their first message; 0 for 1
	NoAutoCreate   bool          // topics are created by request only
	Retention      time.Duration // age at which messages may go; 0 for never
	RetentionBytes int64         // size of a partition from which its oldest messages go; 0 for none

	// RetentionUnread is the age at which messages go although a group that leases messages
	// has not consumed them; 0 for DefaultRetentionUnread, negative for Retention.
	RetentionUnread time.Duration

	// OffsetsRetention is how long the positions of a group are kept without members and
	// commits; 0 for ever.
	OffsetsRetention time.Duration

	// Exposed says that a listener is on an address that is not loopback. The last user can't be deleted then,
	// unless Insecure says that everything may be open. CertificateEnd is the end of the certificate that the
	// listeners have; nil without TLS.
	Exposed, Insecure bool
	CertificateEnd    func() time.Time

	Nodes Nodes // of the cluster; nil for a broker that is alone

	Log *slog.Logger     // nil for none
	Now func() time.Time // the system's clock; nil for time.Now
}

// A Broker is the bus itself. Its methods may be called by any goroutine.
type Broker struct {
	Limits Limits
	Budget Budget
	Log    *slog.Logger
	Stats  Stats

	catalog   *catalog
	offsets   *offsets
	retention *retention

	opts     Options
	fallback *settings // of a topic without a configuration of its own
	store    store.Store
	keeper   *clockKeeper
	work     work

	deadLetters *deadLetters
	schedule    *schedule.Schedule
	waiting     waitingStreams
	ages        ages
	keys        keys
	users       *usersLog
	trail       trail
}

// Errors of the broker, beside those of package store.
var (
	ErrTooManyTopics = errors.New("too many topics")
	ErrInternalTopic = errors.New("the topic is the broker's own: __consumer_offsets, __delayed, some more of Kafka's, and all that begin with __mbus")
	ErrTooLarge      = errors.New("too large")

	// ErrNoAutoCreate wraps store.ErrUnknownTopic: the topic does not exist, and
	// Options.NoAutoCreate is set.
	ErrNoAutoCreate = fmt.Errorf("%w, and this broker makes none by itself (-auto-create=false)", store.ErrUnknownTopic)
)

// New makes a broker over s and reads back the positions of its groups.
func New(s store.Store, o Options) (*Broker, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Partitions = max(1, o.Partitions)
	if o.RetentionUnread == 0 {
		o.RetentionUnread = DefaultRetentionUnread
	}
	o.RetentionUnread = max(0, o.RetentionUnread)
	b := &Broker{
		Limits: o.Limits, Log: o.Log, opts: o, store: s,
		work: work{stop: make(chan struct{})}, catalog: newCatalog(s),
	}
	b.keeper = newClockKeeper(s, o.Now, o.Log)
	b.trail.log = o.Log
	b.offsets = newOffsets(b)
	b.retention = newRetention(b)
	b.keeper.onJump = b.retention.wake
	b.deadLetters = newDeadLetters(b)
	b.fallback, _ = b.settings(nil)
	b.Budget.max = o.Limits.MaxInFlight
	for _, t := range s.Topics() {
		if t.Name == UsersTopic { // which clients don't find
			continue
		}
		if _, err := b.openTopic(t); err != nil {
			return nil, err
		}
	}
	if err := b.offsets.load(); err != nil {
		return nil, fmt.Errorf("reading the groups' positions: %w", err)
	}
	var err error
	if b.users, err = newUsers(b); err != nil {
		return nil, fmt.Errorf("reading the users (without them everything would be open: put topic %q back, or remove it to begin without users): %w", UsersTopic, err)
	}
	b.users.editor.KeepLast(o.Exposed && !o.Insecure)
	b.keeper.keep()
	b.work.Go(func() { b.retention.run(b.work.stop) })
	if o.OffsetsRetention > 0 {
		b.work.Go(func() { b.offsets.forgetGroups(b.work.stop) })
	}
	b.schedule = b.newSchedule()
	holds := b.holder()
	b.work.Go(func() { b.schedule.Run(b.work.stop, holds) })
	return b, nil
}

// Internal reports whether a topic of this name is the broker's own.
func Internal(name string) bool { return message.IsInternal(name) }

// Users are for logging in: they say which user a client is. A View changes them.
func (b *Broker) Users() *auth.Users { return b.users.editor.Users }

// Options are those of New, with the defaults filled in.
func (b *Broker) Options() Options { return b.opts }

// mayPublish is the error for a topic that can't be published to, whatever space there is:
// ErrInternalTopic or ErrNoAutoCreate.
func (b *Broker) mayPublish(name string) error {
	if Internal(name) {
		return ErrInternalTopic
	}
	if !b.opts.NoAutoCreate {
		return nil
	}
	if _, err := b.catalog.Topic(name); errors.Is(err, store.ErrUnknownTopic) {
		return fmt.Errorf("%w: %q; admin create -topic %s -execute makes it", ErrNoAutoCreate, name, name)
	}
	return nil
}

// makeTopic finds a topic, and makes it for a principal if there is none.
func (b *Broker) makeTopic(p Principal, name string, partitions int) (*Topic, error) {
	if t, err := b.catalog.Topic(name); err == nil {
		return t, nil
	}
	t, err := b.newTopic(name, partitions, nil)
	if t == nil {
		return nil, err
	}
	if err == nil { // and no other connection was faster
		b.trail.change(p, "create", TopicResource, name, "partitions", partitions, "settings", "")
	}
	return t, nil
}

// newTopic creates a topic. If several calls create the same one, all but one get it with
// store.ErrTopicExists.
func (b *Broker) newTopic(name string, partitions int, config map[string]string) (*Topic, error) {
	defer b.catalog.names.Lock(name)()
	if t, err := b.catalog.Topic(name); err == nil {
		return t, store.ErrTopicExists
	}
	if !Internal(name) {
		release, err := b.catalog.reserve(1, partitions)
		if err != nil {
			return nil, err
		}
		defer release()
		if err := b.store.CheckSpace(0); err != nil {
			return nil, err
		}
	}
	return b.createTopic(name, partitions, config)
}

func (b *Broker) createTopic(name string, partitions int, config map[string]string) (*Topic, error) {
	made, err := b.store.CreateTopic(name, partitions, stored(config))
	if err != nil {
		return nil, err
	}
	return b.openTopic(made)
}

// openTopic adds a topic of the store to the catalog.
func (b *Broker) openTopic(made store.Topic) (*Topic, error) {
	t := &Topic{Name: made.Name, ID: made.ID, swept: sweep{time.Now(), make(map[int]bool)}}
	t.know(made)
	b.restore(t, made.Config)
	partitions, err := b.openPartitions(t, 0, made.Partitions)
	if err != nil {
		return nil, err
	}
	t.partitions.Store(&partitions)
	b.offsets.forgetOthers(t)
	b.catalog.add(t, b.offsets.adopt)
	if t.settings.Load().removes() {
		b.retention.wake()
	}
	return t, nil
}

// openPartitions are the partitions of t from number first on, up to total.
func (b *Broker) openPartitions(t *Topic, first, total int) (list []*Partition, err error) {
	for i := first; i < total; i++ {
		log, err := b.store.Partition(t.Name, i)
		if err != nil {
			return nil, err
		}
		opener, _ := log.(store.Opener)
		p := &Partition{broker: b, topic: t, number: i, log: log, opener: opener, internal: Internal(t.Name)}
		if p.Available() == nil {
			_, high := log.Offsets()
			p.opened = opening{high, log.Size(), true}
		}
		list = append(list, p)
	}
	if s := t.settings.Load(); s.removes() && !Internal(t.Name) {
		s.roll(list)
	}
	return list, nil
}

// Check verifies one batch that a client made for t; nil for a topic that does not exist yet.
// No record of it may be larger than a batch that is not compressed. It sets the header's
// maximum timestamp to the latest of the records. The error wraps
// batch.ErrCorrupt, batch.ErrTooLarge, ErrTooLarge, ErrTime or
// ErrDeliverAt.
func (b *Broker) Check(t *Topic, p batch.Batch) error {
	_, err := b.check(t, p)
	return err
}

// check is Check; it also reports whether a message of the batch may have to wait.
func (b *Broker) check(t *Topic, p batch.Batch) (mayWait bool, err error) {
	limit := b.Limits.MaxBatch()
	if len(p) > limit {
		return false, fmt.Errorf("%w: the batch has %d bytes, the limit is %d", ErrTooLarge, len(p), limit)
	}
	var earliest, latest int64
	err = Scan(func(it *batch.Iterator) error {
		it.MaxRecord = limit
		if err := p.Verify(it); err != nil {
			return err
		}
		earliest, latest = it.Times()
		mayWait = bytes.Contains(it.Records(), []byte(HeaderDeliverAt))
		if !mayWait {
			return nil
		}
		if err := it.Reset(p); err != nil {
			return err
		}
		_, err := latestDue(it)
		return err
	})
	if err != nil {
		return false, err
	}
	p.SetMaxTimestamp(latest)
	return mayWait, b.CheckTimes(t, earliest, latest)
}
