package commitlog

import (
	"fmt"

	"mbus/internal/store"
)

// Recovery needs space for its writes. On a full disk the log opens without them: it can be read and
// trimmed, and appends wait for the pending steps. Until then records that recovery has found may not
// be durable, and are visible: it would be worse to hide records that were acknowledged.

// orOwe runs a step of recovery, or keeps it pending if the disk is full or an earlier step is
// pending. A step can be run again.
func (a *appender) orOwe(step func() error) error {
	if len(a.owed) == 0 {
		err := step()
		if !isFull(err) {
			return err
		}
		a.log.logError("the disk is full: the log can be read, and takes messages when there is space", "reason", err)
	}
	a.owed = append(a.owed, step)
	return nil
}

// pay runs the pending steps. The caller holds mu.
func (a *appender) pay() error {
	if len(a.owed) == 0 {
		return nil
	}
	for len(a.owed) > 0 {
		err := a.owed[0]()
		if isFull(err) {
			return fmt.Errorf("%w: %w", errOwed, err)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", store.ErrFailed, err)
		}
		a.owed = a.owed[1:]
	}
	a.log.log.Info("there is space again: the log takes messages", a.log.with(nil)...)
	return nil
}

var errOwed = fmt.Errorf("%w: make space, so that this log can be put right first", store.ErrFull)
