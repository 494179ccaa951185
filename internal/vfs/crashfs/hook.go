package crashfs

// An Op is a kind of call that changes or syncs the file system.
type Op string

// Operations that a Hook sees.
const (
	Create   Op = "create"
	Mkdir    Op = "mkdir"
	Rename   Op = "rename"
	Remove   Op = "remove"
	WriteAt  Op = "write"
	Truncate Op = "truncate"
	Allocate Op = "allocate"
	Sync     Op = "sync"
	SyncDir  Op = "syncdir"
)

// A Call is an operation before it happens.
type Call struct {
	Op   Op
	Name string // as the caller gave it; of a file, the name it was opened with
	To   string // of a Rename
	Pos  int64  // of a WriteAt; the size of a Truncate or an Allocate
	Len  int    // of a WriteAt
}

// A Hook is called before each operation, by its goroutine and without any lock. It may count,
// wait, call Kill, or return an error: then the operation fails and changes nothing. A
// *ShortWrite lets a WriteAt write its first bytes.
type Hook func(Call) error

// A ShortWrite makes a WriteAt write N bytes and fail with Err.
type ShortWrite struct {
	N   int
	Err error
}

func (e *ShortWrite) Error() string { return "short write: " + e.Err.Error() }

func (e *ShortWrite) Unwrap() error { return e.Err }

// before calls the hook.
func (d *FS) before(c Call) error {
	d.mu.Lock()
	hook, dead := d.hook, d.dead
	d.mu.Unlock()
	switch {
	case dead:
		return ErrDead
	case hook == nil:
		return nil
	}
	return hook(c)
}
