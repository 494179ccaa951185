package commitlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// A journal file holds bytes of many segments that are durable here before they are in their files.
// It is written in rounds. A round is written and synced before the next one begins, so a frame of
// a later round proves that all earlier rounds were durable: what is invalid there is damage. In the
// last round it is the rest of a write that a crash has cut short.
//
// A round begins at a multiple of 4096 bytes, so that no write touches a page that was synced. It is
// a sequence of frames, one for each partition:
//
//	 0     4        8      16      24      28      32      48          52      56     64         72      80     88       92     96
//	+-----+--------+------+-------+-------+-------+-------+-----------+-------+------+----------+-------+------+--------+------+------------+
//	| CRC | length | salt | round | index | count | topic | partition | epoch | base | position | first | next | CRC of | zero | data, then |
//	|     | of data|      |       |       |       | id    |           |       |      |          |       |      | data   |      | 0-7 zeros  |
//	+-----+--------+------+-------+-------+-------+-------+-----------+-------+------+----------+-------+------+--------+------+------------+
//
// The data are the bytes of a segment from a position on. The CRC is of the bytes from the length to
// the zero. The salt is that of the file's name: a file is used again under another name, and what
// it held is no frame any more. No publisher knows it, so no message looks like a frame.
const (
	roundAlign  = 4096
	frameAlign  = 8
	frameHeader = 96
	maxFrame    = 1 << 20 // most bytes of data in a frame
)

// A journalName is the name of a journal file. A higher generation was written later.
type journalName struct{ generation, salt uint64 }

func (n journalName) String() string { return fmt.Sprintf("%020d-%016x", n.generation, n.salt) }

// parseJournalName reads the result of String.
func parseJournalName(s string) (n journalName, ok bool) {
	digits, salt, _ := strings.Cut(s, "-")
	var err, bad error
	n.generation, err = strconv.ParseUint(digits, 10, 64)
	n.salt, bad = strconv.ParseUint(salt, 16, 64)
	return n, err == nil && bad == nil && n.String() == s
}

// A frame says which part of a segment its data are.
type frame struct {
	topic       [16]byte
	partition   int32
	epoch       leaderEpoch
	base        int64 // of the segment
	pos         int64 // in the segment, in bytes
	first, next int64 // offset of its first record, and behind its last one
}

// frameSize is the number of bytes that a frame with n bytes of data takes.
func frameSize(n int) int { return roundUp(frameHeader+n, frameAlign) }

// roundUp is the least multiple of a power of two that is not below n.
func roundUp(n, to int) int { return (n + to - 1) &^ (to - 1) }

// appendFrame appends a frame: that of this index, from 0, among count in a round.
func appendFrame(p []byte, salt, round uint64, index, count int, f frame, data []byte) []byte {
	at := len(p)
	p = binary.BigEndian.AppendUint32(p, 0)
	p = binary.BigEndian.AppendUint32(p, uint32(len(data)))
	p = binary.BigEndian.AppendUint64(p, salt)
	p = binary.BigEndian.AppendUint64(p, round)
	p = binary.BigEndian.AppendUint32(p, uint32(index))
	p = binary.BigEndian.AppendUint32(p, uint32(count))
	p = append(p, f.topic[:]...)
	p = binary.BigEndian.AppendUint32(p, uint32(f.partition))
	p = binary.BigEndian.AppendUint32(p, uint32(f.epoch))
	for _, n := range [...]int64{f.base, f.pos, f.first, f.next} {
		p = binary.BigEndian.AppendUint64(p, uint64(n))
	}
	p = binary.BigEndian.AppendUint32(p, crc32.Checksum(data, castagnoli))
	p = binary.BigEndian.AppendUint32(p, 0)
	binary.BigEndian.PutUint32(p[at:], crc32.Checksum(p[at+4:], castagnoli))
	p = append(p, data...)
	return append(p, make([]byte, frameSize(len(data))-frameHeader-len(data))...)
}

// A storedFrame is a frame in a file.
type storedFrame struct {
	frame
	at           int // in the file, in bytes
	round        uint64
	index, count int
	size         int    // of the data, in bytes
	data         []byte // nil if they are damaged
	proven       bool   // a later round was begun, so this one was synced
}

func (f *storedFrame) end() int { return f.at + frameSize(f.size) }

// follows says that nothing is missing between two frames.
func (f *storedFrame) follows(before *storedFrame) bool {
	if f.index > 0 {
		return f.round == before.round && f.index == before.index+1 && f.at == before.end()
	}
	return f.round == before.round+1 && before.isLast() && f.at == roundUp(before.end(), roundAlign)
}

// isLast says that a round ends with the frame.
func (f *storedFrame) isLast() bool { return f.index == f.count-1 }

// parseHeader reads the header at a position of a file. It returns false if there is no valid one.
func parseHeader(p []byte, at int, salt uint64) (f storedFrame, ok bool) {
	h := p[at:]
	if len(h) < frameHeader || binary.BigEndian.Uint64(h[8:]) != salt || binary.BigEndian.Uint32(h) != crc32.Checksum(h[4:frameHeader], castagnoli) {
		return f, false
	}
	f = storedFrame{
		at: at, round: binary.BigEndian.Uint64(h[16:]), index: int(binary.BigEndian.Uint32(h[24:])), count: int(binary.BigEndian.Uint32(h[28:])),
		size: int(binary.BigEndian.Uint32(h[4:])),
	}
	copy(f.topic[:], h[32:])
	f.partition, f.epoch = int32(binary.BigEndian.Uint32(h[48:])), leaderEpoch(binary.BigEndian.Uint32(h[52:]))
	for i, n := range [...]*int64{&f.base, &f.pos, &f.first, &f.next} {
		*n = int64(binary.BigEndian.Uint64(h[56+8*i:]))
	}
	return f, f.isPossible() && frameSize(f.size) <= len(h)
}

