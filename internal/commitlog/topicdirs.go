package commitlog

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"mbus/internal/store"
	"mbus/internal/vfs"
)

// topicDirs are the directories of topics: topics/NAME, and tmp/ID of topics that are being
// created or deleted. A topic is created in tmp/ and moved to its place complete, so that a
// crash leaves all of it or nothing; a deleted one is moved to tmp/ first.
type topicDirs struct {
	*dataDir
	catalog  *catalog
	registry *registry

	newPartition func(t store.Topic, number int) *partition

	syncs    groupSync     // of topics/
	creating chan struct{} // full when maxSyncs new files are being synced
	opening  chan struct{} // full when maxSyncs partitions are being recovered
	inPlace  sync.Mutex    // held while a topic is created or deleted that can't be moved
}

// sync makes the names in topics/ durable.
func (d *topicDirs) sync() error {
	return d.syncs.do(func() error { return d.fs.SyncDir(d.path(topicsName)) })
}

// stage creates a topic's directory, durable except for its own name. Its files are synced in
// parallel, because none is needed before all are there.
func (d *topicDirs) stage(dir string, t *topic) error {
	if err := d.fs.Mkdir(dir); err != nil {
		return err
	}
	if err := d.makeLogs(dir, t); err != nil {
		return err
	}
	return parallel(t.Partitions+1, maxSyncs, func(i int) error {
		if i == t.Partitions {
			return d.describe(dir, t)
		}
		return d.beginLog(t.partitions[i], t.first(i))
	})
}

// makeLogs creates the directories of the partitions of t in dir.
func (d *topicDirs) makeLogs(dir string, t *topic) error {
	t.partitions = nil
	for i := range t.Partitions {
		l := d.newPartition(t.Topic, i)
		l.dir = filepath.Join(dir, strconv.Itoa(i))
		if err := d.fs.Mkdir(l.dir); err != nil {
			return err
		}
		t.partitions = append(t.partitions, l)
	}
	return nil
}

// describe writes topic.json, and makes it durable with all names in dir.
func (d *topicDirs) describe(dir string, t *topic) error {
	content, err := encodeTopic(t.Topic)
	if err != nil {
		return err
	}
	d.creating <- struct{}{}
	defer func() { <-d.creating }()
	return vfs.WriteFile(d.fs, filepath.Join(dir, topicName), content)
}

// beginLog creates the first segment of a partition durably. The first record gets the offset.
func (d *topicDirs) beginLog(l *partition, offset int64) error {
	d.creating <- struct{}{}
	defer func() { <-d.creating }()
	if offset > 0 {
		if err := l.start.write(offset, offset); err != nil {
			return err
		}
		l.visible.setStart(offset)
	}
	return l.begin(position{}, offset)
}

// install moves a staged topic to its place. It removes nothing that may hold messages.
func (d *topicDirs) install(stage string, t *topic) error {
	place := d.path(topicsName, t.Name)
	err := d.fs.Rename(stage, place)
	if err != nil && (inTheWay(err) || elsewhere(err)) {
		d.inPlace.Lock() // on some file systems two names are the same
		defer d.inPlace.Unlock()
		if err := d.makeWay(t.Name); err != nil {
			return err
		}
		if err = d.fs.Rename(stage, place); err != nil && (inTheWay(err) || elsewhere(err)) {
			return d.createInPlace(place, t)
		}
	}
	if err != nil {
		return err
	}
	for _, l := range t.partitions {
		l.moved(filepath.Join(place, filepath.Base(l.dir)))
	}
	return nil
}

// inTheWay says that a rename failed because something else has the name.
func inTheWay(err error) bool {
	return isExist(err) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EBUSY)
}

// elsewhere says that a rename failed because a directory can't be moved there: one of the two is
// a mount point, or in a lower layer of an overlay, or has its own quota.
func elsewhere(err error) bool {
	return errors.Is(err, syscall.EXDEV) || errors.Is(err, syscall.EBUSY)
}

