package crashfs

import (
	"maps"
	"slices"
)

// A node is a file or a directory, as programs see it and as it certainly is on the disk.
type node struct {
	dir bool

	names     map[string]*node // of a directory
	diskNames map[string]*node

	data     []byte // of a file
	diskData []byte
	changes  int      // of data, so far
	pending  []dataOp // those not yet synced, in the order of the calls
}

func newDir() *node {
	return &node{dir: true, names: map[string]*node{}, diskNames: map[string]*node{}}
}

func sortedNames(m map[string]*node) []string { return slices.Sorted(maps.Keys(m)) }

// A nameOp is a change of one name, or, in a rename, of two at once.
type nameOp struct {
	number int // of the change, from 1
	kind   Op  // Create (of directories, too), Remove or Rename
	dir    *node
	name   string
	node   *node
	toDir  *node
	toName string
}

func (op *nameOp) touches(dir *node) bool { return op.dir == dir || op.toDir == dir }

// A view selects the names of a directory: those in memory, or those on the disk.
type view func(*node) map[string]*node

func inMemory(n *node) map[string]*node { return n.names }
func onDisk(n *node) map[string]*node   { return n.diskNames }

// apply makes the change, even if changes before it were lost.
func (op *nameOp) apply(names view) {
	if op.kind == Create {
		names(op.dir)[op.name] = op.node
		return
	}
	delete(names(op.dir), op.name)
	if op.kind == Rename {
		names(op.toDir)[op.toName] = op.node
	}
}

// A dataOp is a write of bytes at pos, or, where bytes is nil, a truncate to
// the size pos.
type dataOp struct {
	pos   int64
	bytes []byte
	lost  bool // its sync failed: the next one will not write it either
}

func (op *dataOp) apply(data []byte) []byte {
	if op.bytes == nil {
		return resize(data, op.pos)
	}
	if end := op.pos + int64(len(op.bytes)); end > int64(len(data)) {
		data = resize(data, end)
	}
	copy(data[op.pos:], op.bytes)
	return data
}

// resize cuts data or appends zeros.
func resize(data []byte, size int64) []byte {
	if old := int64(len(data)); size > old {
		return append(data, make([]byte, size-old)...)
	}
	return data[:size]
}

// change changes a file: programs see it at once, the disk gets it later.
func (n *node) change(op dataOp) {
	n.data = op.apply(n.data)
	n.changes++
	n.pending = append(n.pending, op)
}

// upTo returns those of the first count changes that are pending.
func (n *node) upTo(count int) []dataOp {
	return n.pending[:max(0, len(n.pending)-(n.changes-count))]
}

// sync puts the first count changes on the disk. It drops those whose sync failed before, because
// the kernel has marked their pages clean.
func (n *node) sync(count int) {
	ops := n.upTo(count)
	for i := range ops {
		if !ops[i].lost {
			n.diskData = ops[i].apply(n.diskData)
		}
	}
	n.pending = slices.Clone(n.pending[len(ops):])
}

// failSync marks the pending writes of the first count changes lost. A truncate has no pages that the
// kernel could mark clean: it is on the disk with the next sync.
func (n *node) failSync(count int) {
	ops := n.upTo(count)
	for i := range ops {
		ops[i].lost = ops[i].bytes != nil
	}
}
