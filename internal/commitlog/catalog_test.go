package commitlog

import (
	"fmt"
	"testing"

	"mbus/internal/store"
	"mbus/internal/vfs"
)

// A broker that creates and deletes topics for years must not keep all of them in the catalog.
func TestCatalogDoesNotGrowWithTheTopicsThatWereDeleted(t *testing.T) {
	dir := &dataDir{fs: vfs.OS{}, root: t.TempDir()}
	c := newCatalog(dir)
	if _, _, err := c.load(); err != nil {
		t.Fatal(err)
	}
	topic := func(i int) store.Topic {
		return store.Topic{Name: fmt.Sprintf("t%d", i), ID: newID(), Partitions: 1, Epoch: int32(i)}
	}
	var first, last store.Topic
	for i := range maxTombstones + catalogSlack { // like add, without the syncs
		last = topic(i)
		if i == 0 {
			first = last
		}
		c.apply(catalogLine{topic: last})
		c.apply(catalogLine{topic: last, deleted: true})
		c.lines += 2
	}
	c.stale = false
	kept := topic(maxTombstones + catalogSlack)
	if err := c.put(kept); err != nil {
		t.Fatal(err)
	}
	again := newCatalog(dir)
	if _, bad, err := again.load(); err != nil || len(bad) > 0 {
		t.Fatalf("%v, %v", bad, err)
	}
	if n := len(again.deleted); n != maxTombstones || len(c.deleted) != n {
		t.Errorf("%d deleted topics are in the file, %d are known, want %d", n, len(c.deleted), maxTombstones)
	}
	if again.isDeleted(first.ID) || !again.isDeleted(last.ID) || again.made[kept.Name].Name != kept.Name || again.made[kept.Name].ID != kept.ID {
		t.Error("it is not the latest ones that were kept, or the topic is missing")
	}
}
