package turns

import (
	"time"

	"golang.org/x/sys/unix"
)

// threadTime is the processor time that this thread has taken. A clock would count the time, too, in which other programs
// have the processor.
func threadTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic(err) // each Linux has it
	}
	return time.Duration(t.Nano())
}
