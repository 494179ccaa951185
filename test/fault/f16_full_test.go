package fault

import (
	"bufio"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// answerWithin is how soon a publisher has to hear that the disk is full.
const answerWithin = time.Second

// Injected: publishers fill the disk; or something else does, to the last byte;
// or publishers do, where nothing is kept back. Expected: an error within a
// second; readers go on, and so do acknowledgements as far as mbus could keep
// room for them; with space again publishing resumes by itself; nothing
// acknowledged is lost, nothing refused appears.
func TestF16FullDisk(t *testing.T) {
	for _, c := range []struct {
		name     string
		flags    []string
		foreign  bool // something else fills the disk
		confirms bool // acknowledgements go on while it is full
	}{
		{"by-publishers", nil, false, true},
		{"by-others", nil, true, false},
		{"with-no-reserve", []string{"-reserve", "0"}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range runs(1, 20) {
				d := newMemDisk(t, "size=16m")
				f := newFullDisk(t, d, brokertest.Start(t, d.data(), c.flags...))
				f.fill(c.foreign)
				f.refuses()
				f.goesOn(c.confirms)
				f.resumes()
			}
		})
	}
}

// A fullDisk is a broker whose disk is filled.
type fullDisk struct {
	t      *testing.T
	d      *memDisk
	b      *brokertest.Broker
	l      *ledger
	worker *oneByOne
}

func newFullDisk(t *testing.T, d *memDisk, b *brokertest.Broker) *fullDisk {
	f := &fullDisk{t: t, d: d, b: b, l: newLedger("load")}
	d.fill(4 << 20)
	publishTo(f.l, b, 1, 1000)
	f.worker = newOneByOne(t, b, "load", "workers")
	f.worker.next()
	return f
}

func (f *fullDisk) fill(foreign bool) {
	f.t.Helper()
	if foreign {
		f.d.clear()
		f.d.fill(-1)
	}
	answer := f.l.publish(f.b.Producers(), "filler", rand.New(rand.NewPCG(1, 0)), nil, func(int) {})
	if !strings.HasPrefix(answer, "-FULL ") {
		f.t.Fatalf("a full disk was answered %q", answer)
	}
}

// refuses publishes what is too much, to a topic that is there and to a new one.
// The first is as large as what an allocation ahead may have left. A machine that is
// busy may answer late once; a broker that is slow does it each time.
func (f *fullDisk) refuses() {
	f.t.Helper()
	for i, request := range []string{"load", "load", "new"} {
		took := f.refuse(request)
		for attempts := 0; took > answerWithin && attempts < 10; attempts++ {
			took = f.refuse(request)
		}
		if took > answerWithin {
			f.t.Errorf("message %d to the full disk was answered after %v", i, took)
		}
	}
}

// refuse publishes what is too much, and gives the time until it is refused.
func (f *fullDisk) refuse(request string) time.Duration {
	f.t.Helper()
	begun := time.Now()
	conn := brokertest.Dial(f.t, f.b.Producers(), request+"\n")
	defer conn.Close()
	go io.WriteString(conn, strings.Repeat("x", 1_000_000)+"\n") // if it fails, so does reading
	if line := brokertest.ReadLine(f.t, bufio.NewReader(conn)); !strings.HasPrefix(line, "-FULL ") {
		f.t.Errorf("a message of %s to the full disk was answered %q", request, line)
	}
	return time.Since(begun)
}

// goesOn says that readers, and acknowledgements if confirms, go on.
func (f *fullDisk) goesOn(confirms bool) {
	f.t.Helper()
	f.l.judge(lines(f.b.Drain("load?from=beginning"))).mustKeep(f.t)
	if !confirms {
		f.worker.acknowledge()
		return
	}
	for range 20 {
		f.worker.next()
	}
}

// resumes makes space and says that all goes on by itself, and that nothing is
// missing, or there that was refused, after a restart.
func (f *fullDisk) resumes() {
	f.t.Helper()
	f.d.clear()
	await(f.t, "publishing goes on", func() bool { return f.tryOne() == "+1" })
	if strings.Contains(f.b.Output(), notKept) {
		await(f.t, "positions are kept again", func() bool { return strings.Contains(f.b.Output(), keptAgain) })
	}
	f.b.Restart()
	c := f.l.judge(lines(f.b.Drain("load?from=beginning")))
	if position := positionOf(f.b, "workers", "load"); position != int64(f.worker.acked) {
		f.t.Errorf("the workers' position is %d: %d were acknowledged", position, f.worker.acked)
	}
	report(f.t, c)
	c.mustKeep(f.t)
	f.l.mustAnswer(f.t, f.b)
	if c.Duplicates > 0 || c.Acked < 1000 {
		f.t.Errorf("%+v", c)
	}
}

// What the broker says of positions.
const (
	notKept   = "positions could not be kept"
	keptAgain = "positions are kept again"
)

// tryOne publishes a message over a connection of its own and gives the answer.
func (f *fullDisk) tryOne() string {
	n := f.l.send("again", -1)
	conn := brokertest.Dial(f.t, f.b.Producers(), "load\n"+f.l.message("again", n, 100)+"\n")
	defer conn.Close()
	line := brokertest.ReadLine(f.t, bufio.NewReader(conn))
	if line == "+1" {
		f.l.acknowledge("again", n)
	}
	return line
}
