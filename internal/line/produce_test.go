package line_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"mbus/internal/broker"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
)

func TestEachMessageIsAcknowledgedWhileTheConnectionStaysOpen(t *testing.T) {
	b := start(t, setup{})
	c := b.dial(b.producers, "orders\n")
	c.send("first\n")
	c.mustSay("+1")
	c.send("second\n")
	c.mustSay("+2")
	b.mustDrain("orders", "first\nsecond\n")
	c.send("third\n")
	c.mustSay("+3")
	c.finish().mustEnd("")
	b.mustDrain("orders", "third\n")
}

func TestNoMessageIsAnsweredPlusZeroAndMakesNoTopic(t *testing.T) {
	b := start(t, setup{})
	for _, request := range []string{"orders", "orders?keyed", "orders?format=json", "orders?format=batch"} {
		b.dial(b.producers, request+"\n").finish().mustEnd("+0\n")
	}
	if _, err := b.broker.Topic("orders"); err == nil {
		t.Error("the topic was made")
	}
}

func TestLinesHoldEveryByteButLF(t *testing.T) {
	b := start(t, setup{})
	var all []byte
	for i := range 256 {
		if i != '\n' {
			all = append(all, byte(i))
		}
	}
	text := "\n\n" + // empty messages
		"\r\n" + "a\r\n" + "\rb\n" + // CR belongs to the message
		"\x00\n" + "a\x00b\n" + "\xff\xfe\n" + "\xe2\x82\n" + string(all) + "\n" +
		"+1\n" + "-FULL\n" + "@0\n" + ".\n" + "orders?n=1\n" + "\ttab\t\n" + "\n"
	messages := strings.Count(text, "\n")
	answers := b.produce("orders\n" + text)
	if !strings.HasSuffix(answers, "+"+strconv.Itoa(messages)+"\n") {
		t.Errorf("%d messages are answered %q", messages, answers)
	}
	b.mustDrain("orders", text)
}

func TestRequestWithCRAndMessagesWithLF(t *testing.T) {
	b := start(t, setup{})
	if got := b.produce("orders\r\na\r\nb\n"); got != "+2\n" {
		t.Errorf("answered %q", got)
	}
	b.mustDrain("orders\r", "a\r\nb\n")
}

func TestCountsGrowAndEndWithAllMessages(t *testing.T) {
	b := start(t, setup{})
	const n = 50_000
	messages := numbered(n, 0)
	last := 0
	for line := range strings.Lines(b.produce("orders\n" + join(messages))) {
		count, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(line, "+"), "\n"))
		if err != nil || count <= last {
			t.Fatalf("%q after %d", line, last)
		}
		last = count
	}
	if last != n {
		t.Errorf("the last count is %d", last)
	}
	b.mustDrain("orders", join(messages))
}

func TestWhatIsBehindTheLastLFIsNoMessage(t *testing.T) {
	b := start(t, setup{})
	for _, text := range []string{"orders\nfirst\nsec", "orders?keyed\nk\tv\nk\tv", "orders?format=json\n{}\n{}"} {
		c := b.dial(b.producers, text).finish()
		c.mustSay("+1")
		c.mustRefuse("INCOMPLETE", "LF")
	}
	b.dial(b.producers, "orders\nfirst").finish().mustRefuse("INCOMPLETE", "LF")
	b.mustDrain("orders", "first\nv\n\n")
}

func TestMessagesOfAConnectionThatIsResetAreWholeOrMissing(t *testing.T) {
	b := start(t, setup{})
	c := b.dial(b.producers, "orders\nfirst\n")
	c.mustSay("+1")
	c.send("second\nthi")
	c.reset()
	if got := b.drain("orders"); got != "first\n" && got != "first\nsecond\n" {
		t.Errorf("stored is %q", got)
	}
}

func TestBytesMayComeOneAtATime(t *testing.T) {
	b := start(t, setup{})
	text := "orders?keyed\r\nk\tfirst\n\tsecond\n\t\n"
	c := b.dial(b.producers, "")
	c.SetNoDelay(true)
	for i := range len(text) {
		c.send(text[i : i+1])
	}
	c.finish()
	if got := c.rest(); !strings.HasSuffix(got, "+3\n") {
		t.Errorf("answered %q", got)
	}
	b.mustDrain("orders?keyed", "k\tfirst\n\tsecond\n\t\n")
}

func TestMessageIsAsLargeAsTheLimitAndNoLarger(t *testing.T) {
	b := start(t, setup{})
	const limit = broker.DefaultMaxMessage
	largest := strings.Repeat("x", limit)
	if got := b.produce("orders\n" + largest + "\nnext\n"); !strings.HasSuffix(got, "+2\n") {
		t.Errorf("the largest message is answered %q", got)
	}
	b.mustDrain("orders", largest+"\nnext\n")

	c := b.dial(b.producers, "orders\nfirst\n")
	c.mustSay("+1")
	go c.Write([]byte(largest + "y\nnext\n"))
	c.mustRefuse("TOOLARGE", "message 2", strconv.Itoa(limit))

	endless := b.dial(b.producers, "orders\n")
	go endless.Write([]byte(largest + largest)) // no LF in sight
	endless.mustRefuse("TOOLARGE", "message 1")
	b.mustDrain("orders", "first\n")
}