// createInPlace creates a topic in its place, after makeWay: in a mount point, behind a link, or
// where nothing is. It writes topic.json last, without which a directory is no topic.
func (d *topicDirs) createInPlace(place string, t *topic) error {
	if err := d.fs.Mkdir(place); err != nil && !isExist(err) {
		return err
	}
	err := d.makeLogs(place, t)
	if err == nil {
		err = parallel(t.Partitions, maxSyncs, func(i int) error { return d.beginLog(t.partitions[i], t.first(i)) })
	}
	if err == nil {
		err = d.fs.SyncDir(place)
	}
	if err == nil {
		err = d.describe(place, t)
	}
	if err != nil {
		d.uninstall(place, t)
	}
	return err
}

// uninstall removes the remains of a topic whose creation in its place failed. On some file systems
// two names are the same, so that another topic may be there meanwhile.
func (d *topicDirs) uninstall(place string, t *topic) {
	vacant, _ := d.vacant(place)
	there, err := d.read(t.Name)
	if vacant || err == nil && there.ID == t.ID {
		_ = removeOurs(d.fs, place)
	}
}

// makeWay clears the place of a topic that is to be created. It removes the remains of a topic whose
// creation or deletion failed, and fails if something else is there.
func (d *topicDirs) makeWay(name string) error {
	place := d.path(topicsName, name)
	vacant, err := d.vacant(place)
	switch {
	case isNotExist(err):
		return nil
	case errors.Is(err, syscall.ENOTDIR):
		return d.occupied(name)
	case err != nil:
		return err
	}
	if vacant || d.isBeingDeleted(name) {
		return removeOurs(d.fs, place)
	}
	id, failed := d.registry.failedID(name)
	if t, err := d.read(name); !failed || err != nil || t.ID != id {
		return d.occupied(name)
	}
	if err := d.catalog.bury(id); err != nil {
		return err
	}
	_, err = d.removeOr(name, id, func(place string) (bool, error) { return d.removeInPlace(place, id) }) // inPlace is locked
	return err
}

// occupied is the error for a topic whose place is occupied by something else.
func (d *topicDirs) occupied(name string) error {
	if other, ok := d.registry.foldedTo(name); ok {
		return fmt.Errorf("%w: the file system of the data directory takes the name %q for %q, which is another topic", store.ErrUnusable, name, other)
	}
	return fmt.Errorf("%w: something else is in the place of %q: if %q is a topic that was put back there, restart the broker to use it; else move it away",
		store.ErrUnusable, name, d.path(topicsName, name))
}

// checkName fails if the file system has changed a topic's name: some drop a dot at its end.
func (d *topicDirs) checkName(name string) error {
	if !strings.HasSuffix(name, ".") {
		return nil
	}
	entries, err := d.fs.ReadDir(d.path(topicsName))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name == name {
			return nil
		}
	}
	return fmt.Errorf("%w: the file system of the data directory does not keep the dot at the end of %q", store.ErrUnusable, name)
}

// remove moves a topic's directory to tmp/ and removes it there. moved says that the topic is gone,
// though the next start may have to remove its remains.
func (d *topicDirs) remove(name string, id [16]byte) (moved bool, err error) {
	return d.removeOr(name, id, func(place string) (bool, error) {
		d.inPlace.Lock() // on some file systems two names are the same
		defer d.inPlace.Unlock()
		return d.removeInPlace(place, id)
	})
}

// removeOr is remove, but calls inPlace if the directory can't be moved.
func (d *topicDirs) removeOr(name string, id [16]byte, inPlace func(place string) (bool, error)) (moved bool, err error) {
	place, grave := d.path(topicsName, name), d.path(stageName, formatID(id))
	switch err = d.fs.Rename(place, grave); {
	case isNotExist(err): // somebody has removed it
		return true, d.sync()
	case elsewhere(err):
		return inPlace(place)
	case err != nil:
		return false, err
	}
	if err := d.sync(); err != nil {
		return true, err
	}
	return true, d.empty(grave)
}

