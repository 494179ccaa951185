package broker

import (
	"time"

	"mbus/internal/group"
)

// Unread lists the positions of groups that lease messages of a topic.
func (b *Broker) Unread(topic string) []group.Unread {
	return b.offsets.groups.Unread(func(name string) bool { return name == topic })
}

// Reopen is Return for a letter of which the topic was found.
func (r *Redrive) Reopen(t *Topic, l Letter) error { return r.reopen(t, l) }

// ForgetGroups forgets groups that are not used.
func (b *Broker) ForgetGroups(now time.Time) { b.offsets.ForgetGroups(now) }

// BeginWork and EndWork are those of work in the background.
func (b *Broker) BeginWork() bool { return b.work.begin() }
func (b *Broker) EndWork()        { b.work.done() }
