package fault

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/test/brokertest"
)

// Done: the data directory is copied with cp -a, or with rsync, while publishers
// publish, at once and delayed, groups consume, topics are trimmed, made and deleted,
// segments are begun and positions compacted. Expected: what was acknowledged before a
// copy began is in it; the missing rest is reported, by the broker's log, by
// -verify and to readers; positions confirmed before it began are kept; and what is
// published then is delivered to every group.
func TestF23CopiedWhileItWorks(t *testing.T) {
	program := small(t)
	for range runs(1, 40) {
		l := newBackupLoad(t, brokertest.StartProgram(t, program, filepath.Join(t.TempDir(), "data")))
		for i := range runs(3, 5) {
			l.copyAndCheck(program, copiers[i%len(copiers)])
		}
		l.b.Stop()
	}
}

// small builds a broker with small segments, that compacts positions often.
func small(t *testing.T) string {
	return brokertest.Variant(t,
		brokertest.Change{File: "internal/commitlog/options.go", Old: "256 << 20\n", New: "256 << 10\n"},
		brokertest.Change{File: "internal/commitlog/retention.go", Old: "trimRoll  = 16 << 20", New: "trimRoll  = 64 << 10"},
		brokertest.Change{File: "internal/broker/limits.go", Old: "compactAfter = 20_000", New: "compactAfter = 200"})
}

// copiers are command lines of shell that copy the directory $0 to $1. The last ones take a
// file at a time, as a slow program does: each has its own moment, in any order, and the
// index with its recovery point comes after the segment, or before it.
var copiers = []string{
	`cp -a "$0" "$1"`,
	`cp -a "$0" "$1"; rsync -a --delete "$0/" "$1/"`,
	`mkdir "$1"; cd "$0"; find . -type f | sort -R | while read f; do cp -a --parents "$f" "$1"; done`,
	`mkdir "$1"; cd "$0"; find . -type f | sort -r | while read f; do cp -a --parents "$f" "$1"; done`,
	`mkdir "$1"; cd "$0"; find . -type f | sort | while read f; do cp -a --parents "$f" "$1"; done`,
}

// A backupLoad is all that goes on in a broker while it is copied.
type backupLoad struct {
	t       *testing.T
	b       *brokertest.Broker
	random  *rand.Rand
	ledgers []*ledger
	later   []*ledger // of delayed messages
	copies  int

	mu        sync.Mutex       // guards what follows
	confirmed map[string]int64 // positions of groups in the topic plain
	trimmed   int64            // log start of the topic trimmed, at least
}

func newBackupLoad(t *testing.T, b *brokertest.Broker) *backupLoad {
	l := &backupLoad{t: t, b: b, confirmed: make(map[string]int64), random: rand.New(rand.NewPCG(seeds(t), 0))}
	l.ledgers = []*ledger{newLedger("plain"), newLedger("trimmed")}
	// Names before and behind that of the topic in which they wait.
	for name, delay := range map[string]string{"Later": "300ms", "zlater": "20ms"} {
		later := newLedger(name)
		later.options = "?delay=" + delay
		l.later = append(l.later, later)
	}
	return l
}

// work has all work until stop is called, which waits for them. It returns when
// messages have been acknowledged.
func (l *backupLoad) work() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var working sync.WaitGroup
	begun := newMeter(500)
	for _, ledger := range l.ledgers {
		for i := range 2 {
			random, last := rand.New(rand.NewPCG(l.random.Uint64(), 0)), 0
			working.Go(func() {
				ledger.publish(l.b.Producers(), name(i), random, ctx.Done(), func(n int) {
					begun.count(n - last)
					last = n
					time.Sleep(time.Duration(2+n/50) * time.Millisecond) // so that the copies stay small
				})
			})
		}
	}
	for _, ledger := range l.later {
		working.Go(func() { ledger.publishSlowly(ctx, l.b.Producers()) })
	}
	for i := range 3 {
		working.Go(func() { l.commit(ctx, i) })
	}
	working.Go(func() { l.trim(ctx) })
	working.Go(func() { l.makeAndDelete(ctx) })
	select {
	case <-begun.reached:
	case <-time.After(time.Minute):
		l.t.Fatal("the publishers get too few acknowledgements")
	}
	return func() {
		cancel()
		working.Wait()
	}
}

// publishSlowly publishes one message after the other.
func (l *ledger) publishSlowly(ctx context.Context, address string) {
	for ctx.Err() == nil {
		n := l.send("slow", -1)
		if line, err := sendLine(address, l.topic+l.options+"\n"+l.message("slow", n, n*7919%400)+"\n"); err != nil || line != "+1\n" {
			return
		}
		l.acknowledge("slow", n)
	}
}

