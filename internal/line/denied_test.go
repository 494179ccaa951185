package line

import (
	"errors"
	"fmt"
	"testing"

	"mbus/internal/auth"
	"mbus/internal/broker"
)

// The answer to a client that has not waited for its turn says that it may try again.
func TestWhatEndsALoginHasACode(t *testing.T) {
	for err, code := range map[error]string{
		auth.ErrLeft: "BUSY", auth.ErrUnauthenticated: "DENIED", broker.ErrNotPrivate: "DENIED",
	} {
		var line *errorLine
		if got := denied(fmt.Errorf("a log-in: %w", err)); !errors.As(got, &line) || line.code != code || !errors.Is(got, err) {
			t.Errorf("%v: the answer is %v", err, got)
		}
	}
}
