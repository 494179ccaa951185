package commitlog_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbus/internal/batch/batchtest"
	"mbus/internal/commitlog"
	"mbus/internal/store"
	"mbus/internal/vfs"
	"mbus/internal/vfs/crashfs"
)

const (
	catalogFile = "/data/catalog"
	ordersDir   = "/data/topics/orders"
	ordersFile  = ordersDir + "/topic.json"
)

// closedWith returns the disk of a closed store with the topics orders, of two partitions with three
// records each, and bills.
func closedWith(t *testing.T) (disk *crashfs.FS, orders store.Topic) {
	t.Helper()
	disk = crashfs.New()
	s := openWith(t, disk, nil)
	var err error
	if orders, err = s.CreateTopic("orders", 2, `{"retention.ms":"1"}`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateTopic("bills", 1, ""); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		appendThree(t, s, "orders", i)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return disk.KillClone(), orders
}

func openWith(t *testing.T, disk vfs.FS, log *recorder) *commitlog.Store {
	t.Helper()
	o := commitlog.Options{FS: disk}
	if log != nil {
		o.Log = log.logger()
	}
	s, err := commitlog.Open("/data", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func appendThree(t *testing.T, s store.Store, topic string, partition int) {
	t.Helper()
	p, err := s.Partition(topic, partition)
	if err != nil {
		t.Fatal(err)
	}
	var m batchtest.Maker
	if _, err := store.AppendAndWait(p, m.Batch(3, 100)); err != nil {
		t.Fatal(err)
	}
}

// hasRecords checks the number of records of a partition.
func hasRecords(t *testing.T, s store.Store, topic string, partition int, want int64) {
	t.Helper()
	p, err := s.Partition(topic, partition)
	if err != nil {
		t.Fatal(err)
	}
	if _, high := p.Offsets(); high != want {
		t.Errorf("partition %d of %q has %d records, want %d", partition, topic, high, want)
	}
}

// removeTree removes a directory with its contents.
func removeTree(t *testing.T, disk *crashfs.FS, dir string) {
	t.Helper()
	for _, name := range slices.Backward(names(t, disk, dir)) {
		if err := disk.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := disk.Remove(dir); err != nil {
		t.Fatal(err)
	}
}

// A topic.json that is damaged or missing loses nothing, because the catalog has its content.
func TestTopicFileIsMadeAnewFromTheCatalog(t *testing.T) {
	closed, orders := closedWith(t)
	for _, content := range []string{"", "{", `{"id":"x","partitions":1}`, `{"id":"","partitions":1}`, strings.Repeat("[", 10_000), "gone"} {
		disk := closed.KillClone()
		if writeFile(t, disk, ordersFile, []byte(content)); content == "gone" {
			if err := disk.Remove(ordersFile); err != nil {
				t.Fatal(err)
			}
		}
		if sum, found := verify(t, disk, commitlog.Options{}); sum.Damaged != 1 || sum.Records != 6 || !strings.Contains(found[0], ordersFile) {
			t.Errorf("with %.20q: %+v, %q", content, sum, found)
		}
		disk = disk.KillClone()
		log := new(recorder)
		s := openWith(t, disk, log)
		if list := s.Topics(); len(list) != 2 || !list[1].Equal(&orders) {
			t.Errorf("with %.20q the topics are %v", content, list)
		}
		hasRecords(t, s, "orders", 1, 3)
		if lines := log.logged(); len(lines) != 1 || !strings.HasPrefix(lines[0], "ERROR") || !strings.Contains(lines[0], ordersFile) {
			t.Errorf("with %.20q was logged %q", content, lines)
		}
		s.Close()
		log = new(recorder)
		hasRecords(t, openWith(t, disk.Crash(crashfs.Nothing()), log), "orders", 0, 3)
		if lines := log.logged(); len(lines) > 0 {
			t.Errorf("the second time was logged %q", lines)
		}
	}
}

// If topic.json can't be written again, because something else has its name or the disk fails, the
// topic is used all the same.
func TestTopicFileThatCantBeMadeAnewStopsNoTopic(t *testing.T) {
	closed, orders := closedWith(t)
	for _, fails := range []bool{false, true} {
		disk := closed.KillClone()
		if err := disk.Remove(ordersFile); err != nil {
			t.Fatal(err)
		}
		if fails {
			disk.SetHook(func(c crashfs.Call) error {
				if strings.HasPrefix(c.Name, ordersFile) {
					return syscall.EIO
				}
				return nil
			})
		} else {
			mkdir(t, disk, ordersFile)
		}
		log := new(recorder)
		s := openWith(t, disk, log)
		if list := s.Topics(); len(list) != 2 || !list[1].Equal(&orders) {
			t.Errorf("fails %v: the topics are %v", fails, list)
		}
		appendThree(t, s, "orders", 1)
		hasRecords(t, s, "orders", 1, 6)
		if !log.says("WARN topic.json can't be written") {
			t.Errorf("fails %v: logged %q", fails, log.logged())
		}
		s.Close()
	}
}

// Remains of deleted topics that can't be removed stop no topic.
func TestTheStoreOpensWhereWhatIsDeletedCantBeRemoved(t *testing.T) {
	closed, _ := closedWith(t)
	for name, spoil := range map[string]func(disk *crashfs.FS){
		"it can't be removed": func(disk *crashfs.FS) {
			mkdir(t, disk, "/data/tmp/topic")
			disk.SetHook(func(c crashfs.Call) error {
				if c.Op == crashfs.Remove && strings.HasPrefix(c.Name, "/data/tmp/") {
					return syscall.EIO
				}
				return nil
			})
		},
		"a file has its name": func(disk *crashfs.FS) {
			removeTree(t, disk, "/data/tmp")
			f, err := disk.Create("/data/tmp")
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
		},
	} {
		disk, log := closed.KillClone(), new(recorder)
		spoil(disk)
		s := openWith(t, disk, log)
		appendThree(t, s, "orders", 1)
		hasRecords(t, s, "orders", 1, 6)
		if !log.says("WARN remains of deleted topics can't be removed") {
			t.Errorf("%s: logged %q", name, log.logged())
		}
		s.Close()
	}
}

// A topic that can't be used, because something is damaged or missing, keeps its name and stops no
// other topic.
func TestUnusableTopicKeepsItsNameAndStopsNoOther(t *testing.T) {
	closed, orders := closedWith(t)
	for name, test := range map[string]struct {
		harm  func(t *testing.T, disk *crashfs.FS)
		known bool // the id is known
	}{
		"its directory is gone":      {func(t *testing.T, d *crashfs.FS) { removeTree(t, d, ordersDir) }, true},
		"its directory is empty":     {func(t *testing.T, d *crashfs.FS) { removeTree(t, d, ordersDir); mkdir(t, d, ordersDir) }, true},
		"a partition is gone":        {func(t *testing.T, d *crashfs.FS) { removeTree(t, d, ordersDir+"/1") }, true},
		"a partition is empty":       {func(t *testing.T, d *crashfs.FS) { removeTree(t, d, ordersDir+"/0"); mkdir(t, d, ordersDir+"/0") }, true},
		"file and catalog damaged":   {func(t *testing.T, d *crashfs.FS) { writeFile(t, d, ordersFile, nil); writeFile(t, d, catalogFile, nil) }, false},
		"file and a partition wrong": {func(t *testing.T, d *crashfs.FS) { writeFile(t, d, ordersFile, nil); removeTree(t, d, ordersDir+"/1") }, true},
		"file gone, no catalog": {func(t *testing.T, d *crashfs.FS) {
			for _, name := range []string{ordersFile, catalogFile} {
				if err := d.Remove(name); err != nil {
					t.Fatal(err)
				}
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			disk := closed.KillClone()
			test.harm(t, disk)
			if sum, found := verify(t, disk, commitlog.Options{}); sum.Damaged == 0 || !strings.Contains(found[0], `topic="orders"`) {
				t.Errorf("verify: %+v, %q", sum, found)
			}
			disk = disk.KillClone()
			log := new(recorder)
			s := openWith(t, disk, log)
			if lines := log.logged(); !slices.ContainsFunc(lines, func(l string) bool {
				return strings.HasPrefix(l, "ERROR a topic can't be used topic=orders") && strings.Contains(l, "delete the topic")
			}) {
				t.Errorf("logged: %q", lines)
			}
			checkUnusable(t, s)
			if test.known && s.Deleted(orders.ID) {
				t.Error("it is taken for deleted")
			}
			s.Close()
			disk = disk.KillClone()
			s = openWith(t, disk, nil)
			checkUnusable(t, s)
			if err := s.DeleteTopic("orders"); err != nil {
				t.Fatal(err)
			}
			if test.known && !s.Deleted(orders.ID) {
				t.Error("it was deleted, and is not known to be")
			}
			s = openWith(t, disk.Crash(crashfs.Nothing()), nil)
			if test.known && !s.Deleted(orders.ID) {
				t.Error("it was deleted, and is not known to be after a power cut")
			}
			if _, err := s.CreateTopic("orders", 1, ""); err != nil {
				t.Error(err)
			}
			appendThree(t, s, "orders", 0)
		})
	}
}

// Only the broker's own topics can't be deleted; others with such a beginning can.
func TestWhatIsToBeDoneAboutAnUnusableTopicCanBeDone(t *testing.T) {
	names := map[string]bool{"orders": true, "__debezium-heartbeat.x": true, "__consumer_offsets": false}
	disk := crashfs.New()
	s := openWith(t, disk, nil)
	for name := range names {
		if _, err := s.CreateTopic(name, 1, ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	disk = disk.KillClone()
	for name := range names {
		removeTree(t, disk, "/data/topics/"+name)
	}
	log := new(recorder)
	openWith(t, disk, log)
	lines := log.logged()
	for name, deletable := range names {
		i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "ERROR a topic can't be used topic="+name+" ") })
		if i < 0 || strings.Contains(lines[i], "or delete the topic") != deletable {
			t.Errorf("%s: logged %q", name, lines)
		}
	}
}

// checkUnusable checks that the name orders is taken, and that bills can be used.
func checkUnusable(t *testing.T, s *commitlog.Store) {
	t.Helper()
	_, partition := s.Partition("orders", 0)
	_, create := s.CreateTopic("orders", 1, "")
	_, grow := s.AddPartitions("orders", 5)
	for what, err := range map[string]error{"partition": partition, "create": create, "grow": grow, "configure": s.Configure("orders", "")} {
		if !errors.Is(err, store.ErrUnusable) || !strings.Contains(err.Error(), "delete the topic") {
			t.Errorf("%s: %v, want ErrUnusable and what to do", what, err)
		}
	}
	if list := s.Topics(); len(list) != 1 || list[0].Name != "bills" {
		t.Errorf("the topics are %v", list)
	}
	appendThree(t, s, "bills", 0)
}

func mkdir(t *testing.T, disk *crashfs.FS, dir string) {
	t.Helper()
	if err := disk.Mkdir(dir); err != nil {
		t.Fatal(err)
	}
}

// A topic whose directory is put back is as before.
func TestMissingTopicComesBack(t *testing.T) {
	disk, orders := closedWith(t)
	if err := disk.Rename(ordersDir, "/elsewhere"); err != nil {
		t.Fatal(err)
	}
	s := openWith(t, disk, nil)
	checkUnusable(t, s)
	s.Close()
	disk = disk.KillClone()
	if err := disk.Rename("/elsewhere", ordersDir); err != nil {
		t.Fatal(err)
	}
	log := new(recorder)
	s = openWith(t, disk, log)
	if list := s.Topics(); len(list) != 2 || !list[1].Equal(&orders) {
		t.Errorf("the topics are %v", list)
	}
	hasRecords(t, s, "orders", 1, 3)
	if lines := log.logged(); len(lines) > 0 {
		t.Errorf("logged: %q", lines)
	}
}

// A directory of an older version has no catalog, which is written from the topics.
func TestDirectoryWithoutACatalogGetsOne(t *testing.T) {
	disk, _ := closedWith(t)
	if err := disk.Remove(catalogFile); err != nil {
		t.Fatal(err)
	}
	log := new(recorder)
	openWith(t, disk, log).Close()
	if lines := log.logged(); len(lines) != 1 || !strings.Contains(lines[0], "the catalog of topics is missing") {
		t.Errorf("logged: %q", lines) // a missing topic would be forgotten silently
	}
	disk = disk.Crash(crashfs.Nothing())
	removeTree(t, disk, ordersDir)
	checkUnusable(t, openWith(t, disk, nil))
}

// A damaged line of the catalog is reported, and does not affect others.
func TestDamagedLineOfTheCatalogHarmsNoOther(t *testing.T) {
	closed, orders := closedWith(t)
	content := string(readFile(t, closed, catalogFile))
	lines := strings.Count(strings.TrimRight(content, "\n"), "\n") + 1
	for n := range lines {
		for _, harm := range []func(string) string{
			func(l string) string { return "x" + l[1:] },
			func(l string) string { return l[:len(l)/2] },
			func(l string) string { return strings.Repeat("\x00", len(l)/2) + l[len(l)/2:] },
		} {
			list := strings.Split(content, "\n")
			list[n] = harm(list[n])
			disk := closed.KillClone()
			writeFile(t, disk, catalogFile, []byte(strings.Join(list, "\n")))
			if _, found := verify(t, disk, commitlog.Options{}); len(found) != 1 || !strings.Contains(found[0], fmt.Sprintf("line %d", n+1)) {
				t.Errorf("line %d: verify finds %q", n+1, found)
			}
			disk = disk.KillClone()
			log := new(recorder)
			s := openWith(t, disk, log)
			if got := s.Topics(); len(got) != 2 || !got[1].Equal(&orders) || !strings.Contains(log.logged()[0], fmt.Sprintf("line=%d", n+1)) {
				t.Errorf("line %d: topics %v, logged %q", n+1, got, log.logged())
			}
			s.Close()
			disk = disk.Crash(crashfs.Nothing())
			removeTree(t, disk, ordersDir)
			checkUnusable(t, openWith(t, disk, nil))
		}
	}
}

// A deleted topic that is put back is used again in spite of its tombstone, and then no longer counts
// as deleted.
func TestDeletedTopicThatIsPutBackIsUsed(t *testing.T) {
	disk, orders := closedWith(t)
	kept := disk.KillClone()
	disk = disk.KillClone()
	s := openWith(t, kept, nil)
	if err := s.DeleteTopic("orders"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	catalog := readFile(t, kept, catalogFile)
	writeFile(t, disk, catalogFile, catalog) // the topic from before, the catalog from after
	if sum, found := verify(t, disk, commitlog.Options{}); sum.Damaged > 0 || len(found) != 1 || !strings.Contains(found[0], "it was deleted") {
		t.Errorf("verify: %+v, %q", sum, found)
	}
	disk = disk.KillClone()
	log := new(recorder)
	s = openWith(t, disk, log)
	if lines := log.logged(); len(lines) != 1 || !strings.HasPrefix(lines[0], "WARN a deleted topic has a directory") {
		t.Errorf("logged: %q", lines)
	}
	hasRecords(t, s, "orders", 0, 3)
	if s.Deleted(orders.ID) {
		t.Error("it is taken for deleted")
	}
	s.Close()
	disk = disk.Crash(crashfs.Nothing())
	removeTree(t, disk, ordersDir)
	if s = openWith(t, disk, nil); s.Deleted(orders.ID) {
		t.Error("it was used again, and is taken for deleted after a power cut")
	}
}

// A start with a clock in 2093 leaves epochs for later topics.
func TestEpochsOfAClockThatWasWrongOnce(t *testing.T) {
	disk := crashfs.New()
	s := openWith(t, disk, nil)
	s.UseClock(func() time.Time { return time.Date(2093, 1, 1, 0, 0, 0, 0, time.UTC) })
	wrong, err := s.CreateTopic("orders", 1, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteTopic("orders"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = openWith(t, disk.KillClone(), nil)
	later, err := s.CreateTopic("orders", 1, "")
	if err != nil || later.Epoch <= wrong.Epoch || later.Epoch > math.MaxInt32/2+10 {
		t.Errorf("epoch %d, then %d: %v", wrong.Epoch, later.Epoch, err)
	}
}

// Messages of a partition that an older topic.json does not count are reported, and are there again
// when partitions are added.
func TestPartitionsBeyondTheNumberAreReportedAndComeBack(t *testing.T) {
	disk := crashfs.New()
	s := openWith(t, disk, nil)
	if _, err := s.CreateTopic("orders", 1, ""); err != nil {
		t.Fatal(err)
	}
	old := readFile(t, disk, ordersFile)
	if _, err := s.AddPartitions("orders", 4); err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{1, 3} {
		appendThree(t, s, "orders", i)
	}
	s.Close()
	disk = disk.KillClone()
	writeFile(t, disk, ordersFile, old)
	if sum, found := verify(t, disk, commitlog.Options{}); sum.Damaged != 2 || !strings.Contains(found[1], "partition=3") {
		t.Errorf("verify: %+v, %q", sum, found)
	}
	disk = disk.KillClone()
	log := new(recorder)
	s = openWith(t, disk, log)
	if lines := log.logged(); len(lines) != 2 || !strings.HasPrefix(lines[0], "ERROR a partition holds messages") {
		t.Errorf("logged: %q", lines)
	}
	for _, total := range []int{2, 5} {
		if _, err := s.AddPartitions("orders", total); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []int64{0, 3, 0, 3, 0} {
		hasRecords(t, s, "orders", i, want)
		appendThree(t, s, "orders", i)
	}
	s.Close()
	disk = disk.Crash(crashfs.Nothing())
	if sum, found := verify(t, disk, commitlog.Options{}); sum.Damaged > 0 || sum.Records != 21 {
		t.Errorf("verify: %+v, %q", sum, found)
	}
	disk = disk.KillClone()
	s = openWith(t, disk, nil)
	for i, want := range []int64{3, 6, 3, 6, 3} {
		hasRecords(t, s, "orders", i, want)
	}
}

// linked moves a topic's directory elsewhere and puts a link in its place.
func linked(t *testing.T, data, name, to string) {
	t.Helper()
	place := filepath.Join(data, "topics", name)
	if err := errors.Join(os.Rename(place, to), os.Symlink(to, place)); err != nil {
		t.Fatal(err)
	}
}

// Directories of topics, and of partitions, may be links.
func TestLinkedTopicsAndPartitions(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	s, reopen := openFor(t, data, commitlog.Options{})
	if _, err := s.CreateTopic("orders", 2, ""); err != nil {
		t.Fatal(err)
	}
	appendThree(t, s, "orders", 0)
	appendThree(t, s, "orders", 1)
	s.Close()
	linked(t, data, "orders", filepath.Join(dir, "disk 2"))
	linked(t, data, "orders/1", filepath.Join(dir, "disk 3"))
	foreign := filepath.Join(dir, "disk 2", "photo.jpg")
	if err := os.WriteFile(foreign, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	sum, err := commitlog.Verify(data, commitlog.Options{}, func(f commitlog.Finding) { t.Error(f) })
	if err != nil || sum.Records != 6 {
		t.Errorf("%+v, %v", sum, err)
	}
	s = reopen()
	hasRecords(t, s, "orders", 0, 3)
	appendThree(t, s, "orders", 1)
	if err := s.DeleteTopic("orders"); err != nil {
		t.Fatal(err)
	}
	for _, disk := range []string{"disk 2", "disk 3"} {
		left, err := os.ReadDir(filepath.Join(dir, disk))
		if err != nil || len(left) > 1 || len(left) == 1 && left[0].Name() != "photo.jpg" {
			t.Errorf("%s holds %v, %v", disk, left, err)
		}
	}
	if p, err := os.ReadFile(foreign); string(p) != "mine" {
		t.Errorf("what somebody else had there: %q, %v", p, err)
	}
	if _, err := s.CreateTopic("orders", 1, ""); err != nil {
		t.Error(err)
	}
	hasRecords(t, reopen(), "orders", 0, 0)
}

func TestLinkThatLeadsNowhereIsAMissingTopic(t *testing.T) {
	dir := t.TempDir()
	data, disk := filepath.Join(dir, "data"), filepath.Join(dir, "disk 2")
	s, reopen := openFor(t, data, commitlog.Options{})
	if _, err := s.CreateTopic("orders", 1, ""); err != nil {
		t.Fatal(err)
	}
	appendThree(t, s, "orders", 0)
	s.Close()
	linked(t, data, "orders", disk)
	if err := os.Rename(disk, disk+" away"); err != nil {
		t.Fatal(err)
	}
	sum, err := commitlog.Verify(data, commitlog.Options{}, func(commitlog.Finding) {})
	if err != nil || sum.Damaged != 1 {
		t.Errorf("%+v, %v", sum, err)
	}
	s = reopen()
	if _, err := s.CreateTopic("orders", 1, ""); !errors.Is(err, store.ErrUnusable) {
		t.Errorf("making it: %v", err)
	}
	s.Close()
	if err := os.Rename(disk+" away", disk); err != nil {
		t.Fatal(err)
	}
	hasRecords(t, reopen(), "orders", 0, 3)
}

// A new topic is created behind a link of its name that leads to an empty directory.
func TestTopicIsMadeBehindALink(t *testing.T) {
	dir := t.TempDir()
	data, disk := filepath.Join(dir, "data"), filepath.Join(dir, "disk 2")
	s, reopen := openFor(t, data, commitlog.Options{})
	if err := errors.Join(os.MkdirAll(filepath.Join(disk, "lost+found"), 0o700), os.Symlink(disk, filepath.Join(data, "topics", "orders"))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateTopic("orders", 2, ""); err != nil {
		t.Fatal(err)
	}
	appendThree(t, s, "orders", 1)
	s = reopen()
	hasRecords(t, s, "orders", 1, 3)
	if _, err := os.Stat(filepath.Join(disk, "topic.json")); err != nil {
		t.Error(err)
	}
	if err := s.DeleteTopic("orders"); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(disk); len(left) != 1 {
		t.Errorf("%s holds %v, %v", disk, left, err)
	}
}

// An unreadable sector of the catalog loses its lines; one of a topic.json loses nothing.
func TestSectorsOfTheCatalogAndATopicFileThatCantBeRead(t *testing.T) {
	disk := crashfs.New()
	s := openWith(t, disk, nil)
	const topics = 30 // some 3 KiB of lines
	for i := range topics {
		if _, err := s.CreateTopic(fmt.Sprint("topic-", i), 1, ""); err != nil {
			t.Fatal(err)
		}
		appendThree(t, s, fmt.Sprint("topic-", i), 0)
	}
	s.Close()
	closed := disk.KillClone()
	of := crashfs.Patch{Suffix: catalogFile, From: 1024, To: 1536}
	for _, patch := range []crashfs.Patch{of, {Suffix: "/data/topics/topic-7/topic.json", To: 512}} {
		bad := &crashfs.Worn{FS: closed.KillClone(), Blunt: true}
		bad.Break(patch)
		sum, err := commitlog.Verify("/data", commitlog.Options{FS: bad}, func(commitlog.Finding) {})
		if err != nil || sum.Damaged == 0 || sum.Records != 3*topics {
			t.Errorf("%s: %+v, %v", patch.Suffix, sum, err)
		}
		log := new(recorder)
		s := openWith(t, bad, log)
		for i := range topics {
			hasRecords(t, s, fmt.Sprint("topic-", i), 0, 3)
		}
		if lines := log.logged(); len(lines) == 0 || !strings.HasPrefix(lines[0], "ERROR") {
			t.Errorf("%s: logged %q", patch.Suffix, lines)
		}
		s.Close()
	}
	// Topics whose lines can be read are reported missing.
	gone := closed.KillClone()
	removeTree(t, gone, "/data/topics/topic-29")
	bad := &crashfs.Worn{FS: gone, Blunt: true}
	bad.Break(of)
	s = openWith(t, bad, nil)
	if _, err := s.CreateTopic("topic-29", 1, ""); !errors.Is(err, store.ErrUnusable) {
		t.Errorf("making topic-29: %v", err)
	}
}

// While the catalog can't be written, topics are served, and none is created.
func TestTheStoreOpensWhereTheCatalogCantBeWritten(t *testing.T) {
	for name, spoil := range map[string]func(disk *crashfs.FS){
		"a directory has its name": func(disk *crashfs.FS) {
			if err := errors.Join(disk.Remove(catalogFile), disk.Mkdir(catalogFile)); err != nil {
				t.Fatal(err)
			}
		},
		"it is gone, and the disk fails": func(disk *crashfs.FS) {
			if err := disk.Remove(catalogFile); err != nil {
				t.Fatal(err)
			}
			disk.SetHook(func(c crashfs.Call) error {
				if strings.HasPrefix(c.Name, catalogFile) {
					return syscall.EIO
				}
				return nil
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			disk := crashfs.New()
			s := openWith(t, disk, nil)
			if _, err := s.CreateTopic("orders", 1, ""); err != nil {
				t.Fatal(err)
			}
			appendThree(t, s, "orders", 0)
			s.Close()
			spoil(disk)
			log := new(recorder)
			s = openWith(t, disk, log)
			hasRecords(t, s, "orders", 0, 3)
			appendThree(t, s, "orders", 0)
			if !log.says("WARN the catalog of topics can't be written") {
				t.Errorf("logged %q", log.logged())
			}
			if _, err := s.CreateTopic("billing", 1, ""); err == nil {
				t.Error("a topic was made")
			}
			if err := s.DeleteTopic("orders"); err == nil {
				t.Error("a topic was deleted")
			}
			s.Close()
			disk.SetHook(nil)
			_ = disk.Remove(catalogFile)
			s = openWith(t, disk, nil)
			defer s.Close()
			hasRecords(t, s, "orders", 0, 6)
			if _, err := s.CreateTopic("later", 1, ""); err != nil {
				t.Error(err)
			}
		})
	}
}

// An unreadable file "format" in a directory with a catalog stops no topic. One that names another
// format does.
func TestDamagedFormatIsWrittenAgain(t *testing.T) {
	closed, orders := closedWith(t)
	const name = "/data/format"
	for _, content := range []string{"", "mbu", "\x00\x00\x00\x00\x00\x00\x00", "mcus 2\n", "unreadable"} {
		under := closed.KillClone()
		disk := &crashfs.Worn{FS: under, Blunt: true}
		if content == "unreadable" {
			disk.Break(crashfs.Patch{Suffix: name, To: 512})
		} else {
			writeFile(t, under, name, []byte(content))
		}
		sum, err := commitlog.Verify("/data", commitlog.Options{FS: disk}, func(commitlog.Finding) {})
		if err != nil || sum.Damaged != 1 || sum.Records != 6 {
			t.Errorf("%q: %+v, %v", content, sum, err)
		}
		log := new(recorder)
		s := openWith(t, disk, log)
		if list := s.Topics(); len(list) != 2 || !list[1].Equal(&orders) {
			t.Errorf("%q: the topics are %v", content, list)
		}
		if !log.says(`ERROR the file "format" is damaged, and is written again`) {
			t.Errorf("%q: logged %q", content, log.logged())
		}
		s.Close()
		if got := string(readFile(t, under, name)); got != "mbus 2\n" {
			t.Errorf("%q: then it is %q", content, got)
		}
	}
	disk := closed.KillClone()
	writeFile(t, disk, name, []byte("mbus 4\n"))
	if _, err := commitlog.Open("/data", commitlog.Options{FS: disk}); err == nil || !strings.Contains(err.Error(), `"mbus 4"`) {
		t.Errorf("of another format: %v", err)
	}
}
