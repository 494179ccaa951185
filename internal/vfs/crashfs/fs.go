// Package crashfs is a file system in memory that loses unsynced changes, for tests of crash
// safety. Beside the contents that programs see it keeps those that are certainly on the disk,
// and a list of the changes since: writes and truncates until Sync of the file, names until
// SyncDir of their directory.
//
// Crash returns the disk as it might look after a power cut, KillClone as it is after the process
// died. Both end the file system that they are called on: every further call fails with ErrDead,
// because a dead process does nothing.
package crashfs

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"mbus/internal/vfs"
)

// ErrDead is the error of every call after the process has died.
var ErrDead = errors.New("crashfs: the process is dead")

// An FS is a vfs.FS in memory. Its root, "/" or ".", exists.
type FS struct {
	mu      sync.Mutex // guards everything below, and all nodes and files
	root    *node
	changes int      // of names, so far
	pending []nameOp // those not yet synced, in the order of the calls
	hook    Hook
	boot    int // number of power cuts
	dead    bool
	reads   map[string]int64 // bytes read by the name the file was opened with
	open    map[*file]bool
}

// New makes an empty file system.
func New() *FS { return newFS(newDir()) }

func newFS(root *node) *FS {
	return &FS{root: root, reads: map[string]int64{}, open: map[*file]bool{}}
}

// SetHook makes h the hook that is called before each change; nil for none.
func (d *FS) SetHook(h Hook) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hook = h
}

// Kill ends the process that uses the file system: later calls, and calls that are still in the
// hook, change nothing and fail.
func (d *FS) Kill() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = true
}

// Boot changes with each power cut.
func (d *FS) Boot() string { return fmt.Sprint("boot ", d.boot) }

// BytesRead is the number of bytes read so far from files that were opened
// under a name that ends in suffix.
func (d *FS) BytesRead(suffix string) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	var sum int64
	for name, n := range d.reads {
		if strings.HasSuffix(name, suffix) {
			sum += n
		}
	}
	return sum
}

// OpenFiles names the open files, each as often as it is open.
func (d *FS) OpenFiles() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for f := range d.open {
		names = append(names, f.name)
	}
	slices.Sort(names)
	return names
}

// Open opens a file that exists.
func (d *FS) Open(name string) (vfs.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.find("open", name)
	if err != nil {
		return nil, err
	}
	if n.dir {
		return nil, pathError("open", name, syscall.EISDIR)
	}
	return d.opened(name, n), nil
}

// Create makes an empty file that must not exist.
func (d *FS) Create(name string) (vfs.File, error) {
	n := &node{}
	if err := d.link(Create, name, n); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.opened(name, n), nil
}

// opened makes an open file. The caller holds d.mu.
func (d *FS) opened(name string, n *node) *file {
	f := &file{fs: d, name: name, node: n}
	d.open[f] = true
	return f
}

// Mkdir makes a directory that must not exist.
func (d *FS) Mkdir(name string) error { return d.link(Mkdir, name, newDir()) }

// link gives n a name.
func (d *FS) link(op Op, name string, n *node) error {
	if err := d.before(Call{Op: op, Name: name}); err != nil {
		return pathError(string(op), name, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	parent, base, err := d.parent(string(op), name)
	if err != nil {
		return err
	}
	if parent.names[base] != nil {
		return pathError(string(op), name, fs.ErrExist)
	}
	d.change(nameOp{kind: Create, dir: parent, name: base, node: n})
	return nil
}

// Remove takes away a file's or an empty directory's name.
func (d *FS) Remove(name string) error {
	if err := d.before(Call{Op: Remove, Name: name}); err != nil {
		return pathError("remove", name, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	parent, base, err := d.parent("remove", name)
	if err != nil {
		return err
	}
	switch n := parent.names[base]; {
	case n == nil:
		return pathError("remove", name, fs.ErrNotExist)
	case len(n.names) > 0:
		return pathError("remove", name, syscall.ENOTEMPTY)
	}
	d.change(nameOp{kind: Remove, dir: parent, name: base})
	return nil
}

// Rename gives a file or directory another name, replacing the file or empty
// directory that had it.
func (d *FS) Rename(from, to string) error {
	if err := d.before(Call{Op: Rename, Name: from, To: to}); err != nil {
		return pathError("rename", from, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	dir, name, err := d.parent("rename", from)
	if err != nil {
		return err
	}
	toDir, toName, err := d.parent("rename", to)
	if err != nil {
		return err
	}
	n, old := dir.names[name], toDir.names[toName]
	switch {
	case n == nil:
		return pathError("rename", from, fs.ErrNotExist)
	case old == n:
		return nil
	case old != nil && old.dir != n.dir:
		return pathError("rename", to, fs.ErrExist)
	case old != nil && len(old.names) > 0:
		return pathError("rename", to, syscall.ENOTEMPTY)
	}
	d.change(nameOp{kind: Rename, dir: dir, name: name, toDir: toDir, toName: toName, node: n})
	return nil
}

// SyncDir puts on the disk what changed in a directory's names before the call.
func (d *FS) SyncDir(name string) error {
	d.mu.Lock()
	changes := d.changes
	d.mu.Unlock()
	if err := d.before(Call{Op: SyncDir, Name: name}); err != nil {
		return pathError("sync", name, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	dir, err := d.find("sync", name)
	if err != nil {
		return err
	}
	d.pending = slices.DeleteFunc(d.pending, func(op nameOp) bool {
		if !op.touches(dir) || op.number > changes {
			return false
		}
		op.apply(onDisk)
		return true
	})
	return nil
}

// ReadDir lists a directory, sorted by name.
func (d *FS) ReadDir(name string) ([]vfs.Entry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir, err := d.find("readdir", name)
	if err != nil {
		return nil, err
	}
	if !dir.dir {
		return nil, pathError("readdir", name, syscall.ENOTDIR)
	}
	list := make([]vfs.Entry, 0, len(dir.names))
	for _, base := range sortedNames(dir.names) {
		n := dir.names[base]
		list = append(list, vfs.Entry{Name: base, Dir: n.dir, Size: int64(len(n.data))})
	}
	return list, nil
}

// change changes names: programs see it at once, the disk gets it later.
// The caller holds d.mu.
func (d *FS) change(op nameOp) {
	d.changes++
	op.number = d.changes
	op.apply(inMemory)
	d.pending = append(d.pending, op)
}

// find walks to a node. The caller holds d.mu.
func (d *FS) find(op, name string) (*node, error) {
	if d.dead {
		return nil, pathError(op, name, ErrDead)
	}
	n := d.root
	for _, part := range split(name) {
		if n = n.names[part]; n == nil {
			return nil, pathError(op, name, fs.ErrNotExist)
		}
	}
	return n, nil
}

// parent walks to the directory that name is in. The caller holds d.mu.
func (d *FS) parent(op, name string) (*node, string, error) {
	clean := filepath.Clean(name)
	n, err := d.find(op, filepath.Dir(clean))
	if err != nil {
		return nil, "", err
	}
	if !n.dir {
		return nil, "", pathError(op, name, syscall.ENOTDIR)
	}
	return n, filepath.Base(clean), nil
}

func split(name string) []string {
	clean := strings.Trim(filepath.Clean(name), "/")
	if clean == "" || clean == "." {
		return nil
	}
	return strings.Split(clean, "/")
}

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}
