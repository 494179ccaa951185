package commitlog

import (
	"fmt"

	"mbus/internal/store"
)

// What recovery has to write needs space. Where there is none the log opens all the same:
// it can be read and trimmed, and appends wait for what is owed. Until then what recovery
// has found may not be on the disk, and is shown: to hide what was acknowledged is worse.

// orOwe takes a step of recovery, or owes it if the disk is full, or if an earlier one is
// owed. A step can be tried again.
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

// pay tries again what is owed. The caller holds mu.
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
