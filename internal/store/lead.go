package store

// A Lead makes a writer the leader of a group commit, for all appends that are not yet durable. Write
// returns one to the first writer, and the zero value, which does nothing, to the others. The
// leader calls Go or Commit once, before it writes again or waits, and after it has released its
// locks: no append is acknowledged until then.
//
// Commit is faster than Go if the goroutine would wait for the acknowledgement anyway.
type Lead struct{ log Committer }

// A Committer is the part of a log that the leader calls.
type Committer interface {
	// Commit makes the appends so far durable and acknowledges them. It leaves appends that come
	// meanwhile to another goroutine.
	Commit()
}

// LeadOf makes a Lead. Only stores call it.
func LeadOf(log Committer) Lead { return Lead{log} }

// Commit commits before it returns.
func (l Lead) Commit() {
	if l.log != nil {
		l.log.Commit()
	}
}

// Go commits in the background.
func (l Lead) Go() {
	if l.log != nil {
		go l.log.Commit()
	}
}
