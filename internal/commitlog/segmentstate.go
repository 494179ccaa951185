package commitlog

import "sync"

// A segmentState is the state of a segment in memory. An append that begins the next segment takes its
// lock, so that no file is read under it.
type segmentState struct {
	mu     sync.Mutex // guards what follows
	loaded bool       // the index is valid
	gone   bool       // the files are being deleted
	ended  bool       // sealed is known
	sealed position   // end of a segment that is not the last
}

// forgotten notes that the files are being removed.
func (t *segmentState) forgotten() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gone = true
}

func (t *segmentState) isGone() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.gone
}

// seal notes that the segment ends at m and is no longer the active one.
func (t *segmentState) seal(m position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended, t.sealed = true, m
}

// sealedAt returns the end of a sealed segment, if it is known.
func (t *segmentState) sealedAt() (end position, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sealed, t.ended
}

// loads notes whether the index is valid, and returns the error by which it is not.
func (t *segmentState) loads(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.loaded = err == nil
	return err
}

// isReady says whether the index is valid, and the end known unless the segment is active.
func (t *segmentState) isReady(active bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.loaded && (active || t.ended)
}

// ends notes where a sealed segment ends, and whether that is certain.
func (t *segmentState) ends(m position, known bool) position {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sealed, t.ended = m, known
	return m
}
