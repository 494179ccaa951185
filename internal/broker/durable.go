package broker

import (
	"sync"
	"time"

	"mbus/internal/group"
)

// durably is for what is called with the outcome of an append: it has done called when
// what was appended is durable, too, and not only answered, as with an interval between
// syncs. Whatever gives something up because it is elsewhere now calls it before.
func durably(log *Partition, done func(error)) func(base int64, err error) {
	return func(_ int64, err error) {
		if err != nil {
			done(err)
			return
		}
		log.Sync(done)
	}
}

// Relied are the logs that positions are written of, with a sync that has not ended;
// true if it was waited for in vain. Positions wait for Limits.RelyPatience. A sync that
// takes longer holds up no positions in other topics; those in this one are written
// without it. Should the log lose messages then, they are set to its end at the next
// start, so that nothing is skipped.
type relied struct {
	mu    sync.Mutex
	under map[*Partition]bool
}

// await waits until all that logs have answered is durable, for so long at most. It
// returns those that are not then. They are not waited for again, nor returned, before
// that sync has ended. A sync that fails is reported by the store.
func (r *relied) await(logs []*Partition, most time.Duration) (late []*Partition) {
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
			return r.give(logs)
		}
	}
	return nil
}

// begin says whether no sync of the log is under way, and notes that one is.
func (r *relied) begin(log *Partition) bool {
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

func (r *relied) end(log *Partition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.under, log)
}

// give returns those of the logs whose sync was waited for in vain just now.
func (r *relied) give(logs []*Partition) (late []*Partition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, log := range logs {
		if inVain, under := r.under[log]; under && !inVain {
			r.under[log] = true
			late = append(late, log)
		}
	}
	return late
}

// secure waits until the logs are durable that entries rely on, before these are written:
// otherwise a crash could leave positions beyond the ends of their logs.
func (j *journal) secure(entries []group.Entry) {
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
	for _, log := range j.relied.await(all, j.limits.RelyPatience) {
		k := j.logs[log]
		j.report.Warn("positions are written before the log that they are in is synced: its sync takes too long",
			"topic", k.Topic, "partition", k.Partition, "waited", j.limits.RelyPatience)
	}
	j.took = time.Since(began)
}

// logOf is the log that an entry relies on; nil for none.
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
