// Package clusterkey owns the secret that makes processes nodes of one cluster: a file of 32 random
// bytes, the same on each node. A certificate authority is derived from it, and each node signs itself a
// certificate at its start, so that nodes demand from each other that they have the file. A process with it is a
// node, and may do everything.
package clusterkey

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// A key's file has one line: the prefix, and in base64 the secret and the first bytes of its SHA-256,
// so that a line that was cut off or mistyped is no key.
const (
	prefix    = "mbus-cluster-key-1:"
	size      = 32 // bytes of the secret
	checkSize = 4  // bytes of its check

	maxFile = 256 // bytes that are read of a file
)

// A Key is the secret of a cluster. Formats print its ID only.
type Key struct{ secret [size]byte }

// New makes a key that nobody can guess.
func New() *Key {
	k := new(Key)
	rand.Read(k.secret[:])
	return k
}

// Line is the line of the key's file, without its end. It is secret.
func (k *Key) Line() string {
	sum := sha256.Sum256(k.secret[:])
	return prefix + base64.RawURLEncoding.EncodeToString(append(k.secret[:], sum[:checkSize]...))
}

// Format prints the ID for each verb, so that no log has the secret.
func (k Key) Format(to fmt.State, _ rune) { _, _ = io.WriteString(to, "cluster key "+k.ID()) }

// Parse reads a key's line. White space around it does not matter.
func Parse(line string) (*Key, error) {
	text, ok := strings.CutPrefix(strings.TrimSpace(line), prefix)
	if !ok {
		return nil, fmt.Errorf("it has no cluster key: that is one line, which begins with %q", prefix)
	}
	p, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(p) != size+checkSize {
		return nil, fmt.Errorf("its cluster key is not whole: it has %d letters behind the colon, and one has %d", len(text), base64.RawURLEncoding.EncodedLen(size+checkSize))
	}
	k := &Key{[size]byte(p[:size])}
	if sum := sha256.Sum256(k.secret[:]); [checkSize]byte(p[size:]) != [checkSize]byte(sum[:checkSize]) {
		return nil, errors.New("its cluster key is mistyped: the check at its end does not fit")
	}
	return k, nil
}

// Read reads a key's file, which only its user may read, or also a group if it is root's: so are secrets
// that Kubernetes mounts.
func Read(name string) (*Key, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would have it wait
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cluster key: %w; admin new-key > FILE makes one, and each node gets a copy of that file", err)
	}
	if err != nil {
		return nil, fmt.Errorf("cluster key: %w", err)
	}
	defer f.Close()
	if err := checkMode(f); err != nil {
		return nil, fmt.Errorf("cluster key %q: %w", name, err)
	}
	p, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("cluster key: %w", err)
	}
	if len(p) > maxFile {
		return nil, fmt.Errorf("cluster key %q: the file has more than %d bytes, it is another one", name, maxFile)
	}
	k, err := Parse(string(p))
	if err != nil {
		return nil, fmt.Errorf("cluster key %q: %w", name, err)
	}
	return k, nil
}

// checkMode refuses a file that others can read, or that is none.
func checkMode(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("it is not a file")
	}
	closed := fs.FileMode(0o077)
	if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Uid == 0 {
		closed = 0o037
	}
	if mode := info.Mode().Perm(); mode&closed != 0 {
		return fmt.Errorf("other users may read or change it (mode %04o), and who has it may do everything: chmod 600 closes it", mode)
	}
	return nil
}
