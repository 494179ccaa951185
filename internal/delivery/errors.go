package delivery

import (
	"errors"
	"fmt"
)

// Why a session ends, or refuses an acknowledgement. Test with errors.Is.
var (
	ErrGap           = errors.New("messages are gone")
	ErrDamaged       = errors.New("messages can't be read")
	ErrMemory        = errors.New("the broker has no memory left for messages in flight")
	ErrAckTimeout    = errors.New("no acknowledgement")
	ErrWanted        = errors.New("the group is wanted by others")
	ErrPosition      = errors.New("there is no such position")
	ErrRedriveAgain  = errors.New("letters stay for now")
	ErrNoDeadLetters = errors.New("the topic has no dead letters of its own")
	ErrInternal      = errors.New("an error in the broker, which it has logged")
)

// An Error is one that the client gets. Others are those of the Sink's transport.
type Error struct {
	kind error // one of the above; nil where err says it all
	err  error
}

func (e *Error) Error() string { return e.err.Error() }

// Unwrap has errors.Is find the kind, and the broker's error.
func (e *Error) Unwrap() []error {
	if e.kind == nil {
		return []error{e.err}
	}
	return []error{e.kind, e.err}
}

// errorf makes an Error with a text of its own.
func errorf(kind error, format string, args ...any) error {
	return &Error{kind, fmt.Errorf(format, args...)}
}

// forClient makes an error of the broker one that the client gets.
func forClient(err error) error {
	var e *Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	return &Error{err: err}
}
