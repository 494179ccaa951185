package commitlog

import (
	"log/slog"
	"time"

	"mbus/internal/vfs"
)

// Options are the settings of a store. With the zero value it syncs before it acknowledges.
type Options struct {
	FS           vfs.FS        // nil for the system's own
	SegmentBytes int64         // largest size of a segment; 0 for DefaultSegmentBytes
	SyncEvery    time.Duration // 0: acknowledge after the sync; else acknowledge after the write, and sync at this interval
	Reserve      int64         // bytes that publishers leave free on the disk; 0 for none, or DefaultReserve
	JournalBytes int64         // size of the journal on the disk, from about 300 KiB to 2 GiB; 0 for none
	Log          *slog.Logger  // warnings and errors; nil for none
}

// DefaultSegmentBytes bounds the bytes that recovery may read after a power cut. Retention removes
// whole segments.
const DefaultSegmentBytes = 256 << 20
