package commitlog_test

import (
	"path"
	"testing"

	"mbus/internal/commitlog"
	"mbus/internal/store"
)

// FuzzSmallFiles opens a directory in which a topic's description and a
// partition's log start offset hold anything: it is refused with an error, or the
// topic is there with its messages from that offset on, and nothing is deleted.
func FuzzSmallFiles(f *testing.F) {
	template, log, _ := seedLog(f)
	dir := path.Dir(activeLog)
	description := path.Join(path.Dir(dir), "topic.json")
	f.Add(readFile(f, template, description), []byte("0"))
	f.Add(readFile(f, template, description), []byte("3\n"))
	f.Add([]byte(`{"id":"00000000-0000-0000-0000-000000000000","partitions":1}`), []byte("-1"))
	f.Add([]byte(`{"partitions":1000000000}`), []byte("9223372036854775807"))
	f.Add([]byte(`{"id":"00000000000000000000000000000000","partitions":2147483647}`), []byte(""))
	f.Add([]byte("null"), []byte("x"))
	f.Fuzz(func(t *testing.T, content, start []byte) {
		disk := template.KillClone()
		writeFile(t, disk, description, content)
		startFile := path.Join(dir, "log-start-offset")
		if f, err := disk.Create(startFile); err != nil {
			t.Fatal(err)
		} else if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		writeFile(t, disk, startFile, start)
		s, err := commitlog.Open("/data", commitlog.Options{FS: disk})
		if err == nil {
			checkStart(t, s)
			s.Close()
		}
		if len(readFile(t, disk, activeLog)) < len(log) && err != nil {
			t.Errorf("refused (%v), and messages are gone", err)
		}
	})
}

func checkStart(t *testing.T, s store.Store) {
	p, err := s.Partition("orders", 0)
	if err != nil {
		t.Fatal(err)
	}
	if start, high := p.Offsets(); start < 0 || start > high {
		t.Errorf("the log is from %d to %d", start, high)
	}
}
