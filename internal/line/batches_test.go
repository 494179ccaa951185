package line_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/batch/codec"
	"mbus/internal/broker"
)

// newBatch makes a batch of messages without keys.
func newBatch(messages ...string) batch.Batch {
	var b batch.Builder
	for i, m := range messages {
		b.Add(1718017201000+int64(i), nil, []byte(m))
	}
	b.Close(77) // whatever it is, the broker sets its own
	return slices.Clone(b.Bytes())
}

// A delivered message is one that a consumer of batches gets.
type delivered struct {
	partition int
	offset    int64
	value     string
}

// A stream is a consumer's format=batch, taken apart.
type stream struct {
	messages []delivered
	batches  []batch.Batch
	end      string // the line at the end, without LF
}

// readStream takes a consumer's format=batch apart, by PROTOCOL.md.
func readStream(t testing.TB, text string) (s stream) {
	t.Helper()
	p := []byte(text)
	partition := -1
	for len(p) > 0 {
		switch p[0] {
		case '@':
			line, rest, _ := bytes.Cut(p, []byte("\n"))
			n, err := strconv.Atoi(string(line[1:]))
			if err != nil {
				t.Fatalf("%q names no partition", line)
			}
			partition, p = n, rest
			continue
		case '.', '-':
			line, rest, ok := bytes.Cut(p, []byte("\n"))
			if !ok || len(rest) > 0 {
				t.Fatalf("%s behind the end %q", brief(string(rest)), line)
			}
			s.end = string(line)
			return s
		}
		b, rest, err := batch.Next(p)
		if err != nil || partition < 0 {
			t.Fatalf("no batch, of partition %d, %v: %s", partition, err, brief(string(p)))
		}
		s.messages = append(s.messages, readBatch(t, partition, b)...)
		s.batches = append(s.batches, b)
		p = rest
	}
	t.Fatalf("the stream has no end: %s", brief(text))
	return s
}

func readBatch(t testing.TB, partition int, b batch.Batch) (messages []delivered) {
	t.Helper()
	var it batch.Iterator
	if err := b.Verify(&it); err != nil {
		t.Fatal(err)
	}
	if err := it.Reset(b); err != nil {
		t.Fatal(err)
	}
	for it.Next() {
		messages = append(messages, delivered{partition, it.Record().Offset, string(it.Record().Value)})
	}
	return messages
}

func text(batches ...batch.Batch) string { return string(bytes.Join(toBytes(batches), nil)) }

func toBytes(batches []batch.Batch) (list [][]byte) {
	for _, b := range batches {
		list = append(list, b)
	}
	return list
}

func TestBatchesOfEveryCodecAreStoredAsTheyCame(t *testing.T) {
	for _, codec := range batchtest.Codecs {
		t.Run(codec.String(), func(t *testing.T) {
			b := start(t, setup{})
			var sent []batch.Batch
			var want []delivered
			for i := range 5 {
				values := numbered(i*100+1, 50)
				sent = append(sent, batchtest.Compress(t, codec, newBatch(values...)))
				for _, v := range values {
					want = append(want, delivered{0, int64(len(want)), v})
				}
			}
			answers := b.produce("orders?format=batch\n" + text(sent...))
			if !strings.HasSuffix("\n"+answers, fmt.Sprintf("\n+%d\n", len(want))) {
				t.Fatalf("answered %q", answers)
			}
			got := readStream(t, b.drain("orders?format=batch"))
			if !slices.Equal(got.messages, want) || got.end != "." {
				t.Errorf("%d messages of %d, end %q", len(got.messages), len(want), got.end)
			}
			for i, g := range got.batches {
				g.Stamp(77, sent[i].LeaderEpoch())
				if !bytes.Equal(g, sent[i]) {
					t.Errorf("batch %d is not as it came", i)
				}
			}
			for i, line := range strings.Split(strings.TrimSuffix(b.drain("orders?group=lines"), "\n"), "\n") {
				if line != want[i].value {
					t.Fatalf("line %d is %q, not %q", i, line, want[i].value)
				}
			}
		})
	}
}

// What was consumed from a Kafka producer is published without its promise to
// number its batches, which would not be kept here.
func TestBatchesOfIdempotentProducersAreTakenWithoutTheirIDs(t *testing.T) {
	b := start(t, setup{})
	idempotent := batchtest.Edit(newBatch("first", "second"), batchtest.PosProducerID, 0, 0, 0, 0, 0, 0, 3, 232, 0, 2, 0, 0, 0, 5)
	if idempotent.ProducerID() != 1000 || idempotent.BaseSequence() != 5 {
		t.Fatal("it is not what it should be")
	}
	if got := b.produce("orders?format=batch\n" + text(idempotent)); got != "+2\n" {
		t.Errorf("answered %q", got)
	}
	got := readStream(t, b.drain("orders?format=batch"))
	if len(got.messages) != 2 || got.batches[0].ProducerID() != -1 || got.batches[0].ProducerEpoch() != -1 {
		t.Errorf("%+v", got)
	}
}

