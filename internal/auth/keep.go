package auth

import (
	"encoding/json"
	"iter"
)

// keep saves the record of a user, nil for one that is deleted. A record that could not be saved may be kept all the same,
// and would be in force after a restart: what is in force is saved behind it, at once or before the next change. The caller
// holds mu.
func (e *Editor) keep(name string, record []byte) error {
	if err := e.repair(); err != nil {
		return err
	}
	err := e.save(name, record)
	if err != nil {
		e.uncertain = name
		_ = e.repair() // or later
	}
	return err
}

// repair saves what is in force of the user whose record is uncertain. The caller holds mu.
func (e *Editor) repair() error {
	if e.uncertain == "" {
		return nil
	}
	var record []byte
	if user := (*e.all.Load())[e.uncertain]; user != nil {
		record = user.record()
	}
	err := e.save(e.uncertain, record)
	if err == nil {
		e.uncertain = ""
	}
	return err
}

// Repair saves what is in force of a user whose last change failed, because that may be kept all the same. It is for the
// end.
func (e *Editor) Repair() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.repair()
}

// record is what is saved of a user.
func (u *user) record() []byte {
	record, err := json.Marshal(&u.User)
	if err != nil {
		panic(err) // it was made of such a record
	}
	return record
}

// Records are what has been saved: the secret, and all users by name.
func (e *Editor) Records() iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		if !yield(secretName, e.secret.Load()[:]) {
			return
		}
		for name, user := range *e.all.Load() {
			if !yield(name, user.record()) {
				return
			}
		}
	}
}
