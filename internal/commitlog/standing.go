package commitlog

import (
	"fmt"

	"mbus/internal/store"
)

// A start does not sync a segment whose bytes behind the recovery point are all in the journal, in rounds
// that were synced: the journal goes on to stand for them, as it did in the process before. So a start
// behind kill -9 syncs no more than the logs of the last round, however many logs had frames. A
// checkpoint syncs the others in the background. Until it has, the journal's files keep their names,
// and rounds wait for new ones: a crash before leads to another replay, which finds the same frames,
// and bytes behind them that were synced directly.
//
// All of these conditions must hold:
//
//   - The frames are proven: a later round was begun. What the last round wrote may be in the page cache
//     only.
//   - They follow each other from the recovery point to the end of the segment. Between two of them
//     there may have been a direct sync that has failed, and bytes behind the last one were never
//     synced.
//   - The journal has no damage, the segment no torn tail and no hole: nothing was repaired.
//   - Logs are not synced at intervals: then a frame may end before what was acknowledged.
//
// The bytes are written again, as in any start of the same boot, so that the later sync has them to write.
// Such a log has not synced what an earlier process may have cut off, so its first sync is a direct one.

// stand notes the bytes of a frame that is above the recovery point.
func (j *journalled) stand(f *storedFrame) {
	end := f.pos + int64(f.size)
	switch {
	case !f.proven:
	case f.pos < j.stands.from || f.pos > j.stands.to:
		j.stands = span{f.pos, end}
	default:
		j.stands.to = max(j.stands.to, end)
	}
}

// standsFor says whether the journal may stand for what was found behind the recovery point.
func (r *recovery) standsFor(s *segment, found found) bool {
	l, j := r.log, &r.journal
	return l.replay.isSound() && l.journal.files.size > 0 && !l.late && l.syncEvery == 0 && len(l.appends.owed) == 0 &&
		found.reason == nil && len(found.holes) == 0 && len(j.missing) == 0 && len(j.older) == 0 &&
		j.base == s.base && j.stands.from <= s.index.recoveryPoint().pos && j.stands.to >= found.end.pos
}

// isSound says whether all files of the journal could be read, and none is damaged or kept.
func (r *replay) isSound() bool { return r != nil && r.sound }

// A standing is the journal's files that a start leaves, and the ends of the logs for which they stand.
type standing struct {
	ends  map[*committer]syncPoint
	files *journalFiles
}

// standing finds the logs that are not synced.
func (s *Store) standing() *standing {
	st := &standing{ends: make(map[*committer]syncPoint), files: &s.journal.files}
	for _, t := range s.registry.topics { // nobody else uses the store yet
		for _, l := range t.partitions {
			if c := &l.commits; c.written.pos > c.synced && len(l.appends.owed) == 0 {
				st.ends[c] = syncPoint{segment: c.active, end: c.written}
			}
		}
	}
	return st
}

// leave gives a file to the checkpoint, if it stands for segments. A file that is kept for a topic that
// can't be used stands for no other: those are synced now.
func (r *replay) leave(f replayFile, needed bool, st *standing) (left bool, err error) {
	if len(st.ends) == 0 || f.kept {
		return false, nil
	}
	file := &journalFile{name: f.named, ends: st.ends}
	if needed {
		if err := file.syncSegments(st.files.keepPace); err != nil {
			return false, fmt.Errorf("syncing what the journal holds: %w", err)
		}
		return false, nil
	}
	st.files.passGeneration(f.named.generation)
	st.files.broken = append(st.files.broken, file)
	return true, nil
}

// isLeft says whether the log is closed with bytes for which the journal stands. The caller holds mu.
func (a *appender) isLeft() bool {
	c := &a.log.commits
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(a.owed) == 0 && c.written.pos > c.synced && c.ended == store.ErrClosed
}