// empty removes a directory, or a link to one, from the stage.
func (d *topicDirs) empty(grave string) error {
	entries, err := d.fs.ReadDir(d.path(stageName))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Link && e.Name == filepath.Base(grave) {
			return removeLinked(d.fs, grave)
		}
	}
	return removeAll(d.fs, grave)
}

// removeInPlace removes a topic whose directory can't be moved. A file marks it as deleted until
// everything else is gone.
func (d *topicDirs) removeInPlace(place string, id [16]byte) (begun bool, err error) {
	if err := vfs.WriteFile(d.fs, filepath.Join(place, graveName), []byte(formatID(id))); err != nil {
		_ = d.fs.Remove(filepath.Join(place, graveName))
		return false, fmt.Errorf("%w: %w", errMarked, err)
	}
	if err := removeTopic(d.fs, place); err != nil {
		return true, err
	}
	return true, d.sync()
}

// recreate creates an empty partition in place of the remains of a failed attempt.
func (d *topicDirs) recreate(l *partition) error {
	if err := removeAll(d.fs, l.dir); err != nil {
		return err
	}
	if err := d.fs.Mkdir(l.dir); err != nil {
		return err
	}
	return d.beginLog(l, 0)
}

// syncAltered syncs the topics that the process before was altering, or all of them if it can't be
// read which those are.
func (d *topicDirs) syncAltered() error {
	entries, err := d.fs.ReadDir(d.path(stageName))
	var names []string
	for _, e := range entries {
		if name, altered := strings.CutSuffix(e.Name, alteredSuffix); altered && !e.Dir {
			names = append(names, name)
		}
	}
	if err != nil && !isNotExist(err) && !noFiles(err) {
		entries, err = d.fs.ReadDir(d.path(topicsName))
		for _, e := range entries {
			if e.Dir {
				names = append(names, e.Name)
			}
		}
	}
	if err != nil && !isNotExist(err) {
		return err
	}
	for _, name := range names {
		if err := d.fs.SyncDir(d.path(topicsName, name)); err != nil && !isNotExist(err) {
			return err
		}
	}
	return nil
}

// vacant says whether a directory in the place of a topic is no topic and holds no messages: it is
// empty, or the remains of a topic whose creation or deletion failed.
func (d *topicDirs) vacant(dir string) (bool, error) {
	entries, err := d.fs.ReadDir(dir)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		switch _, isLog := partitionNumber(e); {
		case isForeign(e.Name) || e.Name == topicName+".tmp" || e.Name == graveName+".tmp":
		case !isLog:
			return false, nil
		default:
			logs, err := d.fs.ReadDir(filepath.Join(dir, e.Name))
			if err != nil {
				return false, err
			}
			for _, f := range logs {
				_, isIndex := parseBase(f.Name, indexSuffix)
				_, isLog := parseBase(f.Name, logSuffix)
				if !isIndex && (!isLog || f.Size > 0) {
					return false, nil
				}
			}
		}
	}
	return true, nil
}

// spread is parallel for the start and the end of a store. Few are done one after the other, in an order
// that tests can rely on, and no more at a time than may have files open.
func spread(n int, f func(i int) error) error {
	workers := 1 + n/spreadFrom
	if workers > 1 {
		workers = min(workers, maxSyncs, max(1, int(maxOpen()/4)))
	}
	return parallel(n, workers, f)
}

// spreadFrom is the number of topics, or of partitions, for each further worker of spread.
const spreadFrom = 16

// parallel calls f with the numbers below n, so many at a time, because file systems sync many
// files about as quickly as one. It stops after an error.
func parallel(n, most int, f func(i int) error) error {
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		errs  []error
		next  int
	)
	work := func() {
		for {
			mu.Lock()
			i := next
			next++
			failed := len(errs) > 0
			mu.Unlock()
			if i >= n || failed {
				return
			}
			if err := f(i); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		}
	}
	for range min(n, most) - 1 {
		group.Go(work)
	}
	work()
	group.Wait()
	return errors.Join(errs...)
}
