package commitlog_test

import (
	"encoding/binary"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbus/internal/commitlog"
	"mbus/internal/vfs/crashfs"
	"mbus/test/brokertest"
)

// indexSyncs has a disk tell of each sync of an index, before it, and fail it with err.
func indexSyncs(disk *crashfs.FS, err error) <-chan string {
	syncs := make(chan string, 1000)
	disk.SetHook(func(c crashfs.Call) error {
		if c.Op != crashfs.Sync || !strings.HasSuffix(c.Name, ".index") {
			return nil
		}
		syncs <- c.Name
		return err
	})
	return syncs
}

// marksRig has a log whose marks are synced as soon as they have moved, or in an hour.
func marksRig(t *testing.T, every time.Duration) *rig {
	r := newRig(t, oneSegment())
	r.store.SetPointsEvery(every)
	return r
}

func (r *rig) pointsAreDurable() {
	r.Helper()
	brokertest.Await(r.T, patience, "the recovery point is at the end", func() bool { return commitlog.IsAtRecoveryPoint(r.Partition) })
	brokertest.Await(r.T, patience, "all recovery points are synced", r.store.PointsAreDurable)
}

// loseWhatIsNotSynced cuts the power, and says that the recovery point is at the end of what was
// stored all the same.
func (r *rig) loseWhatIsNotSynced() {
	r.Helper()
	disk := r.disk.Crash(crashfs.Nothing())
	header := readFile(r.T, disk, strings.TrimSuffix(activeLog, ".log")+".index")
	if got, want := binary.BigEndian.Uint64(header[16:]), len(bytesOf(r.stored)); got != uint64(want) {
		r.Errorf("after the power cut %d bytes are known to be synced, %d were", got, want)
	}
	r.reopen(disk)
}

// What had been synced a while before a power cut is known after it.
func TestRecoveryPointIsMadeDurableByItself(t *testing.T) {
	r := marksRig(t, time.Millisecond)
	for range 3 { // and again, after it has rested
		r.fill(5)
		r.pointsAreDurable()
		r.loseWhatIsNotSynced()
		r.store.SetPointsEvery(time.Millisecond)
		r.holdsStored()
	}
}

// A log that is written to in bulk does not wait for its time.
func TestRecoveryPointIsMadeDurableAfter64MiB(t *testing.T) {
	brokertest.Slow(t)
	r := marksRig(t, time.Hour)
	syncs := indexSyncs(r.disk, nil)
	for range 3 {
		r.append(r.Batch(1, 16<<20))
	}
	if len(syncs) > 0 {
		t.Error("the recovery point was synced after 48 MiB")
	}
	r.append(r.Batch(1, 16<<20))
	wait(t, syncs, "the sync of the recovery point after 64 MiB")
}

func TestLogsWhoseRecoveryPointsAreDurableStartNoRound(t *testing.T) {
	r := marksRig(t, time.Hour)
	if !r.store.PointsAreDurable() {
		t.Error("there is a round to come, and nothing was appended")
	}
	r.fill(1)
	brokertest.Await(t, patience, "the recovery point waits", func() bool { return !r.store.PointsAreDurable() })
}

// A disk that takes long for an index holds up neither appends nor readers.
func TestSyncOfARecoveryPointHoldsUpNoAppend(t *testing.T) {
	r := marksRig(t, time.Millisecond)
	arrived, open := make(chan struct{}, 1000), make(chan struct{})
	r.disk.SetHook(func(c crashfs.Call) error {
		if c.Op == crashfs.Sync && strings.HasSuffix(c.Name, ".index") {
			arrived <- struct{}{}
			<-open
		}
		return nil
	})
	r.fill(1)
	wait(t, arrived, "the sync of the recovery point")
	r.fill(20)
	r.holdsStored()
	close(open)
	r.pointsAreDurable()
	r.loseWhatIsNotSynced() // the recovery point that moved during the sync was synced by the next
	r.holdsStored()
}

// It is not the log that has failed: the recovery point on the disk stays older.
func TestFailedSyncOfARecoveryPointIsLoggedOnce(t *testing.T) {
	r := marksRig(t, time.Millisecond)
	syncs := indexSyncs(r.disk, syscall.EIO)
	for range 3 {
		r.fill(2)
		wait(t, syncs, "the sync of the recovery point")
		r.pointsAreDurable()
	}
	if logged := r.log.logged(); len(logged) != 1 || !strings.HasPrefix(logged[0], "WARN cannot sync the recovery point") {
		t.Errorf("logged was %q", logged)
	}
	r.reopen(r.disk.Crash(crashfs.Nothing()))
	r.holdsStored()
	r.goesOn()
}

func TestRecoveryPointsOfADeletedTopicAreForgotten(t *testing.T) {
	r := marksRig(t, 50*time.Millisecond)
	r.fill(2)
	if err := r.store.DeleteTopic("orders"); err != nil {
		t.Fatal(err)
	}
	brokertest.Await(t, patience, "no recovery point waits", r.store.PointsAreDurable)
	if logged := r.log.logged(); len(logged) > 0 {
		t.Errorf("logged was %q", logged)
	}
}

// Close waits for the recovery points that have moved last.
func TestRecoveryPointIsDurableAfterClose(t *testing.T) {
	r := marksRig(t, time.Hour)
	r.fill(10)
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	r.loseWhatIsNotSynced()
	r.holdsStored()
}

// An index that is built again because somebody reads says no more than what is
// synced: with syncs at intervals more than that is visible.
func TestIndexBuiltAgainIsNotAheadOfTheSync(t *testing.T) {
	for seed := range uint64(30) {
		r := newRig(t, smallIndex())
		r.fill(50)
		if err := r.store.Close(); err != nil {
			t.Fatal(err)
		}
		disk := r.disk.KillClone()
		index := files(t, disk, ".index")[0]
		content := readFile(t, disk, index)
		clear(content[64:]) // the header has come to the disk and the entries have not
		writeFile(t, disk, index, content)
		r.reopen(disk)
		r.fill(20)
		r.holdsStored()
		if !r.log.says("building an index again") {
			t.Fatal("the index was not built again")
		}
		r.reopen(disk.Crash(crashfs.Some(seed)))
		r.keeps(50)
	}
}

// keeps says that at least the first n batches are there, and nothing is damaged.
func (r *rig) keeps(n int) {
	r.Helper()
	r.logsNoError()
	list, holes, err := survey(r.Partition, 1<<20)
	if err != nil || len(list) < n || len(holes) > 0 {
		r.Errorf("of %d batches that were synced %d or fewer are there, missing are %+v, %v", n, len(list), holes, err)
	}
}
