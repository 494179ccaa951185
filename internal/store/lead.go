package store

// A Lead is what Write gives to the first of those whose appends wait to be made
// durable: the duty to begin that, for all of them. Its holder calls Go or Commit once,
// before it calls Write again or waits for anything, and after it has let go of its
// locks: nobody's append is answered until then. Of the zero value, which the others
// get, both do nothing.
//
// To lead is faster than to leave it to another goroutine, for who has nothing else to
// do until the answer comes.
type Lead struct{ log Committer }

// A Committer is the part of a store's log that is called by who leads.
type Committer interface {
	// Commit makes what has been written durable and answers it, once. What is
	// written meanwhile is left to another goroutine.
	Commit()
}

// LeadOf is for a store.
func LeadOf(log Committer) Lead { return Lead{log} }

// Commit makes what has been written durable before it returns.
func (l Lead) Commit() {
	if l.log != nil {
		l.log.Commit()
	}
}

// Go has it made durable in the background.
func (l Lead) Go() {
	if l.log != nil {
		go l.log.Commit()
	}
}
