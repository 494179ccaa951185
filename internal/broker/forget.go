package broker

import (
	"time"

	"mbus/internal/group"
)

// forgetGroups forgets groups until stop is closed. It ignores a forward clock jump until that
// has lasted one offsets retention.
func (o *offsets) forgetGroups(stop <-chan struct{}) {
	keep := o.retention
	timer := time.NewTimer(min(keep, firstForget))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			o.ForgetGroups(o.clock.ageTime(keep))
			timer.Reset(max(minForget, min(maxForget, keep/4)))
		case <-stop:
			return
		}
	}
}

// ForgetGroups deletes the positions of groups that have had no member and no commit for
// longer than the offsets retention at the time now: consoles and tests invent groups, whose
// positions would stay for ever. Two groups stay: group.Default, because nobody invents it,
// and RedriveGroup, because a redrive must not move letters twice.
func (o *offsets) ForgetGroups(now time.Time) {
	before := now.Add(-o.retention).UnixMilli()
	for _, g := range o.groups.List() {
		if !g.Kept || g.Members > 0 || g.Name == group.Default || g.Name == RedriveGroup {
			continue
		}
		if n, last := o.groups.Forget(g.Name, before); n > 0 {
			o.log.Info("a group without members was forgotten: it begins like a new one if it comes back", "group", g.Name, "positions", n,
				"used", time.UnixMilli(last).UTC(), "offsets-retention", o.retention)
		}
	}
}
