package bus

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"mbus/internal/batch"
)

func TestMain(m *testing.M) {
	BeAnswerer()
	os.Exit(m.Run())
}

// logOf writes a file of batches with so many messages each, their numbers.
func logOf(t *testing.T, counts ...int) (name string, messages []string) {
	var b batch.Builder
	for _, count := range counts {
		base := int64(len(messages))
		for range count {
			m := strconv.Itoa(len(messages))
			b.Add(0, nil, []byte(m))
			messages = append(messages, m)
		}
		b.Close(base)
	}
	name = filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(name, b.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	return name, messages
}

func TestSenderSendsTheMessagesOfItsFileInTheirOrder(t *testing.T) {
	name, want := logOf(t, 3, 1, 50_000, 50_000, 50_000, 2) // more than one fetch
	p, err := StartSender(t.TempDir(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	b, err := OpenKafka(p.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n := 0
	err = b.Consume(ctx, Reading{Topic: "any"}, func(message []byte) {
		if n < len(want) && string(message) != want[n] {
			t.Fatalf("message %d is %q", n, message)
		}
		if n++; n == len(want) {
			cancel()
		}
	})
	if err != nil || n != len(want) {
		t.Errorf("%d of %d messages came: %v", n, len(want), err)
	}
}

func TestFetchIsAnsweredWithWholeBatchesAndAtLeastOne(t *testing.T) {
	name, _ := logOf(t, 10, 10, 10)
	l, err := openSent(name)
	if err != nil {
		t.Fatal(err)
	}
	at := func(i int) int64 { return l.batches[i].position }
	for _, c := range []struct{ offset, most, position, end int64 }{
		{0, at(3), 0, at(3)},
		{0, at(3) - 1, 0, at(2)},
		{0, 1, 0, at(1)},
		{9, 1, 0, at(1)},
		{10, 1, at(1), at(2)},
		{29, at(3), at(2), at(3)},
		{30, at(3), 0, 0},
		{-1, at(3), 0, 0},
	} {
		if position, n := l.find(c.offset, c.most); position != c.position || position+n != c.end {
			t.Errorf("from %d, %d bytes at most: %d bytes at %d", c.offset, c.most, n, position)
		}
	}
}

func TestSenderDoesNotTakeAFileThatIsNoLog(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	for _, content := range [][]byte{[]byte("short"), bytes.Repeat([]byte("x"), 100)} {
		if err := os.WriteFile(name, content, 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := openSent(name); err == nil {
			t.Errorf("%d bytes are taken for a log", len(content))
		}
	}
}
