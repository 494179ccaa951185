package commitlog

import (
	"errors"
	"io"
	"strings"
	"sync"

	"mbus/internal/store"
	"mbus/internal/vfs"
)

// readOnly is a file system that refuses to change anything. Writes to segments are kept in memory, so
// that Verify sees what a replay of the journal will make of them.
type readOnly struct {
	fs      vfs.FS // nil for the system's own
	written *overlay
}

func (r readOnly) Open(name string) (f vfs.File, err error) {
	if r.fs != nil {
		f, err = r.fs.Open(name)
	} else {
		f, err = vfs.OS{}.OpenToRead(name)
	}
	if err == nil && strings.HasSuffix(name, logSuffix) {
		f = &overlaid{f, name, r.written}
	}
	return f, err
}

func (r readOnly) ReadDir(name string) ([]vfs.Entry, error) {
	if r.fs != nil {
		return r.fs.ReadDir(name)
	}
	return vfs.OS{}.ReadDir(name)
}

func (r readOnly) Boot() string {
	fs := r.fs
	if fs == nil {
		fs = vfs.OS{}
	}
	if b, ok := fs.(booted); ok {
		return b.Boot()
	}
	return ""
}

func (readOnly) Create(string) (vfs.File, error) { return nil, store.ErrClosed }
func (readOnly) Mkdir(string) error              { return store.ErrClosed }
func (readOnly) Rename(string, string) error     { return store.ErrClosed }
func (readOnly) Remove(string) error             { return store.ErrClosed }
func (readOnly) SyncDir(string) error            { return store.ErrClosed }

// An overlay holds what was written to files, by name.
type overlay struct {
	mu      sync.Mutex
	patches map[string][]patch
}

// A patch is bytes that were written at a position.
type patch struct {
	pos   int64
	bytes []byte
}

// An overlaid file is read as if writes had changed it.
type overlaid struct {
	vfs.File
	name string
	o    *overlay
}

func (f *overlaid) patches() []patch {
	f.o.mu.Lock()
	defer f.o.mu.Unlock()
	return f.o.patches[f.name]
}

func (f *overlaid) WriteAt(p []byte, pos int64) (int, error) {
	f.o.mu.Lock()
	defer f.o.mu.Unlock()
	f.o.patches[f.name] = append(f.o.patches[f.name], patch{pos, append([]byte(nil), p...)})
	return len(p), nil
}

func (f *overlaid) Size() (int64, error) {
	size, err := f.File.Size()
	for _, w := range f.patches() {
		size = max(size, w.pos+int64(len(w.bytes)))
	}
	return size, err
}

// ReadAt reads the file, zeros behind its end, and what was written. Bytes that can't be read are an
// error unless all of them were written.
func (f *overlaid) ReadAt(p []byte, pos int64) (int, error) {
	list := f.patches()
	if len(list) == 0 {
		return f.File.ReadAt(p, pos)
	}
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	n, err := f.File.ReadAt(p, pos)
	if err != nil && !errors.Is(err, io.EOF) {
		return f.patched(p, pos, n, err)
	}
	want := int(max(0, min(int64(len(p)), size-pos)))
	if n < want {
		clear(p[n:want])
	}
	for _, w := range list {
		w.apply(p[:want], pos)
	}
	if want < len(p) {
		return want, io.EOF
	}
	return want, nil
}

// patched is ReadAt for bytes of which the file gives only n.
func (f *overlaid) patched(p []byte, pos int64, n int, err error) (int, error) {
	for _, w := range f.patches() {
		if w.pos <= pos && w.pos+int64(len(w.bytes)) >= pos+int64(len(p)) {
			w.apply(p, pos)
			return len(p), nil
		}
	}
	for _, w := range f.patches() {
		w.apply(p[:n], pos)
	}
	return n, err
}

// apply writes into p, which was read from pos.
func (w patch) apply(p []byte, pos int64) {
	from, to := max(w.pos, pos), min(w.pos+int64(len(w.bytes)), pos+int64(len(p)))
	if from < to {
		copy(p[from-pos:to-pos], w.bytes[from-w.pos:])
	}
}
