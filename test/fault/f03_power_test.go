package fault

import (
	"path/filepath"
	"testing"

	"mbus/test/brokertest"
)

// diskBytes is room for what a crowd publishes over its lives.
const diskBytes = 512 << 20

// crowdOnDisk is a crowd at a broker whose data is on a disk of its own.
// program is empty for the broker built for the tests.
func crowdOnDisk(t *testing.T, program string) (*crowd, *loopDisk) {
	d := newLoopDisk(t, diskBytes)
	b := brokertest.StartProgram(t, program, filepath.Join(d.dir, "data"))
	return newCrowd(t, b, "load", seeds(t), 8, 4), d
}

// smallSegments makes a log of many segments of what the tests publish.
var smallSegments = brokertest.Change{
	File: "internal/commitlog/options.go",
	Old:  "DefaultSegmentBytes = 256 << 20",
	New:  "DefaultSegmentBytes = 256 << 10",
}

// Injected: power cuts under load of the line protocol and of a Kafka client, with
// segments as they are and with small ones.
// Expected: whatever was acknowledged, or shown to a consumer, or confirmed as
// consumed, is there after each.
func TestF03PowerCutUnderLoad(t *testing.T) {
	for _, program := range []string{"", brokertest.Variant(t, smallSegments)} {
		for range runs(1, 22) {
			c, d := crowdOnDisk(t, program)
			c.kafka = &standing{group: kafkaName}
			var sum tally
			for range runs(2, 5) {
				sum.Runs++
				c.live(2000+c.random.IntN(8000), func() { d.powerCut(t, c.b) })
				c.b.Restart()
				c.check()
			}
			c.report(sum)
			c.b.Stop()
		}
	}
}
