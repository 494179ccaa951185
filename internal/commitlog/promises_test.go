package commitlog_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mbus/internal/batch/batchtest"
	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/store/storetest"
	"mbus/internal/vfs/crashfs"
)

// Promises are the model of the crash tests: what was called of a store, and what it
// has answered, as its client knows it at the moment of a crash.
type promises struct {
	mu     sync.Mutex // guards everything in it
	topics map[string]*topicNote
	gone   [][16]byte // ids of topics that were deleted
}

type topicNote struct {
	id        [16]byte
	uncertain bool // being made or deleted: it may be there or not
	logs      []*logNote
	totals    []int // how many logs there may be: one number, unless growing has failed
	config    string
	changing  []string // what may be there in place of config: it is replaced, or that has failed
}

type logNote struct {
	batches  map[int64][]byte // by base offset, as stamped
	next     int64            // after the last one appended
	safe     int64            // what was acknowledged, or seen by a reader, ends here
	answered int64            // what was answered without an error ends here; safe with the next sync
	minStart int64
	maxStart int64    // above minStart while a trim or retention is under way
	failed   int64    // where one that has failed may have the log start after a crash
	before   *logNote // what was promised before damage
	lost     []hole   // may be reported as damaged or missing although it was acknowledged or seen
}

func newPromises() *promises { return &promises{topics: map[string]*topicNote{}} }

// A client uses a store and notes it down. Its methods return the store's error.
type client struct {
	store.Store
	*promises
	acknowledges bool // an answer means that it is safe
	stubborn     bool // goes on after an error
	open         func() (*commitlog.Store, error)
	reopened     bool
	ended        bool // it could not be opened again
	problem      error
	answers      sync.WaitGroup
	clock        atomic.Int64 // the store's, in milliseconds since 1970
}

func newClient(s store.Store, ps *promises) *client {
	c := &client{Store: s, promises: ps, acknowledges: true}
	c.clock.Store(batchtest.FirstTime)
	s.UseClock(c.now)
	return c
}

func (c *client) now() time.Time { return time.UnixMilli(c.clock.Load()) }

// pass has time go by.
func (c *client) pass(d time.Duration) { c.clock.Add(d.Milliseconds()) }

// roll has the next append, or retention, begin a new segment at a size or age.
func (c *client) roll(name string, number int, bytes int64, age time.Duration) error {
	l, _, err := c.log(name, number)
	if err == nil {
		l.Roll(bytes, age)
	}
	return err
}

func (c *client) create(name string, partitions int) error {
	n := &topicNote{uncertain: true, totals: []int{partitions}}
	for range partitions {
		n.logs = append(n.logs, &logNote{batches: map[int64][]byte{}})
	}
	c.mu.Lock()
	if c.topics[name] != nil { // a delete has failed
		c.mu.Unlock()
		return nil
	}
	c.topics[name] = n
	c.mu.Unlock()
	made, err := c.CreateTopic(name, partitions, "")
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n.id, n.uncertain = made.ID, false
	return nil
}

func (c *client) delete(name string) error {
	c.mu.Lock()
	n := c.topics[name]
	n.uncertain = true
	c.mu.Unlock()
	if err := c.DeleteTopic(name); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.topics, name)
	if n.id != [16]byte{} { // it was there although its creation had failed
		c.gone = append(c.gone, n.id)
	}
	return nil
}

func (c *client) grow(name string, total int) error {
	c.mu.Lock()
	n := c.topics[name]
	n.totals = append(n.totals, total)
	for len(n.logs) < total {
		n.logs = append(n.logs, &logNote{batches: map[int64][]byte{}})
	}
	c.mu.Unlock()
	if _, err := c.AddPartitions(name, total); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n.totals = []int{total}
	return nil
}

func (c *client) configure(name, config string) error {
	c.mu.Lock()
	n := c.topics[name]
	n.changing = append(n.changing, config)
	c.mu.Unlock()
	if err := c.Configure(name, config); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n.config, n.changing = config, nil
	return nil
}

// restart closes the store and opens it again. What was answered is safe then.
func (c *client) restart() error {
	if c.ended {
		return store.ErrClosed
	}
	_ = c.sync()
	err := c.Close()
	if err != nil && !c.stubborn {
		return err
	}
	c.closed(err == nil)
	s, err := c.open()
	c.reopened = true
	if c.ended = err != nil; c.ended {
		return err
	}
	c.Store = s
	s.UseClock(c.now)
	return nil
}

