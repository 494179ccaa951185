package fault

import (
	"path/filepath"
	"testing"

	"mbus/test/brokertest"
)

// Injected: power cuts right after each step in which a topic or a group is made,
// used, deleted and created again. Expected: what was deleted stays deleted, and of
// the new topic there is no older byte and no older position.
func TestF26DeletedStaysDeletedOverACut(t *testing.T) {
	d := newLoopDisk(t, 64<<20)
	b := brokertest.Start(t, filepath.Join(d.dir, "data"))
	p := newPhoenix(b)
	for range runs(2, 20) {
		for last := range phoenixSteps {
			for n := range last + 1 {
				if err := p.step(b.Process, n); err != nil {
					t.Fatalf("step %d: %v", n, err)
				}
			}
			d.powerCut(t, b)
			b.Restart()
			p.check(t, b)
			report(t, tally{Runs: 1, Acked: last + 1})
		}
	}
}

// The negative control: a broker that does not sync the directory in which a
// topic was deleted, on a disk that is cut, brings it back.
func TestF26DeletedComesBackWithALyingSync(t *testing.T) {
	lying := brokertest.Traced(t, "", "fdatasync,fsync:retval=0")
	const attempts = 100
	for range attempts {
		if comesBack(t, lying) {
			return
		}
	}
	t.Errorf("the topic is gone after each of %d cuts although nothing was synced: the cuts show nothing", attempts)
}

// comesBack reports whether a topic is there again when a broker has deleted it and
// the power was cut.
func comesBack(t *testing.T, program string) bool {
	t.Helper()
	d := newLoopDisk(t, 64<<20)
	b := brokertest.Start(t, filepath.Join(d.dir, "data"))
	b.Publish(phoenixTopic, "life 0")
	b.Stop()
	b.Use(program)
	b.Restart()
	if err := remove(b.Process, "topic="+phoenixTopic); err != nil {
		t.Fatal(err)
	}
	d.powerCut(t, b)
	b.Use("")
	b.Restart()
	defer b.Kill()
	return b.Drain(phoenixTopic+"?from=beginning") != ""
}
