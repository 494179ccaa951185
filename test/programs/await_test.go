package programs

import (
	"bufio"
	"slices"
	"strings"
	"testing"
	"time"

	"mbus/test/brokertest"
)

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	brokertest.Await(t, time.Minute, what, holds)
}

// mustDrainAll drains the topic orders until all of messages have come, and fails
// the test where one is missing or came twice. What an earlier reader holds until
// it is known to be gone comes after the rest.
func mustDrainAll(t *testing.T, b *brokertest.Broker, messages []string, drain func() string) {
	t.Helper()
	var got []string
	await(t, "every message comes again", func() bool {
		consumed := strings.Contains(b.Drain("?groups&group=default&topic=orders&format=json"), `"lag":0,`)
		got = append(got, strings.SplitAfter(drain(), "\n")...)
		got = slices.DeleteFunc(got, func(line string) bool { return line == "" })
		if consumed && len(got) < len(messages) {
			t.Fatalf("%d of %d messages have come, and the group has consumed all", len(got), len(messages))
		}
		return len(got) >= len(messages)
	})
	slices.Sort(got)
	mustEqual(t, strings.Join(got, ""), strings.Join(messages, "\n")+"\n")
}

// awaitMessages waits until the topic has n messages. It looks as a group of
// its own that never consumes, as it always leaves in disorder.
func awaitMessages(t *testing.T, b *brokertest.Broker, topic string, n int) {
	t.Helper()
	await(t, topic+" has messages", func() bool {
		conn := brokertest.Dial(t, b.Consumers(), topic+"?group=onlooker&n="+itoa(n)+"\n")
		defer conn.Close()
		defer conn.SetLinger(0)
		lines := bufio.NewScanner(conn)
		seen := 0
		for lines.Scan() {
			seen++
		}
		return seen >= n
	})
}
