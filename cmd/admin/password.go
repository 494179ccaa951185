package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"

	"mbus/internal/auth"
	"mbus/internal/flags"
)

// newPassword is the password of a user to be: made, given, or asked for twice. isMade says that nobody knows it yet.
func (c *call) newPassword() (password string, isMade bool, err error) {
	switch {
	case c.generate && c.password != "":
		return "", false, &usageError{"-generate makes a password, but there is one in MBUS_PASSWORD or -password-file, too"}
	case c.generate:
		return rand.Text(), true, nil
	case c.password != "":
		return c.password, false, nil
	case !flags.Terminal(int(os.Stdin.Fd())):
		return "", false, errors.New("a password is missing: MBUS_PASSWORD or the file of -password-file has one, -generate makes one, and on a terminal it is asked for. With -user, the first two are for logging in")
	}
	password, err = flags.ReadSecret(os.Stdin, c.notes, fmt.Sprintf("New password of %s: ", c.words[0]))
	if err != nil {
		return "", false, err
	}
	if err := auth.CheckPassword(password); err != nil {
		return "", false, err
	}
	again, err := flags.ReadSecret(os.Stdin, c.notes, "Once more: ")
	if err == nil && again != password {
		err = errors.New("the two passwords differ")
	}
	return password, false, err
}
