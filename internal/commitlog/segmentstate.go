package commitlog

import "sync"

// A segmentState is what is known of a segment that is in use. No file is read under its lock: an
// append that begins the next segment takes it.
type segmentState struct {
	mu     sync.Mutex // guards what follows
	loaded bool       // the index is valid
	gone   bool       // the files are being deleted
	ended  bool       // sealed is known
	sealed position   // end of a segment that is not the last
}

// forgotten says that the files are being deleted.
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

// seal says that the segment ends at m and no more will be appended.
func (t *segmentState) seal(m position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended, t.sealed = true, m
}

// sealedAt is where a sealed segment ends, as far as is known.
func (t *segmentState) sealedAt() (end position, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sealed, t.ended
}

// loads says whether the index is valid, unless an error says that it is not.
func (t *segmentState) loads(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.loaded = err == nil
	return err
}

func (t *segmentState) isLoaded() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.loaded
}

// ends notes where a sealed segment ends; known says whether that is certain.
func (t *segmentState) ends(m position, known bool) position {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sealed, t.ended = m, known
	return m
}
