package broker_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/group"
	"mbus/internal/store"
	"mbus/internal/vfs/crashfs"
)

// The topic is deleted and created again, and its positions' deletion is lost: those
// that the positions log still has belong to the old one.
func TestPositionsOfADeletedTopicAreNotThoseOfTheNextOneWithItsName(t *testing.T) {
	s := setup{dir: t.TempDir()}
	b := mustOpen(t, s)
	mustFill(t, b, "orders")
	mustCommit(t, b, "billing", group.Commit{Topic: "orders", Offset: 5, LeaderEpoch: group.NoEpoch})
	mustClose(t, b)
	st, err := commitlog.Open(s.dir, s.log)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.DeleteTopic("orders"); err != nil {
		t.Fatal(err)
	}
	if _, err := st.CreateTopic("orders", 1, ""); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	b = mustOpen(t, s)
	if got := b.CommittedOffsets("billing"); len(got) > 0 {
		t.Errorf("in the new topic the group is at %+v", got)
	}
	mustFill(t, b, "orders")
	mustCommit(t, b, "billing", group.Commit{Topic: "orders", Offset: 1, LeaderEpoch: group.NoEpoch})
	b = reopened(t, b, s)
	defer mustClose(t, b)
	if got, _ := b.CommittedOffset("billing", "orders", 0); got.Offset != 1 {
		t.Errorf("what was committed in the new one is %+v", got)
	}
}

func TestPositionsKeptWithoutATopicsIdAreTaken(t *testing.T) {
	s := setup{dir: t.TempDir()}
	fillPositionsLog(t, s, func(b *batch.Builder) {
		value := group.State{Offset: 5}.AppendValue(nil, 0)
		b.Add(0, group.Key{Group: "billing", Topic: "orders"}.AppendKey(nil), value[:32]) // up to the counts of spans and failures
	})
	b := mustOpen(t, s)
	defer mustClose(t, b)
	if got, _ := b.CommittedOffset("billing", "orders", 0); got.Offset != 5 {
		t.Errorf("it is %+v", got)
	}
}

// A consumer has found the topic, which is deleted before it asks for its position.
func TestAPositionInATopicThatIsDeletedMeanwhileIsKeptNowhere(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir()})
	defer mustClose(t, b)
	old := mustMake(t, b, "orders")
	if err := b.DeleteTopic("orders"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		p, err := b.Position("billing", old, 0)
		if err != nil {
			t.Fatal(err)
		}
		p.Start(7, true)
		p.Close()
		mustSync(t, b)
		if all := b.Positions(""); len(all) > 0 {
			t.Errorf("there is %+v", all)
		}
		mustMake(t, b, "orders")
	}
}

// Somebody has found the topic by its id, and another one deletes it and creates it again.
func TestATopicMadeAnewIsNotDeletedByTheIDOfTheOldOne(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir()})
	defer mustClose(t, b)
	old := mustMake(t, b, "orders")
	if err := b.DeleteTopicByID(old.ID); err != nil {
		t.Fatal(err)
	}
	made := mustMake(t, b, "orders")
	if err := b.DeleteTopicByID(old.ID); !errors.Is(err, store.ErrUnknownTopic) {
		t.Errorf("deleting the old one again: %v", err)
	}
	if now, err := b.Topic("orders"); err != nil || now != made {
		t.Errorf("the new one is gone: %v", err)
	}
}

func TestTheBrokersOwnTopicsAreNotDeletedByID(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir()})
	defer mustClose(t, b)
	mustMake(t, b, "orders")
	consume(t, position(t, b, "billing", "orders", 0), 0, 1)
	mustSync(t, b)
	own, err := b.Topic(broker.PositionsTopic)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.DeleteTopicByID(own.ID); !errors.Is(err, broker.ErrInternalTopic) {
		t.Error(err)
	}
}

// Deletions and commits of many go on at the same time; the rest must be
// there after a restart, too.
func TestCommitsThatRaceDeletionsLeaveTheSameInMemoryAndOnDisk(t *testing.T) {
	s := setup{dir: t.TempDir()}
	b := mustOpen(t, s)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for n := range 50 {
				topic, err := b.MakeTopic("orders")
				if err != nil {
					t.Errorf("make: %v", err)
					return
				}
				switch (n + i) % 4 {
				case 0:
					if err := b.DeleteTopic("orders"); err != nil && !errors.Is(err, store.ErrUnknownTopic) {
						t.Errorf("delete: %v", err)
					}
				case 1:
					done := make(chan []error, 1)
					b.CommitOffsets("billing", []group.Commit{{Topic: "orders", Offset: int64(n)}}, func(errs []error) { done <- errs })
					<-done
				default:
					p, err := b.Position("billing", topic, 0)
					if err != nil {
						t.Errorf("position: %v", err)
						return
					}
					p.Start(int64(n), true)
					p.Close()
				}
			}
		})
	}
	all.Wait()
	mustSync(t, b)
	if topic, err := b.Topic("orders"); err == nil { // so that what was committed is not beyond its end
		lengthen(t, topic.Partitions()[0])
	}
	before, beforeOK := b.CommittedOffset("billing", "orders", 0)
	b = reopened(t, b, s)
	defer mustClose(t, b)
	if after, ok := b.CommittedOffset("billing", "orders", 0); after != before || ok != beforeOK {
		t.Errorf("before the restart %+v, %v; after it %+v, %v", before, beforeOK, after, ok)
	}
}

