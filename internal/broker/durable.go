package broker

import (
	"sync"
	"time"

	"mbus/internal/group"
)

// durably is the callback of an append whose done is called when the append is durable, and
// not only acknowledged, as with an interval between syncs. A caller that moves a message
// waits for it before it gives up the original.
func durably(log *Partition, done func(error)) func(base int64, err error) {
	return func(_ int64, err error) {
		if err != nil {
			done(err)
			return
		}
		log.Sync(done)
	}
}

// LogSyncs are the syncs of logs that positions wait for, for Limits.SyncPatience. A sync that
// takes longer does not delay positions in other topics; those in its own are written without
// it. If that log then loses messages, its positions are set to its end at the next start, so
// that nothing is skipped.
type logSyncs struct {
	mu    sync.Mutex
	under map[*Partition]bool // whether a wait for the sync has timed out
}

// await waits until everything that logs have acknowledged is durable, for so long at most. It
// returns the logs that are late. It does not wait for these again, nor return them, before
// their sync has ended. The store reports a sync that fails.
func (r *logSyncs) await(logs []*Partition, most time.Duration) (late []*Partition) {
	ended := make(chan struct{}, len(logs))
	left := 0
	for _, log := range logs {
		if r.begin(log) {
			left++
			log.Sync(func(error) {
				r.end(log)
				ended <- struct{}{}
			})
		}
	}
	var patience <-chan time.Time
	for ; left > 0; left-- {
		select {
		case <-ended:
			continue // at once, most often
		default:
		}
		if patience == nil {
			patience = time.After(most)
		}
		select {
		case <-ended:
		case <-patience:
			return r.late(logs)
		}
	}
	return nil
}

// begin records a sync of the log, and reports false if one is under way.
func (r *logSyncs) begin(log *Partition) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, under := r.under[log]; under {
		return false
	}
	if r.under == nil {
		r.under = make(map[*Partition]bool)
	}
	r.under[log] = false
	return true
}

// end records the end of a sync.
func (r *logSyncs) end(log *Partition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.under, log)
}

// late returns the logs whose sync has just become late.
func (r *logSyncs) late(logs []*Partition) (logsLate []*Partition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, log := range logs {
		if late, under := r.under[log]; under && !late {
			r.under[log] = true
			logsLate = append(logsLate, log)
		}
	}
	return logsLate
}

// secure waits until the logs of entries are durable, before the entries are written: otherwise
// a crash could leave positions beyond the ends of their logs.
func (j *positionsLog) secure(entries []group.Entry) {
	clear(j.logs)
	all := j.list[:0]
	for _, e := range entries {
		if log := j.logOf(e); log != nil {
			if _, known := j.logs[log]; !known {
				j.logs[log] = e.Key
				all = append(all, log)
			}
		}
	}
	j.list = all
	began := time.Now()
	for _, log := range j.syncs.await(all, j.limits.SyncPatience) {
		k := j.logs[log]
		j.report.Warn("positions are written before the log that they are in is synced: its sync takes too long",
			"group", k.Group, "topic", k.Topic, "partition", k.Partition, "waited", j.limits.SyncPatience)
	}
	j.took = time.Since(began)
}

// logOf is the partition that an entry is a position in; nil for none.
func (b *Broker) logOf(e group.Entry) *Partition {
	if e.Gone {
		return nil
	}
	t, err := b.catalog.Topic(e.Key.Topic)
	if err != nil || t.ID != e.TopicID {
		return nil
	}
	if all := t.Partitions(); e.Partition < len(all) {
		return all[e.Partition]
	}
	return nil
}
