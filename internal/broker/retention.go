package broker

import (
	"cmp"
	"errors"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"mbus/internal/group"
	"mbus/internal/store"
)

// A retention removes old messages.
type retention struct {
	catalog *catalog
	offsets *offsets
	keeper  *clockKeeper
	log     *slog.Logger
	changed chan struct{} // after new settings, a new topic or a clock jump

	mu sync.Mutex // held while messages are removed; guards the sweeps of topics
}

// A sweep is the state of retention for a topic.
type sweep struct {
	at   time.Time    // of the last sweep; before that, when the topic was opened
	held map[int]bool // partitions that keep messages past their retention for a group
}

// newRetention makes a retention without topics.
func newRetention(b *Broker) *retention {
	return &retention{catalog: b.catalog, offsets: b.offsets, keeper: b.keeper, log: b.Log, changed: make(chan struct{}, 1)}
}

// run removes old messages until stop is closed. It sleeps while no topic is due.
func (r *retention) run(stop <-chan struct{}) {
	timer := time.NewTimer(maxSweep)
	defer timer.Stop()
	for {
		timer.Reset(min(r.untilSweep(), r.keeper.keepDue()))
		select {
		case <-timer.C:
			r.sweep(r.keeper.clock.ageTime, func(t *Topic) bool { return r.untilDue(t) <= 0 })
		case <-r.changed:
		case <-stop:
			return
		}
	}
}

// untilSweep is the time until the next sweep of a topic.
func (r *retention) untilSweep() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	wait := time.Hour
	for _, t := range r.topics() {
		wait = min(wait, r.untilDue(t))
	}
	return max(0, wait)
}

// topics are those with a retention.
func (r *retention) topics() []*Topic {
	return slices.DeleteFunc(r.catalog.userTopics(), func(t *Topic) bool { return !t.settings.Load().removes() })
}

// untilDue is the time until the next sweep of a topic. The caller holds mu.
func (r *retention) untilDue(t *Topic) time.Duration {
	return t.settings.Load().sweepEvery() - time.Since(t.swept.at)
}

// removes reports whether the topic has a retention.
func (s *settings) removes() bool { return s.retention >= 0 || s.retentionBytes >= 0 }

// sweepEvery is the time between two sweeps of a topic.
func (s *settings) sweepEvery() time.Duration {
	return max(minSweep, min(maxSweep, s.keep()/4))
}

// roll sets the size and age at which partitions of a topic begin a new segment.
func (s *settings) roll(partitions []*Partition) {
	bytes, age := int64(0), time.Duration(0) // the store's own
	if s.retentionBytes >= 0 {
		bytes = max(minRollBytes, s.retentionBytes/rollShare)
	}
	if s.retention >= 0 {
		age = max(minRollAge, min(maxRollAge, s.keep()/rollShare))
	}
	for _, p := range partitions {
		p.log.Roll(bytes, age)
	}
}

// wake has run find the next topic that is due.
func (r *retention) wake() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// Sweep removes the messages whose retention has passed. It ignores a forward clock jump
// until that has lasted one retention period. The broker calls it itself.
func (b *Broker) Sweep() {
	b.retention.sweep(b.keeper.clock.ageTime, func(*Topic) bool { return true })
}

// Retain removes the messages whose retention has passed at the time now.
func (b *Broker) Retain(now time.Time) {
	b.retention.sweep(func(time.Duration) time.Time { return now }, func(*Topic) bool { return true })
}

// sweep removes messages of the topics that are due. The time depends on the retention.
func (r *retention) sweep(now func(keep time.Duration) time.Time, isDue func(*Topic) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	due := make(map[string]*Topic)
	for _, t := range r.topics() {
		if isDue(t) {
			due[t.Name] = t
		}
	}
	if len(due) == 0 {
		return
	}
	unread := make(map[string][]group.Unread)
	for _, u := range r.offsets.groups.Unread(func(topic string) bool { return due[topic] != nil }) {
		unread[u.Topic] = append(unread[u.Topic], u)
	}
	if len(unread) > 0 {
		r.offsets.awaitDurable()
	}
	for _, t := range due {
		t.swept.at = time.Now()
		for i, unread := range byPartition(unread[t.Name], len(t.Partitions()), r.offsets.has) {
			r.sweepPartition(t, i, now, unread)
		}
	}
}

