package commitlog

import "time"

// progress is how far a log's active segment is written, synced and durable. It belongs to a committer,
// whose mu guards it.
type progress struct {
	active   *segment
	written  position  // the end
	unsynced int64     // bytes written since the last sync or round of the journal began
	synced   int64     // bytes of the file that are known to be synced
	durable  position  // all bytes before are synced, in the file or in the journal
	cuts     int       // how often the file has been cut off
	lastCut  int       // and how often before its last sync
	oldest   time.Time // with an interval: all writes before are durable; zero if all writes are
}

// install is partition.install.
func (p *progress) install(s *segment, end position) {
	*p = progress{active: s, written: end, synced: end.pos, durable: end}
}

// isSmall says whether the bytes that are not durable can be a frame of the journal. If the file was cut
// off they can't: after a power cut, the bytes that were cut off would follow those of the journal.
func (p *progress) isSmall() bool {
	return p.unsynced < largeSyncBytes && p.written.pos-p.durable.pos < largeSyncBytes && p.cuts == p.lastCut
}

// isSynced notes the result of a sync that began then: later writes are younger. If the segment is no
// longer the active one there is nothing to note.
func (p *progress) isSynced(at syncPoint, began time.Time) {
	if at.segment != p.active {
		return
	}
	p.synced, p.lastCut = at.end.pos, at.cuts
	p.reached(at.end, began)
}

// isInJournal notes that a piece of a segment is durable.
func (p *progress) isInJournal(of piece) {
	if of.segment == p.active {
		p.reached(of.end, of.began)
	}
}

// reached notes that all bytes before end are durable, and that later ones are younger than the time.
func (p *progress) reached(end position, began time.Time) {
	if end.pos < p.durable.pos {
		return
	}
	p.durable = end
	if p.written.pos == end.pos {
		began = time.Time{}
	}
	p.oldest = began
}
