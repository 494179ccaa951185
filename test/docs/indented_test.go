package docs

import (
	"bufio"
	"io"
	"net"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// indented are the lines of a text that stand four spaces in, outside of fenced
// blocks: conversations, and commands that do not end by themselves.
func indented(text string) (lines []string) {
	_, prose := blocks(text)
	for line := range strings.Lines(prose) {
		if line, found := strings.CutPrefix(line, "    "); found {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return lines
}

// A printedLine is a line that the follower of this number has printed.
type printedLine struct {
	follower int
	line     string
}

// patience bounds waits for what must happen.
const patience = time.Minute

func TestGuideFollowersGetWhatComesAndShareItInAGroup(t *testing.T) {
	s := newScratch(t)
	s.startBroker("./build/broker")
	commands := indented(section(t, "docs/guide.md", "Many consumers"))
	if len(commands) != 3 {
		t.Fatalf("commands: %q", commands)
	}
	lines := make(chan printedLine, 100)
	var followers []*exec.Cmd
	for i, command := range commands {
		followers = append(followers, s.follow(command, i, lines))
	}
	alone, shared := s.publishOne("one", lines)
	if alone != 1 || len(shared) != 1 {
		t.Fatalf("%d of the group default and %d of billing print the message", alone, len(shared))
	}
	// The other one of the group is there, too: it goes on when the first leaves.
	if err := followers[shared[0]].Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = followers[shared[0]].Wait() // however it ends
	alone, next := s.publishOne("two", lines)
	if alone != 1 || len(next) != 1 || next[0] == shared[0] {
		t.Errorf("%d of the group default and %d of billing (%v, before %v) print the next", alone, len(next), next, shared)
	}
}

// follow runs a command until the test ends.
func (s *scratch) follow(command string, number int, lines chan<- printedLine) *exec.Cmd {
	s.t.Helper()
	cmd := s.shell("exec " + command)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	go func() {
		for scan := bufio.NewScanner(out); scan.Scan(); {
			lines <- printedLine{number, scan.Text()}
		}
	}()
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// publishOne publishes a message and a last one behind it, and gives how many
// followers of the group default, and which of billing, print the first, until both
// groups have printed both.
func (s *scratch) publishOne(message string, lines <-chan printedLine) (alone int, shared []int) {
	s.t.Helper()
	for _, m := range []string{message, "last"} {
		if out := s.runAll(block{lines: []string{"./build/producer -topic orders -message " + m}}); out != "" {
			s.t.Fatalf("the producer prints %q", out)
		}
	}
	ended := make(map[bool]bool) // the group default, the other
	for timeout := time.After(patience); len(ended) < 2 || alone == 0 || len(shared) == 0; {
		select {
		case h := <-lines:
			switch _, text, _ := strings.Cut(h.line, "[orders] "); {
			case text == "last":
				ended[h.follower == 0] = true
			case text == message && h.follower == 0:
				alone++
			case text == message:
				shared = append(shared, h.follower)
			default:
				s.t.Errorf("follower %d prints %q", h.follower, h.line)
			}
		case <-timeout:
			s.t.Fatalf("%q: %d and %v print it; a group has not got all", message, alone, shared)
		}
	}
	return alone, shared
}

// In a conversation by hand the request and the answers are the client's.
func TestGuideConversationIsTrue(t *testing.T) {
	lines := indented(section(t, "docs/guide.md", "By hand"))
	if len(lines) < 5 || lines[0] != "$ nc 127.0.0.1 9991" {
		t.Fatalf("no conversation: %q", lines)
	}
	b := brokertest.Start(t, t.TempDir())
	b.Publish("parcels", "a box", "a tube")
	script := block{lines: []string{"9991"}}
	for i, line := range lines[1:] {
		prefix := "< "
		if i == 0 || strings.HasPrefix(line, "+") || strings.HasPrefix(line, "-") {
			prefix = "> "
		}
		script.lines = append(script.lines, prefix+line)
	}
	script.lines = append(script.lines, "> EOF", "< EOF")
	conn, err := net.Dial("tcp", b.Consumers())
	if err != nil {
		t.Fatal(err)
	}
	c := &conversation{conn: conn.(*net.TCPConn), reader: bufio.NewReader(conn)}
	if err := c.run(script); err != nil {
		t.Error(err)
	}
}

// What follows the first message is more than a pipe holds, so nc has not read it all.
func TestProtocolCommandThatReadsOneLineConsumesNone(t *testing.T) {
	commands := indented(section(t, "PROTOCOL.md", "Consuming"))
	if len(commands) != 1 {
		t.Fatalf("commands: %q", commands)
	}
	s := newScratch(t)
	s.startBroker("./build/broker")
	conn := brokertest.Dial(t, s.broker.Producers(), "orders\nfirst order\n"+strings.Repeat(strings.Repeat("x", 1<<20)+"\n", 4))
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if answers, err := io.ReadAll(conn); err != nil || brokertest.LastLine(string(answers)) != "+5" {
		t.Fatalf("the broker answers %q, %v", answers, err)
	}
	if got := s.runAll(block{lines: commands}); got != "first order\n" {
		t.Fatalf("it prints %q", got)
	}
	brokertest.Await(t, patience, "the messages come again", func() bool {
		return s.runAll(block{lines: []string{`./build/consumer -topic orders -n 1 -f '%s\n'`}}) == "first order\n"
	})
}

var upgrade = regexp.MustCompile("`(\\(echo .*\\) \\| nc -N 127.0.0.1 9990)`")

func TestUpgradingCommandCopiesATopic(t *testing.T) {
	command := upgrade.FindStringSubmatch(document(t, "CHANGELOG.md"))
	if command == nil {
		t.Fatal("CHANGELOG.md has no command to copy a topic")
	}
	old := brokertest.Start(t, t.TempDir())
	old.Publish("orders", "first order", "second order")
	s := newScratch(t)
	s.startBroker("./build/broker")
	line := strings.Replace(command[1], "127.0.0.1 19991", "127.0.0.1 "+brokertest.Port(old.Consumers()), 1)
	output := s.runAll(block{lines: []string{line, `./build/consumer -topic orders -f '%s\n'`}})
	if got := strings.Fields(output); !slices.Equal(got, strings.Fields("+2 first order second order")) {
		t.Errorf("it prints %q", output)
	}
}