func TestLimitOfEachFormat(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.MaxMessage = 1000 }})
	x := func(n int) string { return strings.Repeat("x", n) }
	for name, c := range map[string]struct{ request, fits, larger string }{
		"lines":           {"a", x(1000), x(1001)},
		"keyed":           {"a?keyed", x(400) + "\t" + x(599), x(500) + "\t" + x(501)},
		"key alone":       {"a?keyed", x(999) + "\t", x(1001) + "\t"},
		"json":            {"a?format=json", `{"payload":"` + x(1000) + `"}`, `{"payload":"` + x(1001) + `"}`},
		"json with key":   {"a?format=json", `{"key":"` + x(600) + `","payload":"` + x(400) + `"}`, `{"key":"` + x(600) + `","payload":"` + x(401) + `"}`},
		"json, headers":   {"a?format=json", `{"headers":["` + x(500) + `","` + x(500) + `"]}`, `{"headers":["` + x(500) + `","` + x(501) + `"]}`},
		"json, escaped":   {"a?format=json", `{"payload":"` + strings.Repeat(`\u0041`, 1000) + `"}`, `{"payload":"` + strings.Repeat(`\u0041`, 1001) + `"}`},
		"json, in base64": {"a?format=json", `{"payload_base64":"` + strings.Repeat("AAAA", 333) + `AA=="}`, `{"payload_base64":"` + strings.Repeat("AAAA", 334) + `"}`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := b.produce(c.request + "\n" + c.fits + "\n"); got != "+1\n" {
				t.Errorf("of 1000 bytes: %s", brief(got))
			}
			over := b.dial(b.producers, c.request+"\n"+c.fits+"\n")
			over.mustSay("+1")
			over.send(c.larger + "\n")
			over.mustRefuse("TOOLARGE", "message 2", "1000")
		})
	}
}

func TestKeyedLineMustHaveATab(t *testing.T) {
	b := start(t, setup{})
	c := b.dial(b.producers, "orders?keyed\napple\t10\npear\t\t20\n\t\nno tab\nkiwi\t1\n")
	c.mustSay("+3")
	c.mustRefuse("BADMESSAGE", "message 4", "TAB")
	b.mustDrain("orders?keyed&group=a", "apple\t10\npear\t\t20\n\t\n")
	b.mustDrain("orders?group=b", "10\n\t20\n\n")
}

func TestMessagesBeforeAWrongOneAreStored(t *testing.T) {
	b := start(t, setup{})
	for i, wrong := range []string{
		`{"pay":"load"}`, `{`, ``, `[]`, `null`, `{"key":1}`, `{"payload":"a","payload_base64":"YQ=="}`, "{\"payload\":\"\xff\"}",
		`{"payload":"x"}{}`, `{"headers":["k"]}`, `{"payload_base64":"%"}`,
	} {
		c := b.dial(b.producers, "orders?format=json\n"+`{"payload":"fine"}`+"\n"+wrong+"\n"+`{"payload":"behind"}`+"\n")
		c.mustSay("+1")
		c.mustRefuse("BADMESSAGE", "message 2", "format=json")
		b.mustDrain("orders?group=g"+strconv.Itoa(i), strings.Repeat("fine\n", i+1))
	}
}

func TestMessagesOfOneKeyStayInOrderOnOnePartition(t *testing.T) {
	b := start(t, setup{partitions: 5})
	rng := rand.New(rand.NewPCG(1, 1))
	next := make([]int, 20)
	var text strings.Builder
	const n = 20_000
	for range n {
		k := rng.IntN(len(next))
		fmt.Fprintf(&text, "key%d\t%d\n", k, next[k])
		next[k]++
	}
	if got := b.produce("orders?keyed\n" + text.String()); !strings.HasSuffix(got, fmt.Sprintf("+%d\n", n)) {
		t.Fatalf("answered %s", brief(got))
	}
	seen, used := make([]int, len(next)), 0
	for line := range strings.Lines(b.drain("orders?keyed")) {
		var k, i int
		if _, err := fmt.Sscanf(line, "key%d\t%d\n", &k, &i); err != nil || seen[k] != i {
			t.Fatalf("%q where %d was next: %v", line, seen[k], err)
		}
		seen[k]++
	}
	if !slices.Equal(seen, next) {
		t.Errorf("of each key %v of %v messages", seen, next)
	}
	topic, _ := b.broker.Topic("orders")
	for _, p := range topic.Partitions() {
		if _, high := p.Offsets(); high > 0 {
			used++
		}
	}
	if used < 4 {
		t.Errorf("only %d partitions of 5 are used", used)
	}
}

// Of several partitions one fails. The count tells how many messages from the
// first on are safe, so it must stop before the first that is not.
func TestCountIsOfMessagesFromTheFirstOn(t *testing.T) {
	b := start(t, setup{partitions: 4, wrap: func(s store.Store) store.Store {
		return &storefault.Store{Store: s, Append: failOn("orders", "bad key")}
	}})
	topic, err := b.broker.MakeTopic("orders")
	if err != nil {
		t.Fatal(err)
	}
	good, n := "k", len(topic.Partitions())
	for i := 0; broker.ForKey([]byte(good), n) == broker.ForKey([]byte("bad key"), n); i++ {
		good = "k" + strconv.Itoa(i)
	}
	c := b.dial(b.producers, "orders?keyed\n"+good+"\t1\n"+good+"\t2\n")
	c.mustSay("+2")
	c.send(good + "\t3\nbad key\t4\n" + good + "\t5\n")
	c.mustRefuse("FULL") // and no +5
	if got := b.drain("orders"); !strings.HasPrefix(got, "1\n2\n") || strings.Contains(got, "4") {
		t.Errorf("stored is %q", got)
	}
}

// failOn makes a topic's partitions full for batches that hold some bytes.
func failOn(topic, part string) func(store.Partition, string, []byte, func(int64, error)) error {
	return func(p store.Partition, name string, batches []byte, done func(int64, error)) error {
		if name == topic && strings.Contains(string(batches), part) {
			return store.ErrFull
		}
		return store.Append(p, batches, done)
	}
}
