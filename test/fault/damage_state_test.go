package fault

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/group"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// A state is a data directory in memory of a broker with topics and groups.
type state struct {
	disk      *crashfs.FS
	files     map[string][]byte
	positions []group.Commit // of the group "billing"
}

const topicsDir = specimenRoot + "/topics/"

func newState(t *testing.T) *state {
	t.Helper()
	disk := crashfs.New()
	b, err := openBroker(disk)
	if err != nil {
		t.Fatal(err)
	}
	orders, err := b.CreateTopic("orders", 3, nil)
	if err != nil {
		t.Fatal(err)
	}
	var p batch.Builder
	for i := range 20 {
		p.Reset()
		p.Add(int64(i), nil, []byte("order"))
		p.Close(0)
		if _, err := orders.Partitions()[i%3].AppendAndWait(p.Bytes()); err != nil {
			t.Fatal(err)
		}
		c := group.Commit{Topic: "orders", Partition: i % 3, Offset: int64(i / 3), LeaderEpoch: group.NoEpoch, Metadata: "m"}
		committed := make(chan []error, 1)
		b.CommitOffsets("billing", []group.Commit{c}, func(errs []error) { committed <- errs })
		if err := errors.Join(<-committed...); err != nil {
			t.Fatal(err)
		}
	}
	s := &state{positions: b.CommittedOffsets("billing")}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	s.disk = disk.KillClone()
	s.files = allFiles(t, s.disk.KillClone(), specimenRoot)
	return s
}

func openBroker(disk *crashfs.FS) (*inside, error) {
	return openLogging(disk, slog.New(slog.DiscardHandler))
}

func openLogging(disk *crashfs.FS, log *slog.Logger) (*inside, error) {
	st, err := commitlog.Open(specimenRoot, commitlog.Options{FS: disk, Log: log})
	if err != nil {
		return nil, err
	}
	b, err := broker.New(st, broker.Options{Limits: broker.DefaultLimits(), Log: log})
	if err != nil {
		st.Close()
		return nil, err
	}
	return insideOf(b), nil
}

// F11. A topic's record, or one of a group's positions, is damaged: the broker starts
// and says so, -verify finds it, the group's positions are as they were unless that is
// reported, and no byte of a segment is deleted.
func TestF11DamagedTopicOrGroupRecords(t *testing.T) {
	s := newState(t)
	var c tally
	for _, topic := range []string{"orders", broker.PositionsTopic} {
		name := topicsDir + topic + "/topic.json"
		content := s.files[name]
		for bit := range 8 * len(content) {
			c.add(s.tolerated(t, fmt.Sprintf("bit %d", bit), name, flip(content, bit)))
		}
		for n := range len(content) {
			c.add(s.tolerated(t, fmt.Sprintf("cut off at %d", n), name, content[:n]))
		}
	}
	name := topicsDir + broker.PositionsTopic + "/0/00000000000000000000.log"
	content := logOf(s.files[name])
	for n := range len(content) {
		if n%runs(7, 1) == 0 {
			c.add(s.tolerated(t, fmt.Sprintf("cut off at %d", n), name, content[:n]))
		}
	}
	r := rand.New(rand.NewPCG(11, 1))
	for range runs(500, 15_000) {
		bit := r.IntN(8 * len(content))
		c.add(s.tolerated(t, fmt.Sprintf("bit %d", bit), name, flip(content, bit)))
	}
	report(t, c)
}

// tolerated puts content into a file and says that the broker starts, names it in its
// log, and that -verify finds it.
func (s *state) tolerated(t *testing.T, what, name string, content []byte) tally {
	t.Helper()
	disk := s.disk.KillClone()
	put(t, disk, name, content)
	var found []commitlog.Finding
	_, failed := commitlog.Verify(specimenRoot, commitlog.Options{FS: disk}, func(f commitlog.Finding) { found = append(found, f) })
	if failed == nil && !slices.ContainsFunc(found, func(f commitlog.Finding) bool { return !f.Harmless }) {
		t.Errorf("%s: %s: -verify finds nothing", name, what)
	}
	book := new(brokertest.LogBook)
	b, err := openLogging(disk, slog.New(slog.NewTextHandler(book, nil)))
	if err != nil {
		t.Fatalf("%s: %s: the broker does not start: %v", name, what, err)
	}
	topic := strings.Split(strings.TrimPrefix(name, topicsDir), "/")[0]
	if len(book.Lines(topic, "level=ERROR"))+len(book.Lines(topic, "level=WARN")) == 0 {
		t.Errorf("%s: %s: nothing of it is logged: %q", name, what, book.Lines())
	}
	if got := b.CommittedOffsets("billing"); !slices.Equal(got, s.positions) && len(book.Lines("positions", "level=ERROR")) == 0 {
		t.Errorf("%s: %s: the positions are %+v, not %+v, and nobody says so: %q", name, what, got, s.positions, book.Lines())
	}
	b.Close()
	after := allFiles(t, disk.KillClone(), specimenRoot)
	for _, file := range slices.Sorted(maps.Keys(s.files)) {
		want := s.files[file]
		if file == name {
			want = content
		}
		want = bytes.TrimRight(want, "\x00") // which may be room behind the end
		got, there := after[file]
		for other, tail := range after {
			if strings.HasPrefix(other, file+".cut-") {
				got = append(got[:len(got):len(got)], tail...)
			}
		}
		if !there || strings.HasSuffix(file, ".log") && !bytes.HasPrefix(got, want) {
			t.Errorf("%s: %s: afterwards %s has %d bytes of %d", name, what, file, len(got), len(want))
		}
	}
	return tally{Runs: 1}
}

// F11. What can be made again from the records costs nothing: an index of the groups'
// records in any state.
func TestF11DamagedIndexOfGroupRecords(t *testing.T) {
	s := newState(t)
	name := topicsDir + broker.PositionsTopic + "/0/00000000000000000000.index"
	r := rand.New(rand.NewPCG(11, 2))
	var c tally
	for range runs(100, 2000) {
		disk := s.disk.KillClone()
		how, content := mangle(r, s.files[name], s.files[topicsDir+"orders/0/00000000000000000000.index"])
		if content == nil {
			drop(t, disk, name)
		} else {
			put(t, disk, name, content)
		}
		b, err := openBroker(disk)
		if err != nil {
			t.Fatalf("%s: %v", how, err)
		}
		if got := b.CommittedOffsets("billing"); !slices.Equal(got, s.positions) {
			t.Fatalf("%s: the positions are %+v, not %+v", how, got, s.positions)
		}
		b.Close()
		c.Runs++
	}
	report(t, c)
}
