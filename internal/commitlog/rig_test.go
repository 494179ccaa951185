package commitlog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mbus/internal/batch/batchtest"
	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/store/storetest"
	"mbus/internal/vfs/crashfs"
)

// The crash tests make many disks in memory and keep none, so that collecting the
// garbage would take a fifth of the time.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	m.Run()
}

// A rig is a store with one log, "orders", on a disk in memory.
type rig struct {
	*testing.T
	batchtest.Maker
	store.Partition
	options commitlog.Options
	disk    *crashfs.FS
	store   *commitlog.Store
	log     *recorder
	stored  []batchtest.Stored // acknowledged
}

func newRig(t *testing.T, o commitlog.Options) *rig {
	r := &rig{T: t, disk: crashfs.New(), options: o}
	r.start(r.disk)
	if _, err := r.store.CreateTopic("orders", 1, ""); err != nil {
		t.Fatal(err)
	}
	r.connect()
	t.Cleanup(func() { r.store.Close() })
	return r
}

// smallSegments has about four batches of Batch(3, 200) to a segment.
func smallSegments() commitlog.Options { return commitlog.Options{SegmentBytes: segmentBytes} }

// oneSegment has everything in the active segment.
func oneSegment() commitlog.Options { return commitlog.Options{} }

// smallIndex has an index entry for each batch or two of one segment, and syncs that come
// at the end.
func smallIndex() commitlog.Options {
	return commitlog.Options{SyncEvery: time.Hour, SegmentBytes: 1 << 20}
}

// start opens the store on a disk.
func (r *rig) start(disk *crashfs.FS) {
	r.Helper()
	r.log = new(recorder)
	r.disk, r.options.FS, r.options.Log = disk, disk, slog.New(r.log)
	s, err := commitlog.Open("/data", r.options)
	if err != nil {
		r.Fatalf("open: %v", err)
	}
	r.store = s
}

func (r *rig) connect() {
	r.Helper()
	p, err := r.store.Partition("orders", 0)
	if err != nil {
		r.Fatal(err)
	}
	r.Partition = p
}

// reopen goes on with the store on another disk.
func (r *rig) reopen(disk *crashfs.FS) {
	r.Helper()
	r.store.Close()
	r.start(disk)
	r.connect()
}

// restart closes the store and opens it again.
func (r *rig) restart() {
	r.Helper()
	if err := r.store.Close(); err != nil {
		r.Errorf("close: %v", err)
	}
	r.reopen(r.disk.KillClone())
}

// answer is what done was called with.
type answer struct {
	base int64
	err  error
}

// submit appends and does not wait for the answer.
func (r *rig) submit(batches ...[]byte) (answers chan answer, stamped []batchtest.Stored) {
	r.Helper()
	p := slices.Concat(batches...)
	answers = make(chan answer, 2)
	if err := store.Append(r, p, func(base int64, err error) { answers <- answer{base, err} }); err != nil {
		r.Fatalf("append: %v", err)
	}
	stamped, err := batchtest.Split(p)
	if err != nil {
		r.Fatal(err)
	}
	return answers, stamped
}

// append appends and waits until the batches are acknowledged.
func (r *rig) append(batches ...[]byte) {
	r.Helper()
	answers, stamped := r.submit(batches...)
	if a := wait(r.T, answers, "the answer to an append"); a.err != nil {
		r.Fatalf("append was answered: %v", a.err)
	}
	r.stored = append(r.stored, stamped...)
}

// fill appends that many batches of three records, 700 bytes or so each.
func (r *rig) fill(batches int) {
	r.Helper()
	for range batches {
		r.append(r.Batch(3, 200))
	}
}

