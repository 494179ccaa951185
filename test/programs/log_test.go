package programs

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// logging starts a broker whose log is JSON at a level.
func logging(t *testing.T, level string, args ...string) *brokertest.Process {
	t.Helper()
	all := []string{"-pport", "0", "-cport", "0", "-kport", "0", "-hport", "0", "-data", t.TempDir(), "-log-format", "json", "-log-level", level}
	p, err := brokertest.Begin("", brokertest.Program(t, "broker"), append(all, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// awaitRecord waits for a line of the log with a message.
func awaitRecord(t *testing.T, p *brokertest.Process, msg string) map[string]any {
	t.Helper()
	brokertest.Await(t, time.Minute, fmt.Sprintf("the log says %q", msg), func() bool { return len(records(t, p, msg)) > 0 })
	return records(t, p, msg)[0]
}

// records are the log's lines with a message. Each that is whole must be JSON.
func records(t *testing.T, p *brokertest.Process, msg string) (found []map[string]any) {
	t.Helper()
	for line := range strings.Lines(p.Output()) {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil && strings.HasSuffix(line, "\n") {
			t.Fatalf("%q: %v", line, err)
		}
		if r["msg"] == msg {
			found = append(found, r)
		}
	}
	return found
}

// told sends what a client says and gives the answer.
func told(t *testing.T, address any, text string) string {
	t.Helper()
	c := brokertest.Dial(t, fmt.Sprint(address), text)
	defer c.Close()
	c.CloseWrite()
	answer, _ := io.ReadAll(c) // a reset is an end, too
	return string(answer)
}

func TestLogIsReadByPrograms(t *testing.T) {
	p := logging(t, "debug")
	listening := awaitRecord(t, p, "listening")
	in, out := listening["producers"], listening["consumers"]
	for _, step := range []struct {
		address    any
		text, want string
	}{
		{in, "orders\nfirst\n", "+1"},
		{out, "?grow&topic=orders&partitions=2&execute\n", "topic"},
		{out, "?reset&group=g&topic=orders&to=end&execute\n", "group"},
		{out, "?delete&group=g&execute\n", "group"},
		{out, "?create&topic=bills&retention=7d&execute\n", "topic"},
		{out, "?delete&topic=orders&execute\n", "topic"},
		{out, "orders?nonsense\n", "-BADREQUEST"},
		{listening["kafka"], "GET / HTTP/1.0\r\n\r\n", ""},
	} {
		if got := told(t, step.address, step.text); !strings.HasPrefix(got, step.want) {
			t.Errorf("%q: %q", step.text, got)
		}
	}
	p.Terminate()
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	for msg, want := range map[string][2]string{
		"starting": {"pid", fmt.Sprint(p.Pid())}, "stopped": {"signal", "terminated"}, "connected": {"port", "producers"}, "request": {"line", "orders"},
		"audit": {"name", "orders"},
	} {
		found := records(t, p, msg)
		if len(found) == 0 || fmt.Sprint(found[0][want[0]]) != want[1] || found[0]["time"] == nil || found[0]["level"] == nil {
			t.Errorf("%q: %v, want %s", msg, found, want)
			continue
		}
		byClient := msg != "starting" && msg != "stopped"
		if client, _ := found[0]["client"].(string); byClient != strings.HasPrefix(client, "127.0.0.1:") {
			t.Errorf("%q does not say by whom: %v", msg, found)
		}
	}
	reasons := fmt.Sprint(records(t, p, "disconnected"))
	if !strings.Contains(reasons, "BADREQUEST unknown option") || !strings.Contains(reasons, "is this a Kafka client") {
		t.Errorf("connections ended for %s", reasons)
	}
	if strings.Contains(p.Output(), `"WARN"`) {
		t.Errorf("a client's mistake, or a scan of ports, is a warning:\n%s", p.Output())
	}
}

func TestConnectionsAreLoggedForDebuggingOnly(t *testing.T) {
	p := logging(t, "info")
	listening := awaitRecord(t, p, "listening")
	for _, port := range []string{"producers", "consumers", "kafka"} {
		told(t, listening[port], "")
		told(t, listening[port], "\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
	}
	p.Terminate()
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(p.Output()) {
		if strings.Contains(line, "127.0.0.1") && !strings.Contains(line, "listening") {
			t.Errorf("it logged %s", line)
		}
	}
}

func TestLogLeavesOutWhatIsBelowItsLevel(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		p, err := brokertest.Begin("", brokertest.Program(t, "broker"), "-pport", "0", "-cport", "0", "-kport", "0", "-hport", "0", "-data", t.TempDir(),
			"-log-level", "error", "-log-format", format)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Kill)
		brokertest.AwaitRest(t, p.Pid())
		p.Terminate()
		if err := p.Wait(); err != nil || p.Output() != "" {
			t.Errorf("%s: %v, said %q", format, err, p.Output())
		}
	}
}

func TestAStartThatFailsIsSaidInTheLogsForm(t *testing.T) {
	p := logging(t, "info", "-data", "/proc/nothing")
	if err := p.Wait(); err == nil {
		t.Error("it started")
	}
	if ended := records(t, p, "the broker has ended"); len(ended) != 1 || ended[0]["level"] != "ERROR" || !strings.Contains(fmt.Sprint(ended[0]["reason"]), "/proc/nothing") {
		t.Errorf("the log is %s", p.Output())
	}
}
