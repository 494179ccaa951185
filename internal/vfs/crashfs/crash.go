package crashfs

import (
	"bytes"
	"maps"
	"math/rand/v2"
)

// SectorSize is the unit that a disk writes whole or not at all, in bytes. Only a sector by which
// a file grew may hold something else: the size can reach the disk before the data.
const SectorSize = 512

// A Policy decides which unsynced changes survive a power cut: each sector of a write, each
// truncate and each name by itself, in any combination.
type Policy struct {
	Name string // for messages

	seed uint64
	keep func(*rand.Rand) float64 // the share of changes that reached the disk
	torn float64                  // the share of sectors written wrongly
}

// Nothing loses all unsynced changes.
func Nothing() Policy {
	return Policy{Name: "nothing kept", keep: func(*rand.Rand) float64 { return 0 }}
}

// Everything loses nothing, as if the disk had been quick enough.
func Everything() Policy {
	return Policy{Name: "everything kept", keep: func(*rand.Rand) float64 { return 1 }}
}

// Some keeps a random part of the changes, the same for the same seed.
func Some(seed uint64) Policy {
	return Policy{Name: "some kept", seed: seed, keep: anyShare}
}

// Torn keeps a random part of the changes; some of the appended sectors hold zeros or garbage.
func Torn(seed uint64) Policy {
	return Policy{Name: "some kept, some torn", seed: seed, keep: anyShare, torn: 0.3}
}

func anyShare(r *rand.Rand) float64 { return r.Float64() }

// Crash cuts the power: it ends d, if it has not ended before, and returns the disk as the next
// process finds it. It may be called again for another outcome.
func (d *FS) Crash(p Policy) *FS {
	d.Kill()
	d.mu.Lock()
	defer d.mu.Unlock()
	rng := rand.New(rand.NewPCG(p.seed, 1))
	c := &crash{rng: rng, keep: p.keep(rng), torn: p.torn, names: map[*node]map[string]*node{}}
	for i := range d.pending {
		if c.kept() {
			d.pending[i].apply(c.after)
		}
	}
	after := newFS(c.node(d.root))
	after.boot = d.boot + 1
	return after
}

// A crash is one outcome of a power cut, while it is made.
type crash struct {
	rng   *rand.Rand
	keep  float64
	torn  float64
	names map[*node]map[string]*node // of each directory, afterwards
}

func (c *crash) kept() bool { return c.rng.Float64() < c.keep }

// after is the view of names after the crash.
func (c *crash) after(dir *node) map[string]*node {
	if c.names[dir] == nil {
		c.names[dir] = maps.Clone(dir.diskNames)
	}
	return c.names[dir]
}

// node copies the remains of n, with everything in it if it is a directory.
func (c *crash) node(n *node) *node {
	if !n.dir {
		left := c.data(n)
		return &node{data: left, diskData: bytes.Clone(left)}
	}
	names := c.after(n)
	left := newDir()
	for _, name := range sortedNames(names) {
		left.names[name] = c.node(names[name])
	}
	left.diskNames = maps.Clone(left.names)
	return left
}

func (c *crash) data(n *node) []byte {
	data := bytes.Clone(n.diskData)
	for i := range n.pending {
		switch op := &n.pending[i]; {
		case op.bytes != nil:
			data = c.write(data, op, int64(len(n.diskData)))
		case c.kept():
			data = op.apply(data)
		}
	}
	return data
}

// write applies a write sector by sector. The first synced bytes of the file are never torn.
func (c *crash) write(data []byte, op *dataOp, synced int64) []byte {
	for done := 0; done < len(op.bytes); {
		pos := op.pos + int64(done)
		n := min(SectorSize-int(pos%SectorSize), len(op.bytes)-done)
		if c.kept() {
			sector := dataOp{pos: pos, bytes: op.bytes[done : done+n]}
			if pos >= synced {
				sector.bytes = c.tear(sector.bytes)
			}
			data = sector.apply(data)
		}
		done += n
	}
	return data
}

// tear returns the bytes that reach the disk in place of p.
func (c *crash) tear(p []byte) []byte {
	if c.rng.Float64() >= c.torn {
		return p
	}
	torn := make([]byte, len(p))
	switch c.rng.IntN(3) {
	case 0: // zeros: the size was written and the data was not
	case 1:
		for i := range torn {
			torn[i] = byte(c.rng.Uint32())
		}
	default:
		copy(torn, p[:c.rng.IntN(len(p))])
	}
	return torn
}

// KillClone ends the process as kill -9 does: everything it had written is there for the next
// one, but unsynced changes can still be lost in a power cut.
func (d *FS) KillClone() *FS {
	d.Kill()
	d.mu.Lock()
	defer d.mu.Unlock()
	c := cloner{}
	clone := newFS(c.node(d.root))
	clone.changes, clone.boot = d.changes, d.boot
	for _, op := range d.pending {
		op.dir, op.toDir, op.node = c.node(op.dir), c.node(op.toDir), c.node(op.node)
		clone.pending = append(clone.pending, op)
	}
	return clone
}

// A cloner maps nodes to their copies.
type cloner map[*node]*node

func (c cloner) node(n *node) *node {
	if n == nil || c[n] != nil {
		return c[n]
	}
	m := &node{dir: n.dir, changes: n.changes}
	c[n] = m
	m.names, m.diskNames = c.nodes(n.names), c.nodes(n.diskNames)
	m.data, m.diskData = bytes.Clone(n.data), bytes.Clone(n.diskData)
	m.pending = append(m.pending, n.pending...) // never changed once written
	return m
}

func (c cloner) nodes(names map[string]*node) map[string]*node {
	if names == nil {
		return nil
	}
	m := make(map[string]*node, len(names))
	for name, n := range names {
		m[name] = c.node(n)
	}
	return m
}