// holds says that the log reads as exactly these batches.
func (r *rig) holds(want []batchtest.Stored) {
	r.Helper()
	for _, maxBytes := range []int{1, 1500, 1 << 20} {
		got, err := storetest.ReadAll(r.Partition, maxBytes)
		if err != nil {
			r.Fatalf("reading %d bytes at a time: %v", maxBytes, err)
		}
		sameBatches(r.T, got, want)
	}
	if _, high := r.Offsets(); len(want) > 0 && high != want[len(want)-1].Next {
		r.Fatalf("the high watermark is %d, the last batch ends at %d", high, want[len(want)-1].Next)
	}
}

// holdsStored says that the log has what was acknowledged, no less and no more.
func (r *rig) holdsStored() {
	r.Helper()
	r.holds(r.stored)
}

// goesOn appends once more and looks at everything again, after a power cut, too.
func (r *rig) goesOn() {
	r.Helper()
	r.fill(1)
	r.holdsStored()
	r.reopen(r.disk.Crash(crashfs.Nothing()))
	r.holdsStored()
}

// refuses says that an append is refused with an error, and not answered.
func (r *rig) refuses(want error, batches ...[]byte) {
	r.Helper()
	err := store.Append(r, slices.Concat(batches...), func(int64, error) { r.Error("a refused append was answered") })
	if !errors.Is(err, want) {
		r.Fatalf("append: %v, want %v", err, want)
	}
}

func sameBatches(t *testing.T, got, want []batchtest.Stored) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if !bytes.Equal(got[i].Bytes, want[i].Bytes) {
			t.Fatalf("batch %d of %d is that of offset %d, want that of %d", i, len(got), got[i].Base, want[i].Base)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d batches, want %d", len(got), len(want))
	}
}

// bytesOf is what the batches look like in a file.
func bytesOf(list []batchtest.Stored) []byte {
	var p []byte
	for _, b := range list {
		p = append(p, b.Bytes...)
	}
	return p
}

// patience bounds every wait for something that should happen at once.
const patience = time.Minute

func wait[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s did not come", what)
		panic("unreachable")
	}
}

// A recorder is a slog.Handler that keeps what is logged.
type recorder struct {
	mu    sync.Mutex
	lines []string
}

func (h *recorder) Enabled(context.Context, slog.Level) bool { return true }
func (h *recorder) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h *recorder) WithGroup(string) slog.Handler            { return h }

func (h *recorder) Handle(_ context.Context, rec slog.Record) error {
	line := rec.Level.String() + " " + rec.Message
	rec.Attrs(func(a slog.Attr) bool {
		line += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, line)
	return nil
}

func (h *recorder) logger() *slog.Logger { return slog.New(h) }

// logged gives what was logged so far.
func (h *recorder) logged() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.lines)
}

// says tells whether something was logged that contains text.
func (h *recorder) says(text string) bool {
	return slices.ContainsFunc(h.logged(), func(line string) bool { return strings.Contains(line, text) })
}

// logDir is the directory of the rig's log.
const logDir = "/data/topics/orders/0"

// files names the files of the rig's log that end in suffix, ascending.
func files(t *testing.T, disk *crashfs.FS, suffix string) []string {
	t.Helper()
	list, err := disk.ReadDir(logDir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		if strings.HasSuffix(e.Name, suffix) {
			names = append(names, path.Join(logDir, e.Name))
		}
	}
	return names
}

// readFile reads a file whole.
func readFile(t testing.TB, disk *crashfs.FS, name string) []byte {
	t.Helper()
	f, err := disk.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, size)
	if n, err := f.ReadAt(p, 0); n < len(p) {
		t.Fatal(err)
	}
	return p
}

// writeFile gives a file that exists another content, durably.
func writeFile(t testing.TB, disk *crashfs.FS, name string, content []byte) {
	t.Helper()
	f, err := disk.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = f.Truncate(0)
	if err == nil && len(content) > 0 {
		_, err = f.WriteAt(content, 0)
	}
	if err = errors.Join(err, f.Sync()); err != nil {
		t.Fatal(err)
	}
}

// isLog tells the calls on a segment.
func isLog(c crashfs.Call) bool { return strings.HasSuffix(c.Name, ".log") }