// A stubborn store deletes, and says that it has not.
type stubborn struct{ store.Store }

var errStubborn = errors.New("no")

func (s stubborn) DeleteTopic(name string) error {
	return errors.Join(errStubborn, s.Store.DeleteTopic(name))
}

func TestATopicThatCouldNotBeDeletedIsUsedOn(t *testing.T) {
	disk := crashfs.New()
	b := mustOpen(t, setup{disk: disk})
	defer mustClose(t, b)
	old := mustMake(t, b, "orders")
	publish(t, old.Partitions()[0], now, 3, 10)
	mustCommit(t, b, "billing", group.Commit{Topic: "orders", Offset: 2, LeaderEpoch: group.NoEpoch})
	disk.SetHook(func(c crashfs.Call) error {
		if c.Op == crashfs.Rename {
			return errStubborn
		}
		return nil
	})
	if err := b.DeleteTopic("orders"); !errors.Is(err, errStubborn) {
		t.Fatal(err)
	}
	disk.SetHook(nil)
	topic, err := b.Topic("orders")
	if err != nil {
		t.Fatal(err)
	}
	publish(t, topic.Partitions()[0], now, 1, 10)
	if _, high := topic.Partitions()[0].Offsets(); high != 4 {
		t.Errorf("it has %d messages", high)
	}
	if got, _ := b.CommittedOffset("billing", "orders", 0); got.Offset != 2 {
		t.Errorf("its group is at %+v", got)
	}
	if err := b.DeleteTopic("orders"); err != nil {
		t.Errorf("deleting it again: %v", err)
	}
}

func TestATopicThatIsGoneThoughItsDeletionFailedIsNotUsed(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir(), wrap: func(st store.Store) store.Store { return &stubborn{st} }})
	defer mustClose(t, b)
	mustMake(t, b, "orders")
	if err := b.DeleteTopic("orders"); !errors.Is(err, errStubborn) {
		t.Fatal(err)
	}
	if _, err := b.Topic("orders"); !errors.Is(err, store.ErrUnknownTopic) {
		t.Errorf("it is still there: %v", err)
	}
	publish(t, mustMake(t, b, "orders").Partitions()[0], now, 1, 10)
}

func TestOfThoseWhoCreateATopicAtTheSameTimeOneSucceeds(t *testing.T) {
	b := mustOpen(t, setup{dir: t.TempDir(), log: lazily})
	defer mustClose(t, b)
	for i := range 50 {
		name, errs := fmt.Sprint("t", i), make(chan error, 2)
		for range 2 {
			go func() {
				_, err := b.CreateTopic(name, 1, nil)
				errs <- err
			}()
		}
		first, second := <-errs, <-errs
		if first != nil {
			first, second = second, first
		}
		if first != nil || !errors.Is(second, store.ErrTopicExists) {
			t.Fatalf("%v and %v", first, second)
		}
	}
}

func TestAtTheLimitNewPositionsAreRefusedAndTheOthersGoOn(t *testing.T) {
	limits := broker.DefaultLimits()
	limits.MaxPositions = 2 * (group.PositionCost + 32)
	b := mustOpen(t, setup{dir: t.TempDir(), options: broker.Options{Limits: limits}})
	defer mustClose(t, b)
	topic := mustMake(t, b, "orders")
	at := func(offset int64) group.Commit {
		return group.Commit{Topic: "orders", Offset: offset, LeaderEpoch: group.NoEpoch}
	}
	mustCommit(t, b, "billing", at(1))
	mustCommit(t, b, "shipping", at(1))
	done := make(chan []error, 1)
	b.CommitOffsets("third", []group.Commit{at(1)}, func(errs []error) { done <- errs })
	if errs := <-done; !errors.Is(errs[0], group.ErrTooMany) {
		t.Errorf("a third commits: %v", errs)
	}
	if _, err := b.Position("third", topic, 0); !errors.Is(err, group.ErrTooMany) {
		t.Errorf("a third reads: %v", err)
	}
	mustCommit(t, b, "billing", at(2))
	if err := b.DeleteOffsets("shipping", nil); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, b, "third", at(1))
}
