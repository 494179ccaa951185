package commitlog

import (
	"log/slog"
	"time"

	"mbus/internal/vfs"
)

// Options are what Open may be told. The zero value is a log that syncs before
// it acknowledges.
type Options struct {
	FS           vfs.FS        // nil for the system's own
	SegmentBytes int64         // a segment that would grow beyond this is closed and a new one begun; 0 for 256 MiB
	SyncEvery    time.Duration // 0: acknowledge after the sync; else acknowledge after the write and sync this often
	Reserve      int64         // bytes that publishers leave free on the disk; 0 for none, DefaultReserve for the usual
	Log          *slog.Logger  // warnings and errors; nil for none
}

// DefaultSegmentBytes bounds what recovery may have to read after a power cut,
// and is the grain of retention.
const DefaultSegmentBytes = 256 << 20