// checkData sets the data if they are as they were written to the file.
func (f *storedFrame) checkData(p []byte) {
	h := p[f.at:]
	if data := h[frameHeader : frameHeader+f.size]; binary.BigEndian.Uint32(h[88:]) == crc32.Checksum(data, castagnoli) {
		f.data = data
	}
}

// isPossible says that the numbers of a frame can have been written.
func (f *storedFrame) isPossible() bool {
	return f.size > 0 && f.size <= maxFrame && f.index < f.count && f.partition >= 0 &&
		f.base >= 0 && f.first >= f.base && f.next > f.first && f.pos >= 0 && f.pos < 1<<62
}

// A journalContent is what a journal file holds.
type journalContent struct {
	frames []storedFrame // those with a valid header, in order
	damage []span        // bytes of earlier rounds than the last, in which there is no valid frame
	torn   []span        // the same, of the last round: a crash may have cut it short
}

// scanJournal finds the frames in the content of a journal file. Behind bytes that are no frame it goes
// on with the next header. Each byte is read once, or belongs to a header.
func scanJournal(p []byte, salt uint64) journalContent {
	n := 0
	eachHeader(p, salt, func(storedFrame) { n++ })
	c := journalContent{frames: make([]storedFrame, 0, n)} // there may be 400,000
	eachHeader(p, salt, func(f storedFrame) {
		f.checkData(p)
		c.frames = append(c.frames, f)
	})
	c.findDamage()
	c.findHeader(p, salt)
	return c
}

// eachHeader calls found with each frame that has a valid header, in order.
func eachHeader(p []byte, salt uint64, found func(storedFrame)) {
	for at := nextSalt(p, 0, salt); at < len(p); at = nextSalt(p, at, salt) {
		f, ok := parseHeader(p, at, salt)
		if !ok {
			at += frameAlign
			continue
		}
		found(f)
		at = f.end()
	}
}

// findHeader looks behind the last frame for the header of another round, which is damaged.
func (c *journalContent) findHeader(p []byte, salt uint64) {
	at := 0
	if n := len(c.frames); n > 0 {
		at = roundUp(c.frames[n-1].end(), roundAlign)
	}
	if len(p) < at+frameHeader || len(c.torn) > 0 {
		return
	}
	h := bytes.Clone(p[at : at+frameHeader])
	damaged := binary.BigEndian.Uint64(h[8:]) == salt
	binary.BigEndian.PutUint64(h[8:], salt)
	if damaged || binary.BigEndian.Uint32(h) == crc32.Checksum(h[4:], castagnoli) {
		c.lost(span{int64(at), int64(at + roundAlign)}, true)
	}
}

// nextSalt returns the first place from at on, where a header with this salt may begin, or len(p).
func nextSalt(p []byte, at int, salt uint64) int {
	for ; at+frameHeader <= len(p); at += frameAlign {
		if binary.BigEndian.Uint64(p[at+8:]) == salt {
			return at
		}
	}
	return len(p)
}

// findDamage compares each frame with the one before. The bytes in front of the first frame of a round
// belong to earlier rounds.
func (c *journalContent) findDamage() {
	if len(c.frames) == 0 {
		return
	}
	last := c.lastRound()
	before := &storedFrame{round: c.frames[0].round - 1, count: 1, size: -frameHeader} // it ends at byte 0
	for i := range c.frames {
		f := &c.frames[i]
		if !f.follows(before) {
			c.lost(span{int64(before.end()), int64(f.at)}, f.index > 0 && before.endsAt(last))
		}
		if f.data == nil {
			c.lost(span{int64(f.at), int64(f.end())}, f.round == last)
		}
		before = f
	}
	if end := before.end(); !before.isLast() {
		c.lost(span{int64(end), int64(roundUp(end+1, roundAlign))}, true)
	}
}

// endsAt says that what follows the frame belongs to this round.
func (f *storedFrame) endsAt(round uint64) bool {
	return f.round == round || f.isLast() && f.round+1 == round
}

// lost notes bytes in which there is no valid frame.
func (c *journalContent) lost(s span, inLast bool) {
	if inLast {
		c.torn = append(c.torn, s)
	} else {
		c.damage = append(c.damage, s)
	}
}

// lastRound is the number of the last round; 0 if there is no frame.
func (c *journalContent) lastRound() uint64 {
	if len(c.frames) == 0 {
		return 0
	}
	return c.frames[len(c.frames)-1].round
}

// proven notes that a later file has a frame, so that the last round was durable, too.
func (c *journalContent) proven() {
	c.damage, c.torn = append(c.damage, c.torn...), nil
}

// endsBefore notes rounds that are missing between this file and the next one of the same process.
func (c *journalContent) endsBefore(next *journalContent) {
	if len(c.frames) == 0 || len(next.frames) == 0 || next.frames[0].round <= c.lastRound()+1 {
		return
	}
	end := c.frames[len(c.frames)-1].end()
	c.damage = append(c.damage, span{int64(end), int64(roundUp(end+1, roundAlign))})
}