// commit has a group commit positions. The last group has nothing more to say after its
// first, which is in the oldest part of the positions log.
func (l *backupLoad) commit(ctx context.Context, number int) {
	client, err := kgo.NewClient(kgo.SeedBrokers(l.b.Kafka()))
	if err != nil {
		l.t.Error(err)
		return
	}
	defer client.Close()
	group := fmt.Sprintf("group%d", number)
	for ctx.Err() == nil {
		l.mu.Lock()
		offset := l.confirmed[group] + 1
		l.mu.Unlock()
		if number == 2 && offset > 1 || commitOffset(ctx, client, group, "plain", offset) != nil {
			return
		}
		l.mu.Lock()
		l.confirmed[group] = offset
		l.mu.Unlock()
	}
}

// trim has a topic trimmed now and then.
func (l *backupLoad) trim(ctx context.Context) {
	client, err := kgo.NewClient(kgo.SeedBrokers(l.b.Kafka()))
	if err != nil {
		l.t.Error(err)
		return
	}
	defer client.Close()
	for ctx.Err() == nil {
		l.mu.Lock()
		offset := l.trimmed + 100
		l.mu.Unlock()
		if trim(ctx, client, "trimmed", offset) == nil { // else it is beyond the end
			l.mu.Lock()
			l.trimmed = offset
			l.mu.Unlock()
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// trim deletes the records below offset.
func trim(ctx context.Context, client *kgo.Client, topic string, offset int64) error {
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Offset = offset
	t := kmsg.NewDeleteRecordsRequestTopic()
	t.Topic, t.Partitions = topic, append(t.Partitions, p)
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis, req.Topics = 10_000, append(req.Topics, t)
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	if code := resp.Topics[0].Partitions[0].ErrorCode; code != 0 {
		return fmt.Errorf("error code %d", code)
	}
	return nil
}

// makeAndDelete makes topics and deletes them.
func (l *backupLoad) makeAndDelete(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		topic := fmt.Sprintf("passing%d", i%5)
		if _, err := sendLine(l.b.Producers(), topic+"\nhello\n"); err != nil {
			return
		}
		if _, err := l.b.Read("?delete&execute&topic=" + topic); err != nil {
			return
		}
	}
}

// sendLine sends a request and what belongs to it, and gives the answer's beginning.
func sendLine(address, text string) (string, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		return "", err
	}
	p := make([]byte, 1000)
	n, err := conn.Read(p)
	return string(p[:n]), err
}

// A promise is what had been acknowledged when a copy began.
type promise struct {
	messages  map[string][]string // by topic
	confirmed map[string]int64
}

func (l *backupLoad) promised() promise {
	p := promise{messages: make(map[string][]string), confirmed: make(map[string]int64)}
	for _, ledger := range append(l.later, l.ledgers...) {
		p.messages[ledger.topic] = ledger.acknowledged()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for group, offset := range l.confirmed {
		p.confirmed[group] = offset
	}
	return p
}

// acknowledged are the texts of all messages that have been.
func (l *ledger) acknowledged() (texts []string) {
	l.Acknowledged(func(publisher string, n int) { texts = append(texts, l.message(publisher, n, n*7919%400)) })
	return texts
}

// copyAndCheck copies the broker's directory and looks at what the copy holds.
func (l *backupLoad) copyAndCheck(program, copier string) {
	l.t.Helper()
	l.copies++
	dir := filepath.Join(l.t.TempDir(), "copy")
	stop := l.work()
	p := l.promised()
	out, err := exec.Command("/bin/sh", "-c", copier, l.b.Data, dir).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "No such file or directory") && !strings.Contains(string(out), "vanished") {
		stop()
		l.t.Fatalf("%s: %v: %s", copier, err, out)
	}
	stop()
	c := &backupCopy{t: l.t, promise: p, sum: tally{Runs: 1}, trimmed: l.trimmed}
	c.verify(program, dir)
	c.b = brokertest.StartProgram(l.t, program, dir)
	for _, ledger := range append(l.later, l.ledgers...) {
		c.checkTopic(ledger.topic)
	}
	c.checkGroups()
	report(l.t, c.sum)
	if c.sum.Lost > 0 {
		l.t.Errorf("copy %d, %s: %+v; %s\nverified:\n%s", l.copies, copier, c.sum, out, c.verified)
	}
	c.b.Stop()
	os.RemoveAll(dir)
}

// A backupCopy is a copy with a broker on it.
type backupCopy struct {
	promise
	t        *testing.T
	b        *brokertest.Broker
	trimmed  int64 // log start of the topic trimmed, after the copy
	verified string
	sum      tally
}

// verify has the copy verified, which must be possible.
func (c *backupCopy) verify(program, dir string) {
	c.t.Helper()
	out, err := exec.Command(program, "-verify", dir).Output()
	c.verified = string(out)
	damaged := regexp.MustCompile(`(?m)^(damage|gap) `).MatchString(c.verified)
	code := 0
	if exit, ok := err.(*exec.ExitError); ok {
		code, err = exit.ExitCode(), nil
	}
	if err != nil || damaged != (code == 2) || !damaged != (code == 0) {
		c.t.Errorf("-verify: exit code %d, %v:\n%s", code, err, out)
	}
}

// A row is a line of a reader's answer.
type row struct {
	Offset  int64
	Payload string
}

// checkTopic reads the topic with a group of its own and compares it with what was
// promised.
func (c *backupCopy) checkTopic(topic string) {
	c.t.Helper()
	missing := make(map[string]bool)
	for _, text := range c.messages[topic] {
		missing[text] = true
	}
	c.sum.Acked += len(missing)
	first, next, told := int64(-1), int64(0), ""
	delayed := strings.HasSuffix(topic, "ater")
	for wait := time.Now().Add(20 * time.Second); ; {
		rows, errors := c.drain(topic)
		told += errors
		c.sum.Read += len(rows)
		for _, r := range rows {
			if first < 0 {
				first = r.Offset
			}
			if r.Offset > next {
				c.mustHaveReported(topic, next, r.Offset, told)
			}
			next = r.Offset + 1
			delete(missing, r.Payload)
		}
		if !delayed || len(missing) == 0 || time.Now().After(wait) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if topic == "trimmed" && first <= c.trimmed && next >= int64(len(c.messages[topic])) {
		clear(missing) // what was trimmed meanwhile: all from the first offset on is there
	}
	c.sum.Lost += len(missing)
	for text := range missing {
		c.t.Errorf("topic %q: %d messages that were acknowledged before the copy are lost, such as %q", topic, len(missing), text)
		break
	}
}

// drain reads the messages left for the group witness, past damage, and gives the
// errors, too.
func (c *backupCopy) drain(topic string) (rows []row, told string) {
	c.t.Helper()
	for before := ""; ; {
		answer := c.b.Drain(topic + "?group=witness&format=json")
		failed, again := false, answer == before
		before = answer
		for line := range strings.Lines(answer) {
			var r row
			if strings.HasPrefix(line, "-") {
				told, failed = told+line, true
			} else if err := json.Unmarshal([]byte(line), &r); err != nil {
				c.t.Fatalf("a reader of the copy gets %q: %v", line, err)
			} else {
				rows = append(rows, r)
			}
		}
		if !failed || again { // again: a topic that was being made when the directory was copied can't be used
			return rows, told
		}
	}
}

// mustHaveReported fails the test unless the offsets from first up to next are reported.
func (c *backupCopy) mustHaveReported(topic string, first, next int64, told string) {
	c.t.Helper()
	if topic == "trimmed" && first == 0 {
		return
	}
	inLog := false
	for line := range strings.Lines(c.b.Output()) {
		if strings.Contains(line, topic) && (strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR")) {
			inLog = true
		}
	}
	if told == "" || !strings.Contains(c.verified, strconv.Quote(topic)) || !inLog {
		c.t.Errorf("topic %q: the offsets %d to %d are missing; readers are told %q, the broker's log says so: %v, -verify says:\n%s",
			topic, first, next-1, told, inLog, c.verified)
	}
}

// checkGroups fails the test unless positions are kept, and what is published now is
// delivered.
func (c *backupCopy) checkGroups() {
	c.t.Helper()
	for group, confirmed := range c.confirmed {
		if at := positionOf(c.b, group, "plain"); at < confirmed {
			c.t.Errorf("group %s is at %d, %d was confirmed before the copy", group, at, confirmed)
			c.sum.Lost++
		}
		c.b.Drain("plain?group=" + group)
	}
	c.b.Publish("plain", "fresh")
	for group := range c.confirmed {
		if got := c.b.Drain("plain?group=" + group); got != "fresh\n" {
			c.t.Errorf("group %s gets %q", group, got)
		}
	}
}
