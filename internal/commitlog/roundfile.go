package commitlog

import (
	"maps"
	"slices"
	"sync/atomic"

	"mbus/internal/vfs"
)

// A journalFile is a file of the journal, to which rounds are written.
type journalFile struct {
	name  journalName
	size  int64
	file  vfs.File                 // nil if a start has left it
	used  atomic.Int64             // the end of the last round
	round uint64                   // the number of the last round
	zero  int64                    // the end of the zeros that were written ahead
	ends  map[*committer]syncPoint // of the logs that have frames here: the end of the last one
}

// left is the space that rounds may use, in bytes.
func (f *journalFile) left() int64 { return f.size - f.used.Load() }

// appendRound appends the frames of the next round to p.
func (f *journalFile) appendRound(p []byte, parts []part) []byte {
	for i := range parts {
		of := &parts[i]
		f.ends[of.c] = syncPoint{segment: of.segment, end: of.end}
		l := of.c.log
		p = appendFrame(p, f.name.salt, f.round+1, i, len(parts), frame{
			topic: l.id, partition: int32(l.number), epoch: l.epoch, base: of.segment.base,
			pos: of.from.pos, first: of.from.next, next: of.end.next,
		}, of.data)
	}
	return p
}

// write writes the frames of a round, and syncs them.
func (f *journalFile) write(frames []byte) error {
	f.round++
	pos := f.used.Load()
	f.used.Store(pos + int64(roundUp(len(frames), roundAlign)))
	if _, err := f.file.WriteAt(frames, pos); err != nil {
		return err
	}
	if err := f.zeroAhead(); err != nil {
		return err
	}
	return f.file.Sync()
}

// zeroAhead writes zeros for the rounds that follow, until the file has been written once.
func (f *journalFile) zeroAhead() error {
	from := max(f.zero, f.used.Load())
	n := min(int64(len(zeros)), f.size-from)
	if n <= 0 {
		return nil
	}
	f.zero = from + n
	_, err := f.file.WriteAt(zeros[:n], from)
	return err
}

// syncSegments syncs the segments that have frames in the file, and are not synced since. It calls pause
// before each sync.
func (f *journalFile) syncSegments(pause func(begun, of int)) error {
	logs := slices.Collect(maps.Keys(f.ends))
	return parallel(len(logs), checkpointSyncs, func(i int) error {
		pause(i, len(logs))
		return logs[i].syncUpTo(f.ends[logs[i]])
	})
}

// zeros are written ahead of the rounds of a new file: a sync of bytes that replace others writes nothing
// else.
var zeros [1 << 20]byte
