package fault

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// Injected: a disk that runs full slowly. Expected: below the reserve publishing
// is refused, over the line protocol, by Kafka clients, of delayed messages and
// into new topics, and the reserve is left whole but for what one more file
// takes; reading, acknowledging and deleting go on; deleting a topic is enough
// for publishing to resume.
func TestF17ReserveRefusesPublishersOnly(t *testing.T) {
	const reserve = 4 << 20
	d := newMemDisk(t, "size=24m")
	b := brokertest.Start(t, d.data(), "-reserve", fmt.Sprint(reserve))
	l := newLedger("load")
	b.Publish("bulky", strings.Repeat("x", 1_000_000), strings.Repeat("y", 1_000_000), strings.Repeat("z", 1_000_000))
	b.Publish("jobs", "wash", "dry")
	answer := l.publish(b.Producers(), "filler", rand.New(rand.NewPCG(1, 0)), nil, func(int) {})
	if free := d.free(); !strings.HasPrefix(answer, "-FULL ") || free < reserve*3/4 {
		t.Fatalf("answered %q with %d bytes free", answer, free)
	}
	for _, request := range []string{"load", "jobs?delay=1h", "new", "jobs?format=json"} {
		if answer := publishOne(t, b, request, `{"payload":"one more"}`); !strings.HasPrefix(answer, "-FULL ") {
			t.Errorf("%s was answered %q", request, answer)
		}
	}
	if out, err := kcatPublish(b, "jobs"); err == nil || !strings.Contains(out, "Disk error") {
		t.Errorf("kcat published: %v: %s", err, out)
	}
	if topics := b.Drain("?topics"); strings.Contains(topics, "new") {
		t.Errorf("a topic was made:\n%s", topics)
	}

	if got := b.Drain("jobs?group=house"); got != "wash\ndry\n" {
		t.Errorf("a drain got %q", got)
	}
	awaitPosition(t, b, "house", "jobs", 2)
	b.Drain("?delete&topic=bulky&execute")
	await(t, "publishing goes on", func() bool { return publishOne(t, b, "jobs", "iron") == "+1" })
	if out, err := kcatPublish(b, "jobs"); err != nil {
		t.Errorf("kcat can't publish again: %v: %s", err, out)
	}

	b.Restart()
	if got := b.Drain("jobs?group=house"); got != "iron\nfrom kcat\n" {
		t.Errorf("after a restart a drain got %q", got)
	}
	c := l.judge(lines(b.Drain("load?from=beginning")))
	report(t, c)
	c.mustKeep(t)
	l.mustAnswer(t, b)
}

// publishOne publishes a message and gives the answer.
func publishOne(t *testing.T, b *brokertest.Broker, request, message string) string {
	t.Helper()
	conn := brokertest.Dial(t, b.Producers(), request+"\n"+message+"\n")
	defer conn.Close()
	return brokertest.ReadLine(t, bufio.NewReader(conn))
}

// kcatPublish publishes a message with a Kafka client that does not try again.
func kcatPublish(b *brokertest.Broker, topic string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "kcat", "-P", "-b", b.Kafka(), "-t", topic, "-X", "retries=0")
	cmd.Stdin = strings.NewReader("from kcat\n")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// awaitPosition waits until a group is there.
func awaitPosition(t *testing.T, b *brokertest.Broker, group, topic string, want int64) {
	t.Helper()
	await(t, fmt.Sprintf("group %s is at %d of %s", group, want, topic), func() bool {
		return positionOf(b, group, topic) == want
	})
}
