package line_test

import (
	"os"
	"path/filepath"
	"testing"

	"mbus/internal/jetstream/enginetest"
)

// A topic whose directory is missing is not one that does not exist: each client is
// told, nothing is made in its place, and it is whole when it is back.
func TestMissingTopicIsToldAndComesBack(t *testing.T) {
	enginetest.NotHere(t, "the test moves directories")
	b := start(t, setup{})
	five := numbered(5, 0)
	b.publish("orders", five...)
	b.publish("bills", "a")
	b.mustDrain("orders?group=billing&n=3", join(five[:3]))
	b.stop()
	dir := filepath.Join(b.setup.dir, "topics", "orders")
	if err := os.Rename(dir, dir+"-elsewhere"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+"-elsewhere", filepath.Join(b.setup.dir, "..", "orders")); err != nil {
		t.Fatal(err)
	}
	b.begin()
	for _, request := range []string{
		"orders?group=billing\n", "orders?group=billing&follow\n", "orders?group=billing&follow&ack\n", "orders?from=beginning\n",
		"?reset&group=billing&topic=orders&to=end\n", "?grow&topic=orders&partitions=3&execute\n",
	} {
		b.dial(b.consumers, request).mustRefuse("FAILED", `"orders"`, "missing", "delete the topic")
	}
	c := b.dial(b.producers, "orders\nnew\n")
	c.mustRefuse("FAILED", `"orders"`, "missing")
	b.mustDrain("bills", "a\n")
	b.stop()
	if err := os.Rename(filepath.Join(b.setup.dir, "..", "orders"), dir); err != nil {
		t.Fatal(err)
	}
	b.begin()
	b.mustDrain("orders?group=billing", join(five[3:]))
}

// It can be deleted, and with it what is kept of it.
func TestMissingTopicIsDeleted(t *testing.T) {
	b := start(t, setup{})
	five := numbered(5, 0)
	b.publish("orders", five...)
	b.mustDrain("orders?group=billing&n=3", join(five[:3]))
	id := b.id("orders")
	b.stop()
	if err := os.RemoveAll(filepath.Join(b.setup.dir, "topics", "orders")); err != nil {
		t.Fatal(err)
	}
	b.begin()
	for _, execute := range []string{"", "&execute"} { // it may be another one
		b.dial(b.consumers, "?delete&topic=orders&id="+id+execute+"\n").mustRefuse("FAILED", `"orders"`, "without the id")
	}
	b.mustDrain("?delete&topic=orders", topicsHead+"orders\t0\t0\t0\t-\n"+nothing)
	b.mustDrain("?delete&topic=orders&execute", topicsHead+"orders\t0\t0\t0\t-\n")
	b.dial(b.consumers, "?groups&group=billing\n").mustRefuse("GONE", "billing")
	for range 2 {
		b.publish("orders", "new")
		b.mustDrain("orders?group=billing", "new\n")
		b.restart()
	}
}