func TestBatchThatIsNotSoundIsRefused(t *testing.T) {
	sound := newBatch("first", "second", "third")
	damaged := slices.Clone(sound)
	damaged[len(damaged)-2] ^= 1
	for name, b := range map[string]batch.Batch{
		"CRC":                    damaged,
		"magic":                  batchtest.Edit(sound, 16, 1),
		"control batch":          batchtest.Edit(sound, batchtest.PosAttributes+1, 32),
		"a gap in the deltas":    batchtest.Edit(sound, 26, 3),
		"too few counted":        batchtest.Edit(sound, batchtest.PosCount+3, 2),
		"too many counted":       batchtest.Edit(batchtest.Edit(sound, batchtest.PosCount+3, 4), 26, 3),
		"no records":             batchtest.Edit(batchtest.Edit(sound[:batch.HeaderSize], batchtest.PosCount+3, 0), 23, 255, 255, 255, 255),
		"negative count":         batchtest.Edit(sound, batchtest.PosCount, 255, 255, 255, 255),
		"unknown codec":          batchtest.Edit(sound, batchtest.PosAttributes+1, 7),
		"not compressed":         batchtest.Edit(sound, batchtest.PosAttributes+1, byte(codec.Zstd)),
		"garbage behind records": batchtest.Seal(append(slices.Clone(sound), 0)),
		"no batch":               []byte(strings.Repeat("orders, in lines by mistake\n", 5)),
		"length too small":       append(append(slices.Clone(sound[:batchtest.PosLength]), 0, 0, 0, 10), sound[batchtest.PosLength+4:]...),
		"negative length":        append(append(slices.Clone(sound[:batchtest.PosLength]), 255, 255, 255, 255), sound[batchtest.PosLength+4:]...),
	} {
		t.Run(name, func(t *testing.T) {
			bus := start(t, setup{})
			c := bus.dial(bus.producers, "orders?format=batch\n"+text(newBatch("fine", "fine, too"), b, newBatch("behind")))
			c.mustSay("+2")
			c.mustRefuse("BADMESSAGE", "message 3")
			bus.mustDrain("orders", "fine\nfine, too\n")
		})
	}
}

func TestBatchThatIsNotCompleteIsNotTaken(t *testing.T) {
	b := start(t, setup{})
	second := text(newBatch("second"))
	for i, n := range []int{1, 8, 12, 60, 61, 62, len(second) - 1} {
		c := b.dial(b.producers, "orders?format=batch\n"+text(newBatch("first"))+second[:n]).finish()
		c.mustSay("+1")
		c.mustRefuse("INCOMPLETE", "batch")
		b.mustDrain("orders?group=g"+strconv.Itoa(i), strings.Repeat("first\n", i+1))
	}
}

func TestBatchesMayComeOneByteAtATime(t *testing.T) {
	b := start(t, setup{})
	c := b.dial(b.producers, "")
	c.SetNoDelay(true)
	sent := "orders?format=batch\n" + text(newBatch("first"), newBatch("second", "third"))
	for i := range len(sent) {
		c.send(sent[i : i+1])
	}
	if got := c.finish().rest(); !strings.HasSuffix(got, "+3\n") {
		t.Errorf("answered %q", got)
	}
	b.mustDrain("orders", "first\nsecond\nthird\n")
}

func TestBatchIsAsLargeAsTheLimitAndNoLarger(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.MaxMessage = 10_000 }})
	const limit = 10_000 + 64<<10
	var values []string
	for range 75 {
		values = append(values, strings.Repeat("x", 1000))
	}
	small := len(newBatch(values[1:]...))
	values[0] = strings.Repeat("x", limit-small-20)
	for len(newBatch(values...)) < limit {
		values[0] += "x"
	}
	if got := b.produce("orders?format=batch\n" + text(newBatch(values...))); got != "+75\n" {
		t.Errorf("a batch of %d bytes is answered %q", limit, got)
	}
	values[0] += "x"
	c := b.dial(b.producers, "orders?format=batch\n"+text(newBatch("first"), newBatch(values...)))
	c.mustSay("+1")
	c.mustRefuse("TOOLARGE", "the batch that begins with message 2 ", strconv.Itoa(limit))
	one := b.dial(b.producers, "orders?format=batch\n"+text(newBatch("first"), newBatch(strings.Repeat("x", 2<<20))))
	one.mustSay("+1")
	one.mustRefuse("TOOLARGE", "message 2, with its batch, has", strconv.Itoa(b.broker.Limits.MaxMessage)) // in the user's terms
	header := newBatch("first")[:batch.HeaderSize]
	binary.BigEndian.PutUint32(header[batchtest.PosLength:], 1<<31-1)
	b.dial(b.producers, "orders?format=batch\n"+string(header)).mustRefuse("TOOLARGE", "2147483659", strconv.Itoa(limit))
}

func TestBatchThatExpandsTooFarIsRefused(t *testing.T) {
	b := start(t, setup{})
	zeros := newBatch(strings.Repeat("\x00", 65<<20))
	for _, c := range []codec.Codec{codec.Gzip, codec.Zstd} {
		bomb := batchtest.Compress(t, c, zeros)
		b.dial(b.producers, "orders?format=batch\n"+text(bomb)).mustRefuse("TOOLARGE", "message 1")
	}
	if _, err := b.broker.Topic("orders"); err == nil {
		t.Error("something was taken")
	}
}
