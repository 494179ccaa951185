package clients

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// kcat runs it and gives what it wrote.
func kcat(t *testing.T, b *broker, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(patient(t), "kcat", append([]string{"-b", b.address}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("kcat %q: %v\n%s", args, err, stderr.String())
	}
	return stdout.String()
}

// numbers are so many lines.
func numbers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintln(&b, i)
	}
	return b.String()
}

func TestKcatWithEveryCodecAndAcknowledgement(t *testing.T) {
	b := start(t)
	sent := numbers(1000)
	for name, codec := range codecs {
		for _, acks := range []string{"0", "1", "all"} {
			topic := name + "-" + acks
			kcat(t, b, sent, "-P", "-t", topic, "-z", name, "-X", "acks="+acks)
			if got := kcat(t, b, "", "-C", "-t", topic, "-o", "beginning", "-e", "-q"); got != sent {
				t.Errorf("%s: %d bytes came, not %d", topic, len(got), len(sent))
			}
			if !b.compressed(topic, codec) {
				t.Errorf("%s: the batches are not %s", topic, name)
			}
		}
	}
}

func TestKcatReadsKeysHeadersAndFromEveryPlace(t *testing.T) {
	b := start(t)
	kcat(t, b, "k1:one\nk2:two\nk3:three\n", "-P", "-t", "orders", "-K:", "-H", "colour=blue", "-X", "enable.idempotence=true")
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"beginning": {[]string{"-o", "beginning"}, "k1 one colour=blue\nk2 two colour=blue\nk3 three colour=blue\n"},
		"offset":    {[]string{"-o", "2"}, "k3 three colour=blue\n"},
		"the last":  {[]string{"-o", "-1"}, "k3 three colour=blue\n"},
		"end":       {[]string{"-o", "end"}, ""},
		"time":      {[]string{"-o", "s@1"}, "k1 one colour=blue\nk2 two colour=blue\nk3 three colour=blue\n"},
	} {
		args := append([]string{"-C", "-t", "orders", "-e", "-q", "-f", "%k %s %h\n"}, test.args...)
		if got := kcat(t, b, "", args...); got != test.want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := kcat(t, b, "", "-L"); !strings.Contains(got, `topic "orders" with 1 partitions`) {
		t.Errorf("the list: %s", got)
	}
}

func TestKcatGroupGoesOnWhereItHasCommitted(t *testing.T) {
	b := start(t)
	kcat(t, b, numbers(100), "-P", "-t", "orders")
	first := kcat(t, b, "", "-G", "billing", "-c", "40", "-q", "-X", "auto.offset.reset=earliest", "orders")
	rest := kcat(t, b, "", "-G", "billing", "-e", "-q", "orders")
	if first+rest != numbers(100) {
		t.Errorf("first %d lines, then %d", strings.Count(first, "\n"), strings.Count(rest, "\n"))
	}
}