// byPartition sorts the unconsumed parts of a topic by its n partitions, the lowest offset
// first. A group without a position in a partition has consumed nothing there; a group whose
// position is not listed holds nothing back.
func byPartition(unread []group.Unread, n int, has func(group.Key) bool) [][]group.Unread {
	all := make([][]group.Unread, n)
	listed := make(map[string]map[int]bool)
	for _, u := range unread {
		if u.Partition >= n {
			continue
		}
		all[u.Partition] = append(all[u.Partition], u)
		if listed[u.Group] == nil {
			listed[u.Group] = make(map[int]bool)
		}
		listed[u.Group][u.Partition] = true
	}
	for i := range all {
		for name, in := range listed {
			if k := (group.Key{Group: name, Topic: unread[0].Topic, Partition: i}); !in[i] && !has(k) {
				all[i] = append(all[i], group.Unread{Key: k})
			}
		}
		slices.SortFunc(all[i], func(x, y group.Unread) int {
			return cmp.Or(cmp.Compare(x.Offset, y.Offset), cmp.Compare(x.Group, y.Group))
		})
	}
	return all
}

// A topicPartition is a partition by the name of its topic.
type topicPartition struct {
	topic  string
	number int
}

// sweepPartition removes messages of a partition of which groups have not consumed all.
func (r *retention) sweepPartition(t *Topic, i int, now func(keep time.Duration) time.Time, unread []group.Unread) {
	holders := unread
	if r.offsets.unusable != nil || r.offsets.PositionsLost(t, i) {
		holders = append([]group.Unread{{Key: group.Key{Group: lostGroup}}}, unread...)
	}
	allowed := t.settings.Load().allow(now, holders)
	log := r.log.With("topic", t.Name, "partition", i)
	start, _ := t.Partitions()[i].Offsets()
	done, err := t.Partitions()[i].log.Retain(allowed)
	if errors.Is(err, store.ErrDeleted) || store.Ended(err) {
		return // meanwhile
	}
	if err != nil {
		log.Warn("retention failed: it is tried again", "start", start, "reason", err)
		return
	}
	if done.Freed > 0 {
		log.Info("removed old messages", "bytes", done.Freed, "start", done.Start)
	}
	for _, u := range unread {
		if from := max(u.Offset, start); from < done.Start {
			log.Warn("messages were removed that a group has not consumed: its consumers get -GAP in their place",
				"group", u.Group, "first", from, "next", done.Start)
			r.offsets.lose(t, u, from, done.Start)
		}
	}
	if done.Held && !t.swept.held[i] {
		log.Warn("keeping messages past their retention: a group has not consumed them", "group", holders[0].Group, "from", allowed.Keep, "do", "start the group's consumers, or delete the group")
	}
	t.swept.held[i] = done.Held
}

// allow is the retention of a partition. unread are the parts that groups which lease
// messages have not consumed, the lowest offset first; they are kept longer. Groups with
// partitions assigned (Kafka) hold back nothing, as in Kafka.
func (s *settings) allow(now func(keep time.Duration) time.Time, unread []group.Unread) (r store.Retention) {
	if s.retentionBytes >= 0 {
		r.Bytes = max(1, s.retentionBytes)
	}
	if s.retention < 0 {
		return r
	}
	r.Keep = math.MaxInt64
	r.Before = now(s.keep()).UnixMilli() - s.retention
	if len(unread) == 0 || s.retentionUnread == 0 {
		return r
	}
	r.Keep = unread[0].Offset
	if s.retentionUnread > 0 {
		keep := max(s.retention, s.retentionUnread)
		r.Unread = now(span(keep)).UnixMilli() - keep
	}
	return r
}
