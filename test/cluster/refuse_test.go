package cluster

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mbus/test/brokertest"
)

// refused starts a broker that must not start, and gives what it says.
func refused(t *testing.T, flags ...string) string {
	t.Helper()
	p, err := brokertest.Begin("", brokertest.Program(t, "broker"), flags...)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err == nil {
		t.Errorf("it ended with 0: %s", p.Output())
	}
	return p.Output()
}

func mustSay(t *testing.T, said string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(said, w) {
			t.Errorf("it said %q, and not %q", said, w)
		}
	}
}

// A directory belongs to a broker that is alone, or to one node of one cluster.
func TestDirectoriesOfOthersAreRefused(t *testing.T) {
	if testing.Short() {
		t.Skip("elections take seconds")
	}
	alone := t.TempDir()
	b := brokertest.Start(t, alone)
	b.Publish("orders", "first")
	b.Stop()
	before := tree(t, alone)
	c := brokertest.NewCluster(t, 3)
	mustSay(t, refused(t, c.Flags(0, "-data", alone)...), "-import")
	if after := tree(t, alone); !slices.Equal(before, after) {
		t.Errorf("the directory has changed: %q, %q", before, after)
	}

	for _, b := range c.Nodes {
		b.Begin()
	}
	c.Owner()
	mustSay(t, refused(t, c.Flags(0)...), "already in use")
	mustSay(t, refused(t, c.FreePorts(0)...), "in use by another process")
	for _, b := range c.Nodes {
		b.Stop()
	}
	mustSay(t, refused(t, "-data", c.Nodes[0].Data, "-pport", "0", "-cport", "0", "-kport", "0", "-hport", "0"), "-cluster")
	mustSay(t, refused(t, c.Flags(0, "-data", c.Nodes[1].Data)...), "that of node 2")
}

// A number that another node has is refused.
func TestANumberInUseIsRefused(t *testing.T) {
	if testing.Short() {
		t.Skip("elections take seconds")
	}
	c := brokertest.StartCluster(t, 3)
	flags := append(c.FreePorts(0), "-data", filepath.Join(t.TempDir(), "other"))
	mustSay(t, refused(t, flags...), "node number 1 is in use")
	c.Owner()
}

// tree lists the files of a directory with their sizes.
func tree(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
