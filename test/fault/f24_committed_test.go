package fault

import (
	"path/filepath"
	"slices"
	"testing"

	"mbus/test/brokertest"
)

// Injected: the broker is stopped in good order, killed, or its power cut, in any
// order, while four groups of the line protocol
// and one of a Kafka client commit.
// Expected: no position goes back behind what was confirmed, or to zero, or ahead
// of what was acknowledged, and each group gets each message.
func TestF24CommittedPositionsNeverGoBack(t *testing.T) {
	c, d := committersOnDisk(t, "")
	ends := []func(){
		func() { c.rest(); c.b.Stop() },
		func() { c.b.Kill() },
		func() { d.powerCut(t, c.b) },
	}
	var sum tally
	for i := range runs(3, 100) {
		if i >= len(ends) && c.random.IntN(2) == 0 {
			i = c.random.IntN(len(ends))
		}
		sum.Runs++
		c.live(500+c.random.IntN(1000), ends[i%len(ends)])
		c.b.Restart()
		c.check()
	}
	if !slices.ContainsFunc(c.standings(), func(g *standing) bool { return g.confirmed > 0 }) {
		t.Error("no group was confirmed anything")
	}
	c.report(sum)
}

func committersOnDisk(t *testing.T, program string) (*crowd, *loopDisk) {
	d := newLoopDisk(t, diskBytes)
	b := brokertest.StartProgram(t, program, filepath.Join(d.dir, "data"))
	c := newCrowd(t, b, "load", seeds(t), 2, 0)
	for i := range 4 {
		c.workers = append(c.workers, newWorker("load", name(i)))
	}
	c.kafka = &standing{group: kafkaName}
	return c, d
}

// The negative control: a broker that confirms a commit before it is on disk loses
// positions in a cut.
func TestF24PositionsConfirmedEarlyAreSeenToGoBack(t *testing.T) {
	early := brokertest.Variant(t, brokertest.Change{
		File: "internal/broker/positionslog.go",
		Old:  "	if _, err := j.append(entries); err != nil {\n		return j.notKept(entries, err)\n	}\n",
		New: "	late := append([]group.Entry(nil), entries...)\n" +
			"	time.AfterFunc(time.Second, func() { j.append(late) })\n",
	})
	const attempts = 100
	for range attempts {
		c, d := committersOnDisk(t, early)
		c.live(5000, func() { d.powerCut(t, c.b) })
		c.b.Use("")
		c.b.Restart()
		behind := c.astray()
		c.b.Kill()
		if len(behind) > 0 {
			report(t, tally{Runs: 1, Lost: len(behind)})
			return
		}
	}
	t.Errorf("%d power cuts, and the harness has seen no position go back", attempts)
}
