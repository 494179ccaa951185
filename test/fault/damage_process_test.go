package fault

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mbus/internal/batch"
	"mbus/test/brokertest"
)

// damagedBills is a data directory on the disk whose topic "bills" has a flipped bit in
// the records of a batch of each segment, and lacks the segment in the middle. lost is
// what this costs, segment by segment.
func damagedBills(t *testing.T, seed uint64) (s *specimen, dir string, lost []span) {
	t.Helper()
	s = newSpecimen(t, seed, 40, false, nil)
	r := rand.New(rand.NewPCG(seed, 9))
	at, dir := shelves[2], t.TempDir()
	disk := s.clone()
	segments := s.segments(at)
	middle := len(segments) / 2
	for i, name := range segments {
		content := logOf(s.files[name])
		all := batchesFrom(at, content, -1)
		if i == middle {
			drop(t, disk, name)
			lost = append(lost, span{at, all[0].first, last(all).next})
			continue
		}
		all = all[:len(all)-1] // on the last the gap may follow
		all = slices.DeleteFunc(all, func(b span) bool { return sizeAt(content[startOf(content, b):]) <= 300 })
		if len(all) > 0 {
			b := all[r.IntN(len(all))]
			put(t, disk, name, flip(content, 8*(startOf(content, b)+200)))
			lost = append(lost, b)
		}
	}
	materialize(t, disk, dir)
	return s, dir, lost
}

// startOf is where a batch of a segment begins.
func startOf(segment []byte, b span) (pos int) {
	for batch.Batch(segment[pos:]).BaseOffset() != b.first {
		pos += sizeAt(segment[pos:])
	}
	return pos
}

// verify runs broker -verify and gives its exit code.
func verify(t *testing.T, dir string) (code int, out, errs string) {
	t.Helper()
	cmd := exec.Command(brokertest.Program(t, "broker"), "-verify", dir)
	cmd.Env = brokertest.Environment()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
}

// tree is all files below a directory of the system, with their modes and times.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var content []byte
		if !d.IsDir() {
			content, err = os.ReadFile(name)
		}
		found[name] = fmt.Sprint(info.Mode(), info.ModTime(), info.Size(), content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// F9, from outside. broker -verify lists damage and missing messages, by topic,
// partition and offsets, exits with 2 and changes nothing, not even a time.
func TestF09VerifyListsDamageAndChangesNothing(t *testing.T) {
	for seed := range uint64(runs(2, 20)) {
		_, dir, lost := damagedBills(t, seed)
		before := tree(t, dir)
		code, out, errs := verify(t, dir)
		if code != 2 || errs != "" {
			t.Errorf("exit code %d, %q", code, errs)
		}
		for _, b := range lost {
			want := fmt.Sprintf("damage topic=\"bills\" partition=0 offsets=%d-%d file=", b.first, b.next-1)
			if b.next-b.first > 4 { // more than a batch has
				want = fmt.Sprintf("gap topic=\"bills\" partition=0 offsets=%d-%d reason=", b.first, b.next-1)
			}
			if strings.Count(out, want) != 1 {
				t.Errorf("%q is not said once in\n%s", want, out)
			}
		}
		if after := tree(t, dir); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Error("the directory has changed")
		}
		report(t, tally{Runs: 1})
	}
}

func TestF09VerifyOfASoundDirectoryAndOfNone(t *testing.T) {
	dir := t.TempDir()
	b := brokertest.Start(t, dir)
	b.Publish("orders", "one", "two", "three")
	if code, out, errs := verify(t, dir); code != 1 || out != "" || !strings.Contains(errs, fmt.Sprintf("in use by process %d", b.Pid())) || !strings.Contains(errs, "verify a copy") {
		t.Errorf("while a broker runs: exit code %d, %q, %q", code, out, errs)
	}
	b.Kill()
	want := "verified topics=1 partitions=1 records=3 "
	for range 2 { // after a kill, with room behind the end, and again
		if code, out, errs := verify(t, dir); code != 0 || !strings.HasPrefix(out, want) || strings.Count(out, "\n") != 1 {
			t.Errorf("exit code %d, %q, %q", code, out, errs)
		}
	}
	for _, none := range []string{filepath.Join(dir, "nosuch"), filepath.Join(dir, "topics")} {
		if code, out, errs := verify(t, none); code != 1 || out != "" || !strings.Contains(errs, none) {
			t.Errorf("%s: exit code %d, %q, %q", none, code, out, errs)
		}
	}
}

// F9 and F13, from outside. A consumer of a damaged topic gets everything that is
// sound and the error names the rest.
func TestF09ConsumerIsToldOfDamage(t *testing.T) {
	var c tally
	for seed := range uint64(runs(2, 20)) {
		s, dir, lost := damagedBills(t, 100+seed)
		b := brokertest.Start(t, dir)
		got := s.consume(t, b.Process, lost)
		c.add(got)
	}
	report(t, c)
	c.mustKeep(t)
}

// F9, negative control: a broker that checks no CRC serves what was never written,
// and the judge sees it.
func TestF09WithoutCRCIsSeen(t *testing.T) {
	program := brokertest.Variant(t, brokertest.Change{
		File: "internal/batch/batch.go",
		Old:  "if got := b.checksum(); got != b.CRC() {", New: "if got := b.CRC(); got != b.CRC() {",
	})
	s, dir, lost := damagedBills(t, 100)
	p, err := brokertest.Launch("", program, "-pport", "0", "-cport", "0", "-kport", "0", "-hport", "0", "-data", dir)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	if c := s.consume(t, p, lost); c.Phantoms == 0 {
		t.Errorf("not seen: %+v", c)
	}
}

// consume drains "bills" to its end and judges it: lost are the batches that are
// damaged.
func (s *specimen) consume(t *testing.T, p *brokertest.Process, lost []span) tally {
	t.Helper()
	c := tally{Runs: 1}
	got := make(map[int64]string)
	said := int64(0)
	for next := int64(0); next < last(s.logs[shelves[2]]).next; {
		answer, err := p.Read("bills?format=json")
		if err != nil || answer == "" {
			t.Fatalf("a drain from offset %d on gives %q, %v", next, answer, err)
		}
		for _, line := range lines(answer) {
			var r struct {
				Offset  int64
				Payload string
			}
			var from, to int64
			if _, err := fmt.Sscanf(line, "-DAMAGED bills/0: offsets %d to %d can't be read", &from, &to); err == nil {
				said, next = said+to+1-from, to+1
			} else if _, err := fmt.Sscanf(line, "-GAP first=%d partition=0", &to); err == nil {
				said, next = said+to-next, to
			} else if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("a drain says %q", line)
			} else {
				got[r.Offset], next = r.Payload, r.Offset+1
			}
		}
	}
	damaged := int64(0)
	for _, k := range s.logs[shelves[2]] {
		isLost := slices.ContainsFunc(lost, func(b span) bool { return b.first <= k.base && k.next <= b.next })
		var it batch.Iterator
		if err := it.Reset(k.bytes); err != nil {
			t.Fatal(err)
		}
		for it.Next() {
			r := it.Record()
			text, there := got[r.Offset]
			c.Acked++
			switch {
			case there && text == string(r.Value):
				c.Read++
			case there:
				c.Phantoms++
			case isLost:
				damaged++
			default:
				c.Lost++
			}
		}
	}
	if damaged != said {
		t.Logf("%d records are missing, the broker speaks of %d", damaged, said)
		c.Lost++
	}
	return c
}
