package storetest

import (
	"slices"
	"strings"

	"mbus/internal/store"
)

var topicTests = []test{
	{"a new store has none", hasNoTopics},
	{"a topic made is listed and has its partitions", listsMadeTopic},
	{"listed by name, ascending", listsTopicsSorted},
	{"survive a restart with their ids", keepsTopics},
	{"a name that exists is refused", refusesExistingTopic},
	{"an unknown topic or partition is refused as unknown", knowsNoOtherTopics},
	{"names that look alike are kept apart", keepsAlikeNamesApart},
	{"a deleted topic is gone and its partitions say so", deletesTopic},
	{"a deleted topic's appends are completed", answersAppendsOnDelete},
	{"a topic of a deleted name has no contents of the old one", recreatesTopicEmpty},
	{"deleting one leaves the others alone", deletesOnlyThatTopic},
	{"a note is kept beside them", keepsNote},
}

func hasNoTopics(f *fixture) {
	if got := f.Topics(); len(got) > 0 {
		f.Errorf("topics are %v", got)
	}
}

func keepsNote(f *fixture) {
	if p := f.Note(); len(p) > 0 {
		f.Errorf("the note of a new store is %q", p)
	}
	for _, p := range []string{"a note", strings.Repeat("x", store.MaxNote), "\n", "another"} {
		if err := f.KeepNote([]byte(p)); err != nil {
			f.Fatal(err)
		}
		if got := f.Note(); string(got) != p {
			f.Errorf("the note is %q, not %q", got, p)
		}
		f.restart()
		if got := f.Note(); string(got) != p {
			f.Errorf("after a restart the note is %q, not %q", got, p)
		}
	}
}

func listsMadeTopic(f *fixture) {
	m := f.create("orders", 3)
	if m.ID[6]>>4 != 4 || m.ID[8]>>6 != 2 {
		f.Errorf("id %x is not a random UUID of version 4", m.ID)
	}
	f.check()
	m.logs[1].append(f.Batch(2, 10))
	m.logs[2].append(f.Batch(3, 10))
	f.check()
}

func listsTopicsSorted(f *fixture) {
	for _, name := range []string{"b", "a", "B", "a.b", "a-b", "10", "9", "_", "aa"} {
		f.create(name, 1)
	}
	f.check()
	f.restart()
}

func keepsTopics(f *fixture) {
	f.create("orders", 2)
	f.create("billing", 1)
	f.restart()
	f.create("later", 1)
	f.restart()
}

func refusesExistingTopic(f *fixture) {
	l := f.log()
	l.append(f.Batch(1, 10))
	_, err := f.CreateTopic("orders", 1, "")
	f.refuses("create twice", err, store.ErrTopicExists)
	f.restart()
	_, err = f.CreateTopic("orders", 2, "")
	f.refuses("create after a restart", err, store.ErrTopicExists)
	f.check()
}

func knowsNoOtherTopics(f *fixture) {
	f.create("orders", 2)
	for _, c := range []struct {
		topic  string
		number int
	}{{"orders", 2}, {"orders", -1}, {"orders", 1 << 30}, {"order", 0}, {"orders-0", 0}, {"", 0}} {
		_, err := f.Partition(c.topic, c.number)
		f.refuses("partition of "+c.topic, err, store.ErrUnknownTopic)
	}
	f.refuses("delete", f.DeleteTopic("billing"), store.ErrUnknownTopic)
}

func keepsAlikeNamesApart(f *fixture) {
	names := []string{
		"a", "a-0", "a-1", "a-00", "A", "a.", "...", "-", "tmp", "lock", "topics", "a.tmp", "a.deleted", "a.log",
		strings.Repeat("n", 249), strings.Repeat("n", 248), strings.Repeat("n", 247) + "-0",
	}
	for _, name := range names {
		for _, l := range f.create(name, 2).logs {
			l.append(f.Batch(1, 20))
		}
	}
	f.restart()
	for _, name := range names[:8] {
		f.delete(name)
	}
	f.delete(names[14])
	f.restart()
}

func deletesTopic(f *fixture) {
	l := f.filled(20)
	p := l.Partition
	f.delete("orders")
	_, err := f.Partition("orders", 0)
	f.refuses("partition of a deleted topic", err, store.ErrUnknownTopic)
	f.refuses("deleting again", f.DeleteTopic("orders"), store.ErrUnknownTopic)
	refusesWith(f, p, store.ErrDeleted)
	f.check()
	f.restart()
	_, err = f.Partition("orders", 0)
	f.refuses("partition after a restart", err, store.ErrUnknownTopic)
}

// refusesWith calls everything of a partition that may not be used now.
func refusesWith(f *fixture, p store.Partition, want error) {
	f.Helper()
	f.refuses("append", store.Append(p, f.Batch(1, 10), func(int64, error) { f.Error("done was called") }), want)
	var c store.Chunk
	defer c.Release()
	f.refuses("read", p.Read(0, 1, &c), want)
	f.refuses("trim", p.Trim(1), want)
	_, err := p.OffsetForTime(0)
	f.refuses("offset for time", err, want)
	_, err = p.Retain(store.Retention{Bytes: 1})
	f.refuses("retain", err, want)
}

func answersAppendsOnDelete(f *fixture) {
	l := f.log()
	const appends = 50
	done := make(chan answer, 2*appends)
	for range appends {
		if err := store.Append(l, f.Batch(1, 100), func(base int64, err error) { done <- answer{base, err} }); err != nil {
			f.Fatal(err)
		}
	}
	f.delete("orders")
	for range appends {
		wait(f.T, done, "done of an append before the delete")
	}
	if len(done) > 0 {
		f.Error("an append was answered twice")
	}
}

func recreatesTopicEmpty(f *fixture) {
	l := f.filled(30)
	if err := l.Trim(100); err != nil {
		f.Fatal(err)
	}
	old := f.topics["orders"].ID
	f.delete("orders")
	m := f.create("orders", 1)
	if m.ID == old {
		f.Error("the new topic has the old one's id")
	}
	f.check() // empty, from offset 0
	m.logs[0].append(f.Batch(1, 10))
	f.check()
	f.restart()
	f.delete("orders")
	f.restart()
	f.create("orders", 1)
	f.restart()
}

func deletesOnlyThatTopic(f *fixture) {
	for _, name := range []string{"a", "b", "c"} {
		m := f.create(name, 2)
		for range 10 {
			m.logs[1].append(f.Batch(4, 100))
		}
	}
	f.delete("b")
	f.check()
	if i := slices.IndexFunc(f.Topics(), func(t store.Topic) bool { return t.Name == "b" }); i >= 0 {
		f.Error("the deleted topic is listed")
	}
	f.topics["c"].logs[1].append(f.Batch(1, 10))
}
