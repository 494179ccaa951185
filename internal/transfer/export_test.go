package transfer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/commitlog"
	"mbus/internal/store"
)

func openStore(t testing.TB, dir string) *commitlog.Store {
	t.Helper()
	s, err := commitlog.Open(dir, commitlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func receive(t testing.TB, r io.Reader) (dir string, sums Totals, err error) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "to")
	to := openStore(t, dir)
	sums, err = Receive(r, to, func(Totals) {})
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, sums, err
}

// An export that is cut off anywhere is not taken for a whole one.
func TestAnExportThatIsCutOffIsNoExport(t *testing.T) {
	var whole bytes.Buffer
	if err := Export(t.Context(), &whole, openStore(t, small(t))); err != nil {
		t.Fatal(err)
	}
	at := []int{0, 1, len(magic), len(magic) + 3, whole.Len() - 1}
	for i := 1; i < 8; i++ {
		at = append(at, whole.Len()*i/8)
	}
	for _, n := range at {
		if _, _, err := receive(t, bytes.NewReader(whole.Bytes()[:n])); !errors.Is(err, ErrCut) {
			t.Errorf("%d of %d bytes: %v", n, whole.Len(), err)
		}
	}
	if _, _, err := receive(t, &whole); err != nil {
		t.Error(err)
	}
}

// A byte that has changed on the way is noticed.
func TestAnExportWithAnotherByteIsRefused(t *testing.T) {
	var whole bytes.Buffer
	if err := Export(t.Context(), &whole, openStore(t, small(t))); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < 8; i++ {
		p := bytes.Clone(whole.Bytes())
		p[len(p)*i/8] ^= 1
		if _, _, err := receive(t, bytes.NewReader(p)); err == nil {
			t.Errorf("byte %d of %d may be another one", len(p)*i/8, len(p))
		}
	}
}

// meddling calls f before some write of an export.
type meddling struct {
	to    io.Writer
	after int // bytes that are written before
	f     func()
}

func (m *meddling) Write(p []byte) (int, error) {
	if m.after -= len(p); m.after <= 0 && m.f != nil {
		m.f()
		m.f = nil
	}
	return m.to.Write(p)
}

// What happens to a store while it is exported leaves an export that is whole, and as it was at one time.
func TestAStoreIsExportedWhileItIsUsed(t *testing.T) {
	m := batchtest.NewMaker(0)
	partition := func(s store.Store, topic string, number int) store.Partition {
		p, err := s.Partition(topic, number)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for name, meddle := range map[string]func(s *commitlog.Store) error{
		"messages come": func(s *commitlog.Store) error {
			_, err := store.AppendAndWait(partition(s, "b", 2), m.Batch(10, 1000))
			return err
		},
		"messages go":   func(s *commitlog.Store) error { return partition(s, "b", 2).Trim(40) },
		"a topic goes":  func(s *commitlog.Store) error { return s.DeleteTopic("b") },
		"a topic grows": func(s *commitlog.Store) error { _, err := s.AddPartitions("b", 5); return err },
		"a topic comes": func(s *commitlog.Store) error { _, err := s.CreateTopic("bb", 5, ""); return err },
		"one is replaced": func(s *commitlog.Store) error {
			if err := s.DeleteTopic("b"); err != nil {
				return err
			}
			_, err := s.CreateTopic("b", 1, "")
			return err
		},
	} {
		from := small(t)
		var size bytes.Buffer
		s := openStore(t, from)
		if err := Export(t.Context(), &size, s); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			s := openStore(t, small(t))
			var out bytes.Buffer
			to := &meddling{to: &out, after: size.Len() * i / 5, f: func() {
				if err := meddle(s); err != nil {
					t.Error(name, err)
				}
			}}
			if err := Export(t.Context(), to, s); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			dir, sums, err := receive(t, &out)
			if err != nil {
				t.Fatalf("%s, after %d of 5: %v", name, i, err)
			}
			if got := look(t, dir); got.totals() != sums || len(got.Topics) < 2 {
				t.Errorf("%s, after %d of 5: there is %+v, and it says %+v", name, i, got.totals(), sums)
			}
		}
	}
}

