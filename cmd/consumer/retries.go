package main

import (
	"strings"
	"time"

	"mbus/internal/message"
	"mbus/internal/units"
)

// What the broker does with a message that failed, where the flags leave it to it; see
// PROTOCOL.md.
const (
	defaultRetry    = time.Second
	maxRetry        = 5 * time.Minute
	defaultAttempts = 5
)

// retries are what becomes of messages that failed.
type retries struct {
	pause    time.Duration // after the first attempt; 0 is the broker's
	attempts int           // 0 is without end
}

// next says what becomes of a message that has failed once more.
func (r retries) next(m *received) string {
	if r.attempts > 0 && m.attempt >= r.attempts && !strings.HasSuffix(m.topic, message.DeadLetters) {
		return "it goes to " + message.DeadLettersOf(m.topic)
	}
	pause := r.pause
	if pause == 0 {
		pause = defaultRetry
	}
	for n := 1; n < m.attempt && pause < maxRetry; n++ {
		pause *= 2
	}
	return "again in " + units.FormatDuration(min(pause, maxRetry))
}
