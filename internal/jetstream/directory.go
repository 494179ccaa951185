package jetstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"mbus/internal/vfs"
)

// The directory of an engine:
//
//	format      which format this is: the same file as in the directory of a single broker
//	lock        is locked while a process uses the directory
//	node.json   a membership
//	jetstream/  the engine's own
const (
	formatName = "format"
	lockName   = "lock"
	memberName = "node.json"
	engineName = "jetstream"

	format = "mbus cluster 1"
)

// A directory is where the engine keeps its data, and what it knows of its cluster. This process has it
// alone.
type directory struct {
	root string
	lock *os.File

	mu         sync.Mutex
	membership membership
}

// A membership says to which cluster the directory belongs.
type membership struct {
	Node int32 `json:"node"`
	// Candidate is the id that a new cluster may get. It is durable before another node gets it.
	Candidate string `json:"candidate"`
	Cluster   string `json:"cluster,omitempty"` // id; none until this node has joined one
	Member    bool   `json:"member,omitempty"`  // the cluster has been ready: it may hold messages
}

// openDirectory locks the directory for a node, and makes it where there is none. It changes nothing in
// a directory that it refuses.
func openDirectory(root string, node int32) (d *directory, err error) {
	if err := probeDirectory(root); err != nil {
		return nil, fmt.Errorf("directory %q: %w", root, err)
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	d = &directory{root: root}
	if d.lock, err = os.OpenFile(d.path(lockName), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, err
	}
	if err = syscall.Flock(int(d.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		err = fmt.Errorf("directory %q is in use by another process, or its file system can't lock files: %w", root, err)
	} else {
		err = d.load(node)
	}
	if err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// probeDirectory fails if the directory is not one of a cluster, and not empty either.
func probeDirectory(root string) error {
	content, err := os.ReadFile(filepath.Join(root, formatName))
	switch found := strings.TrimSpace(string(content)); {
	case err == nil && found == format:
		return nil
	case err == nil && !strings.HasPrefix(found, "mbus cluster "):
		return errors.New("it belongs to a broker without a cluster: choose another directory, and take its messages over with -import")
	case err == nil:
		return fmt.Errorf("its format is %q, and this program knows %q: CHANGELOG.md says under Upgrading what to do", found, format)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if !slices.Contains([]string{lockName, formatName + ".tmp", "lost+found"}, e.Name()) {
			return fmt.Errorf("it holds %q and no file %q: choose an empty directory", e.Name(), formatName)
		}
	}
	return nil
}

// load reads the membership, or begins one.
func (d *directory) load(node int32) error {
	content, err := os.ReadFile(d.path(memberName))
	if errors.Is(err, fs.ErrNotExist) {
		return d.begin(node)
	}
	if err != nil {
		return err
	}
	m := membership{}
	if err := json.Unmarshal(content, &m); err != nil {
		return fmt.Errorf("%s can't be read, so that the number of this node and its cluster are not known: put it back, "+
			"or replace the node by one with a new number: %w", d.path(memberName), err)
	}
	if m.Node != node {
		return fmt.Errorf("directory %q is that of node %d, and this is node %d: use the number or the directory of the other", d.root, m.Node, node)
	}
	d.membership = m
	return nil
}

// begin makes the files of a directory that is new. An engine without a membership is one of which the
// file was lost.
func (d *directory) begin(node int32) error {
	if _, err := os.Stat(d.path(engineName)); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("directory %q has lost its file %q: put it back, or replace the node by one with a new number and an empty directory", d.root, memberName)
	}
	if err := vfs.WriteFile(vfs.OS{}, d.path(formatName), []byte(format)); err != nil {
		return err
	}
	return d.keep(membership{Node: node, Candidate: randomID()})
}

func (d *directory) get() membership {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.membership
}

// keep makes a membership durable.
func (d *directory) keep(m membership) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	content, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := vfs.WriteFile(vfs.OS{}, d.path(memberName), content); err != nil {
		return err
	}
	d.membership = m
	return nil
}

func (d *directory) path(name string) string { return filepath.Join(d.root, name) }

// close ends the lock.
func (d *directory) close() { d.lock.Close() }