// closed notes that the store was closed, in order or not: then what was answered before its sync need
// not be there.
func (c *client) closed(inOrder bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.topics {
		for _, l := range t.logs {
			if inOrder {
				l.safe = max(l.safe, l.answered)
			}
			l.answered = l.safe
		}
	}
}

// close looks at everything, if the client has gone on after an error, and ends:
// whatever has failed, readers go on.
func (c *client) close() error {
	if c.stubborn && !c.ended {
		_ = c.sync()
		_, c.problem = c.verifyTopics(c.Store)
		if c.reopened && errors.Is(c.problem, store.ErrUnusable) {
			c.problem = nil // what had failed then was the opening of that topic
		}
	}
	return c.Close()
}

// log gives a partition and the notes of it.
func (c *client) log(name string, number int) (store.Partition, *logNote, error) {
	p, err := c.Partition(name, number)
	if err != nil {
		return nil, nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return p, c.topics[name].logs[number], nil
}

// append appends without waiting for the answer; sync waits for all answers.
func (c *client) append(name string, number int, batches ...[]byte) error {
	l, n, err := c.log(name, number)
	if err != nil {
		return err
	}
	p := slices.Concat(batches...)
	list, err := batchtest.Split(p)
	if err != nil {
		return err
	}
	records := list[len(list)-1].Next + int64(len(list)) - 1 // a Maker's batches begin at 0
	for _, b := range list[:len(list)-1] {
		records += b.Next - 1
	}
	c.answers.Add(1)
	err = store.Append(l, p, func(base int64, err error) {
		defer c.answers.Done()
		if err != nil {
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		n.answered = max(n.answered, base+records)
		if c.acknowledges {
			n.safe = n.answered
		}
	})
	if err != nil {
		c.answers.Done()
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return n.add(p)
}

// add notes stamped batches.
func (n *logNote) add(stamped []byte) error {
	list, err := batchtest.Split(stamped)
	for _, b := range list {
		n.batches[b.Base] = b.Bytes
		n.next = max(n.next, b.Next)
	}
	return err
}

func (c *client) sync() error {
	c.answers.Wait()
	return nil
}

// flush has logs make durable what is visible, all of them at once, and waits.
func (c *client) flush(logs ...logName) error {
	errs := make(chan error, len(logs))
	for _, name := range logs {
		l, n, err := c.log(name.topic, name.number)
		if err != nil {
			errs <- err
			continue
		}
		_, high := l.Offsets()
		l.Sync(func(err error) {
			if err == nil {
				c.mu.Lock()
				n.safe = max(n.safe, high)
				c.mu.Unlock()
			}
			errs <- err
		})
	}
	var err error
	for range logs {
		err = errors.Join(err, <-errs)
	}
	return err
}

// look reads everything in a log and notes that it was seen.
func (c *client) look(name string, number int) error {
	l, n, err := c.log(name, number)
	if err != nil {
		return err
	}
	list, err := storetest.ReadAll(l, 2000)
	if err != nil || len(list) == 0 || !c.acknowledges {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n.safe = max(n.safe, list[len(list)-1].Next)
	return nil
}

func (c *client) trim(name string, number int, before int64) error {
	l, n, err := c.log(name, number)
	if err != nil {
		return err
	}
	c.mu.Lock()
	n.maxStart = max(n.maxStart, before)
	c.mu.Unlock()
	_, high := l.Offsets()
	if err := l.Trim(before); err != nil {
		c.notStarted(n)
		return err
	}
	c.started(l, n, high)
	return nil
}

// started notes where a log starts, which is certain after a trim or retention; and where
// it started later than before, that what had been visible until high is durable.
func (c *client) started(l store.Partition, n *logNote, high int64) {
	start, _ := l.Offsets()
	c.mu.Lock()
	defer c.mu.Unlock()
	if start > n.minStart {
		n.safe = max(n.safe, high)
	}
	n.minStart, n.maxStart = start, max(start, n.failed)
}

// notStarted is for a trim or retention that has failed: it may have been stored.
func (c *client) notStarted(n *logNote) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n.failed = n.maxStart
}

func (c *client) retain(name string, number int, r store.Retention) error {
	l, n, err := c.log(name, number)
	if err != nil {
		return err
	}
	c.mu.Lock()
	n.maxStart = n.next
	c.mu.Unlock()
	_, high := l.Offsets()
	if _, err := l.Retain(r); err != nil {
		c.notStarted(n)
		return err
	}
	c.started(l, n, high)
	return nil
}

// verify compares a store that was opened after a crash with the promises. It
// returns what is in it.
func (ps *promises) verify(s store.Store) (contents, error) {
	found, err := ps.verifyTopics(s)
	if err == nil {
		err = ps.verifyDeleted(s)
	}
	return found, err
}

// verifyTopics is verify for what is in the topics.
func (ps *promises) verifyTopics(s store.Store) (contents, error) {
	found := contents{}
	for _, t := range s.Topics() {
		n := ps.topics[t.Name]
		switch {
		case n == nil:
			return nil, fmt.Errorf("topic %q was deleted, or never made, and is there", t.Name)
		case !n.uncertain && n.id != t.ID:
			return nil, fmt.Errorf("topic %q is another one", t.Name)
		case !slices.Contains(n.totals, t.Partitions):
			return nil, fmt.Errorf("topic %q has %d partitions", t.Name, t.Partitions)
		case t.Config != n.config && !slices.Contains(n.changing, t.Config):
			return nil, fmt.Errorf("topic %q has the configuration %q", t.Name, t.Config)
		}
		for i, l := range n.logs[:t.Partitions] {
			p, err := s.Partition(t.Name, i)
			if err == nil {
				found[logName{t.Name, i}], err = l.verify(p)
			}
			if err != nil {
				return nil, fmt.Errorf("partition %d of %q: %w", i, t.Name, err)
			}
		}
	}
	for name, n := range ps.topics {
		if _, err := s.Partition(name, 0); err != nil && (!n.uncertain || n.id == [16]byte{} && errors.Is(err, store.ErrUnusable)) {
			return nil, fmt.Errorf("topic %q: %w", name, err)
		}
	}
	return found, nil
}

// verifyDeleted says that the store knows of each topic whether it was deleted: what
// depends on it is forgotten then, and no sooner.
func (ps *promises) verifyDeleted(s store.Store) error {
	there := make(map[[16]byte]bool)
	for _, t := range s.Topics() {
		if there[t.ID] = true; s.Deleted(t.ID) {
			return fmt.Errorf("topic %q is there, and said to be deleted", t.Name)
		}
	}
	for _, id := range ps.gone {
		if !s.Deleted(id) {
			return fmt.Errorf("a topic was deleted, and the store does not know that")
		}
	}
	for name, n := range ps.topics {
		if n.id != [16]byte{} && !there[n.id] && !s.Deleted(n.id) {
			return fmt.Errorf("topic %q is gone, and not said to be deleted", name)
		}
	}
	return nil
}

func (n *logNote) verify(p store.Partition) (content, error) {
	start, high := p.Offsets()
	switch {
	case start < n.minStart || start > n.maxStart:
		return content{}, fmt.Errorf("the log starts at %d, want %d to %d", start, n.minStart, n.maxStart)
	case high < n.safe:
		return content{}, fmt.Errorf("the log ends at %d, up to %d was acknowledged or seen", high, n.safe)
	case high > n.next:
		return content{}, fmt.Errorf("the log ends at %d, up to %d was appended", high, n.next)
	}
	list, holes, err := survey(p, 3000)
	if err != nil {
		return content{}, err
	}
	for _, h := range holes {
		if !n.mayLose(h) {
			return content{}, fmt.Errorf("offsets %d to %d are reported as lost, up to %d was acknowledged or seen", h.first, h.next-1, n.safe)
		}
	}
	end, reported := start, ""
	pass := func() {
		for len(holes) > 0 && holes[0].first == end {
			end, holes, reported = holes[0].next, holes[1:], reported+fmt.Sprintf("%d-%d ", holes[0].first, holes[0].next)
		}
	}
	for _, b := range list {
		pass()
		if b.Base > end || !bytes.Equal(b.Bytes, n.batches[b.Base]) {
			return content{}, fmt.Errorf("the batch at %d is not the one that was appended there, or something is missing from %d on", b.Base, end)
		}
		end = b.Next
	}
	if pass(); end != high {
		return content{}, fmt.Errorf("the batches end at %d, the high watermark is %d", end, high)
	}
	return content{start, high, reported}, nil
}

// mayLose says whether something may be missing: that was never acknowledged, or it is
// known by now.
func (n *logNote) mayLose(h hole) bool {
	return h.first >= n.safe || slices.ContainsFunc(n.lost, func(l hole) bool { return l.first <= h.first && h.next <= l.next })
}

// contents are what a store shows of each log; what is in between is known by
// the promises.
type contents map[logName]content

type logName struct {
	topic  string
	number int
}

type content struct {
	start, high int64
	lost        string // offsets that are reported as lost
}

func (c content) holes() (list []hole) {
	for _, field := range strings.Fields(c.lost) {
		var h hole
		if _, err := fmt.Sscanf(field, "%d-%d", &h.first, &h.next); err == nil {
			list = append(list, h)
		}
	}
	return list
}

// settle verifies a store and makes the promises to a client after the
// crash that has read the store.
func (ps *promises) settle(s store.Store) (found contents, after *promises, err error) {
	if found, err = ps.verify(s); err != nil {
		return nil, nil, err
	}
	after = newPromises()
	after.gone = slices.Clone(ps.gone)
	for _, t := range s.Topics() {
		n := &topicNote{id: t.ID, totals: []int{t.Partitions}, config: t.Config}
		for i, l := range ps.topics[t.Name].logs[:t.Partitions] {
			c := found[logName{t.Name, i}]
			n.logs = append(n.logs, &logNote{
				batches: maps.Clone(l.batches), next: c.high, safe: c.high, minStart: c.start, maxStart: c.start, failed: c.start, lost: c.holes(),
			})
		}
		after.topics[t.Name] = n
	}
	return found, after, nil
}

// checkDisk opens what a crash has left and checks that nothing promised is
// missing, that what is seen now stays even if the power goes again at once, and
// that the store works.
func (ps *promises) checkDisk(disk *crashfs.FS) error {
	if err := ps.checkSeen(disk.KillClone()); err != nil {
		return err
	}
	return ps.checkUse(disk.KillClone())
}

func (ps *promises) checkSeen(disk *crashfs.FS) error {
	s, err := openDisk(disk, journalBytes)
	if err != nil {
		return err
	}
	found, after, err := ps.settle(s)
	disk = disk.Crash(crashfs.Nothing())
	s.Close()
	if err != nil {
		return err
	}
	if s, err = openDisk(disk, 0); err != nil {
		return fmt.Errorf("after a second power cut: %w", err)
	}
	defer s.Close()
	again, err := after.verify(s)
	if err != nil || !maps.Equal(again, found) {
		return fmt.Errorf("after a second power cut %v is left of %v: %w", again, found, err)
	}
	return nil
}

// checkUse uses a store after a crash and cuts the power once more.
func (ps *promises) checkUse(disk *crashfs.FS) error {
	s, err := openDisk(disk, journalBytes)
	if err != nil {
		return err
	}
	_, after, err := ps.settle(s)
	if err == nil {
		err = after.use(s)
	}
	disk = disk.Crash(crashfs.Nothing())
	s.Close()
	if err != nil {
		return fmt.Errorf("used after the crash: %w", err)
	}
	if s, err = openDisk(disk, journalBytes); err == nil {
		defer s.Close()
		_, err = after.verify(s)
	}
	if err != nil {
		return fmt.Errorf("used after the crash, then a power cut: %w", err)
	}
	return nil
}

// use alters every topic, appends to every log, far enough for a new segment, and
// makes a topic.
func (ps *promises) use(s store.Store) error {
	c := newClient(s, ps)
	m := batchtest.Maker{}
	for _, t := range s.Topics() {
		if err := errors.Join(c.grow(t.Name, t.Partitions+1), c.configure(t.Name, `{"after":"the crash"}`)); err != nil {
			return err
		}
		for i := range t.Partitions + 1 {
			if err := c.append(t.Name, i, m.Batch(2, 300), m.Batch(1, 2500)); err != nil {
				return err
			}
		}
	}
	if err := errors.Join(c.create("after the crash", 1), c.sync()); err != nil {
		return err
	}
	for name, t := range ps.topics {
		for i, l := range t.logs {
			if l.safe != l.next {
				return fmt.Errorf("partition %d of %q acknowledged up to %d of %d", i, name, l.safe, l.next)
			}
		}
	}
	return nil
}
