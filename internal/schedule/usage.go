package schedule

import "time"

// A usage counts the contents of the log since it was trimmed.
type usage struct {
	left      int   // messages that are neither delivered nor dropped
	bytes     int64 // about
	messages  int   // that waited, or still do
	floor     int64 // bytes that were left when the log was last compacted
	delivered deliveredUpTo
}

// A deliveredUpTo is an offset of the log before which nothing waited, when that was, and
// the contents of the log then. The zero value is none.
type deliveredUpTo struct {
	base     int64
	at       time.Time
	bytes    int64
	messages int
}

// add counts messages that have become durable in the log, so many and of so many bytes.
func (u *usage) add(messages int, bytes int64) {
	u.bytes += bytes
	u.messages += messages
	u.left += messages
}

// cut is the offset to which the log may be trimmed, now that nothing before base waits; 0
// for not now. Delivered messages stay for a while, unless they are so many bytes.
func (u *usage) cut(base, most int64) int64 {
	if u.bytes >= most {
		*u = usage{left: u.left}
		return base
	}
	now, earlier := time.Now(), u.delivered
	if earlier.base > 0 && now.Sub(earlier.at) < keepDelivered {
		return 0
	}
	u.bytes -= earlier.bytes
	u.messages -= earlier.messages
	u.floor = 0
	u.delivered = deliveredUpTo{base, now, u.bytes, u.messages}
	return earlier.base
}

// isMostlyDelivered says whether the log is to be compacted, from so many bytes on.
func (u *usage) isMostlyDelivered(least int64) bool {
	return u.left > 0 && u.bytes >= max(least, 2*u.floor) && 2*u.left < u.messages
}