// Positions in a topic that is deleted while the export is on its way are those in a deleted topic.
func TestATopicThatIsDeletedDuringAnExportIsKnownAsDeleted(t *testing.T) {
	s := openStore(t, small(t))
	id := find(s, "c").ID
	var out bytes.Buffer
	to := &meddling{to: &out, after: 100, f: func() {
		if err := s.DeleteTopic("c"); err != nil {
			t.Error(err)
		}
	}}
	if err := Export(t.Context(), to, s); err != nil {
		t.Fatal(err)
	}
	dir, _, err := receive(t, &out)
	if err != nil {
		t.Fatal(err)
	}
	got := openStore(t, dir)
	if !got.Deleted(id) || find(got, "c") != nil || find(got, "b") == nil {
		t.Errorf("deleted: %v, topics %v", got.Deleted(id), got.Topics())
	}
}

// The broker's own topics come before those of which they have positions.
func TestTheBrokersOwnTopicsAreExportedFirst(t *testing.T) {
	s := openStore(t, small(t))
	if _, err := s.CreateTopic("__consumer_offsets", 1, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateTopic("A", 1, ""); err != nil { // which sorts before
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Export(t.Context(), &out, s); err != nil {
		t.Fatal(err)
	}
	if at := bytes.Index(out.Bytes(), []byte("__consumer_offsets")); at < 0 || at > bytes.Index(out.Bytes(), []byte(`"Name":"A"`)) {
		t.Errorf("%d", at)
	}
}

// A batch that can't be read ends the export.
func TestDamageIsNotExported(t *testing.T) {
	from := small(t)
	damage(t, filepath.Join(from, "topics", "b", "2"))
	var out bytes.Buffer
	err := Export(t.Context(), &out, openStore(t, from))
	if !errors.As(err, new(*store.DamageError)) || !strings.Contains(err.Error(), `"b"`) {
		t.Errorf("%v", err)
	}
	if _, _, err := receive(t, &out); !errors.Is(err, ErrCut) {
		t.Errorf("%v", err)
	}
}

// Whatever comes, it costs no memory out of proportion, and is no export unless it is whole.
func FuzzReceive(f *testing.F) {
	dir := filepath.Join(f.TempDir(), "from")
	s := openStore(f, dir)
	if _, err := s.CreateTopic("a", 2, ""); err != nil {
		f.Fatal(err)
	}
	p, err := s.Partition("a", 1)
	if err == nil {
		_, err = store.AppendAndWait(p, batchtest.NewMaker(0).Batch(3, 100))
	}
	if err != nil {
		f.Fatal(err)
	}
	var out bytes.Buffer
	if err := Export(f.Context(), &out, s); err != nil {
		f.Fatal(err)
	}
	f.Add(out.Bytes())
	f.Add([]byte(magic))
	f.Add(binary.BigEndian.AppendUint32([]byte(magic+"B"), 1<<25))
	f.Add([]byte(magic + "D\x00\x00\x00\x6f" + `{"Name":"a","ID":[1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6],"Partitions":1,"Logs":[{"first":0,"start":0,"end":0}]}`))
	f.Fuzz(func(t *testing.T, p []byte) {
		r, err := newFrameReader(bytes.NewReader(p))
		for err == nil {
			var kind byte
			var body []byte
			if kind, body, err = r.next(); err != nil {
				break
			}
			switch kind {
			case frameBatches:
				err = eachBatch(body, func(int, batch.Batch) error { return nil })
			case frameTopic, frameDone, frameDeleted:
				_, err = parseTopic(body)
			case frameEnd:
				return
			}
		}
		if cap := 2*len(p) + 1<<21; r != nil && len(r.buf) > cap {
			t.Errorf("%d bytes are taken for %d", len(r.buf), len(p))
		}
	})
}
