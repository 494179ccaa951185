package broker

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"time"

	"mbus/internal/group"
	"mbus/internal/store"
)

// A topic is looked at for messages that may go four times while one is kept, but not
// more often than each second, nor less than each minute.
const (
	sweepMost  = time.Second
	sweepLeast = time.Minute
)

// Retention removes whole segments. So that few are kept for longer than they must be,
// the log begins a new one after an eighth of the age, and of the size, that are asked
// for; within these bounds, because a segment costs two files and some syncs.
const (
	rollShare     = 8
	rollAgeLeast  = 10 * time.Second
	rollAgeMost   = 24 * time.Hour
	rollBytesLess = 1 << 20
)

// retain removes old messages until the broker ends. It sleeps while no topic has any
// that may go.
func (b *Broker) retain() {
	timer := time.NewTimer(sweepLeast)
	defer timer.Stop()
	for {
		timer.Reset(min(b.untilSweep(), b.keepClock(false)))
		select {
		case <-timer.C:
			b.sweep(b.clock.ageTime, func(t *Topic) bool { return time.Since(t.swept) >= t.settings.Load().sweepEvery() })
		case <-b.resettled:
		case <-b.stop:
			return
		}
	}
}

// untilSweep is the time until the next topic is to be looked at.
func (b *Broker) untilSweep() time.Duration {
	b.sweeping.Lock()
	defer b.sweeping.Unlock()
	wait := time.Hour
	for _, t := range b.userTopics() {
		if s := t.settings.Load(); s.removes() {
			wait = min(wait, s.sweepEvery()-time.Since(t.swept))
		}
	}
	return max(0, wait)
}

// removes says whether anything of a topic is to go some time.
func (s *settings) removes() bool { return s.retention >= 0 || s.retentionBytes >= 0 }

// sweepEvery is the time between two looks at a topic.
func (s *settings) sweepEvery() time.Duration {
	return max(sweepMost, min(sweepLeast, s.keep()/4))
}

// roll is the size and the age at which the logs of a topic begin a new segment; 0 for
// the store's own.
func (s *settings) roll() (bytes int64, age time.Duration) {
	if s.retentionBytes >= 0 {
		bytes = max(rollBytesLess, s.retentionBytes/rollShare)
	}
	if s.retention >= 0 {
		age = max(rollAgeLeast, min(rollAgeMost, s.keep()/rollShare))
	}
	return bytes, age
}

// resettle has the settings of a topic hold for its logs, and for the retention loop.
func (b *Broker) resettle(t *Topic, logs []store.Partition) {
	for _, log := range logs {
		log.Roll(t.settings.Load().roll())
	}
	b.wakeRetention()
}

// wakeRetention has the retention loop look again what is to be done when.
func (b *Broker) wakeRetention() {
	select {
	case b.resettled <- struct{}{}:
	default:
	}
}

// Sweep removes the messages that the retention options let go, and is not misled
// by a clock that jumps. The broker calls it itself, one call at a time.
func (b *Broker) Sweep() {
	b.sweep(b.clock.ageTime, func(*Topic) bool { return true })
}

// Retain removes the messages that the retention options let go at the time now,
// one call at a time.
func (b *Broker) Retain(now time.Time) {
	b.sweep(func(time.Duration) time.Time { return now }, func(*Topic) bool { return true })
}

// sweep is Retain for the topics that are due. The time depends on how long messages
// are kept.
func (b *Broker) sweep(now func(keep time.Duration) time.Time, isDue func(*Topic) bool) {
	b.sweeping.Lock()
	defer b.sweeping.Unlock()
	due := make(map[string]*Topic)
	for _, t := range b.userTopics() {
		if t.settings.Load().removes() && isDue(t) {
			due[t.Name] = t
		}
	}
	if len(due) == 0 {
		return
	}
	unread := make(map[string][]group.Unread)
	for _, u := range b.groups.Unread(func(topic string) bool { return due[topic] != nil }) {
		unread[u.Topic] = append(unread[u.Topic], u)
	}
	if len(unread) > 0 {
		b.securePositions()
	}
	for _, t := range due {
		t.swept = time.Now()
		for i, unread := range byPartition(unread[t.Name], len(t.Partitions()), b.hasPosition) {
			b.retainPartition(t, i, now, unread)
		}
	}
}

// securePositions waits until the positions that have been written are durable: what groups
// have consumed by them may go, and they must not come back for it. Where that fails their log
// has failed, which the store reports.
func (b *Broker) securePositions() {
	t, err := b.Topic(PositionsTopic)
	if err != nil {
		return // there are none
	}
	done := make(chan struct{})
	t.Partitions()[0].Sync(func(error) { close(done) })
	<-done
}

// byPartition is what groups have not consumed of a topic, for each of its n partitions,
// the least first. A group that has no position in a partition has consumed nothing there;
// where it has one that is not listed it holds nothing back.
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

// hasPosition says whether a group has a position.
func (b *Broker) hasPosition(k group.Key) bool {
	_, ok := b.groups.Committed(k)
	return ok
}

// A part is a partition of a topic by name.
type part struct {
	topic  string
	number int
}

// userTopics are all but the broker's own.
func (b *Broker) userTopics() []*Topic {
	b.mu.RLock()
	defer b.mu.RUnlock()
	topics := make([]*Topic, 0, len(b.topics))
	for name, t := range b.topics {
		if !Internal(name) {
			topics = append(topics, t)
		}
	}
	return topics
}

// retainPartition removes what may go of a partition that groups have not read all of.
func (b *Broker) retainPartition(t *Topic, i int, now func(keep time.Duration) time.Time, unread []group.Unread) {
	holders := unread
	if b.journal.unusable != nil || b.PositionsLost(t, i) {
		holders = append([]group.Unread{{Key: group.Key{Group: lostGroup}}}, unread...)
	}
	r := t.settings.Load().allow(now, holders)
	log := b.Log.With("topic", t.Name, "partition", i)
	start, _ := t.Partitions()[i].Offsets()
	done, err := t.Partitions()[i].Retain(r)
	if errors.Is(err, store.ErrClosed) {
		return // the topic was deleted meanwhile
	}
	if err != nil {
		log.Warn("retention failed", "reason", err)
		return
	}
	if done.Freed > 0 {
		log.Info("removed old messages", "bytes", done.Freed, "start", done.Start)
	}
	for _, u := range unread {
		if from := max(u.Offset, start); from < done.Start {
			log.Warn("messages were removed that a group has not consumed: it is told with -GAP when it asks for them",
				"group", u.Group, "first", from, "next", done.Start)
			b.tellLoss(t, u, from, done.Start)
		}
	}
	if done.Held && !t.held[i] {
		log.Warn("keeping messages past their retention: a group has not consumed them", "group", holders[0].Group, "from", r.Keep)
	}
	t.held[i] = done.Held
}

// tellLoss counts messages that a group has lost. If it had no position in the partition it
// gets one, so that it is told: it would begin at the log start.
func (b *Broker) tellLoss(t *Topic, u group.Unread, from, next int64) {
	p, err := b.position(u.Group, t, u.Partition)
	if err != nil {
		return // there is no room for one
	}
	defer p.Close()
	p.Start(from, true)
	b.groups.Lose(u.Key, next-from)
}

// allow is what a partition may forget of which groups that lease messages have read all
// but what is listed, the least first. What they have not is kept for longer. Groups with
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
