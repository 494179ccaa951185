package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"mbus/internal/auth"
	"mbus/internal/broker"
)

// An operatorToken is the file with the token of one run of the broker: each program that can read it may do everything.
type operatorToken struct{ name string }

// newOperatorToken makes the token of this run. Without the file, such as on a full disk, users go on as they are.
func newOperatorToken(dir string, b *broker.Broker, log *slog.Logger) operatorToken {
	t := operatorToken{filepath.Join(dir, auth.OperatorFile)}
	users, err := b.As(broker.Self).UserEditor()
	if err == nil {
		secret := auth.NewToken()
		if err = t.write(secret); err == nil {
			users.SetOperator(secret)
			return t
		}
	}
	log.Warn("the operator token can't be written: until the next start, admin needs -user and a password", "file", t.name, "reason", err)
	return t
}

// write replaces the file. No other user may read it, not even for a moment.
func (t operatorToken) write(secret string) error {
	t.remove() // one of an earlier run is not valid any more
	next := t.name + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(secret + "\n")
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(next, t.name)
}

// remove removes the file: its token ends with the broker.
func (t operatorToken) remove() { _ = os.Remove(t.name) }
