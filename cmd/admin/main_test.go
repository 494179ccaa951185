package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// asProgram makes the test binary be the program itself, so that the tests run
// it as a process.
const asProgram = "RUN_AS_ADMIN"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	brokertest.Main(m)
}

// answering is a broker that gives one answer, and says what it was asked.
func answering(t *testing.T, answer string, reset bool) (port string, asked <-chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	requests := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		line, _ := bufio.NewReader(conn).ReadString('\n')
		requests <- line
		_, _ = io.WriteString(conn, answer)
		if reset {
			_ = conn.(*net.TCPConn).SetLinger(0)
		}
	}()
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port, requests
}

// admin runs the program to its end.
func admin(t *testing.T, args ...string) (out, said string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // what hangs fails
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run() // exit codes are what is looked at
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

func TestRequestOfEachCommand(t *testing.T) {
	for args, want := range map[string]string{
		"topics":                              "?topics",
		"topics -topic orders -json":          "?topics&topic=orders&format=json",
		"groups":                              "?groups",
		"groups -topic orders -group billing": "?groups&group=billing&topic=orders",
		"reset -group b -topic o -to -10":     "?reset&group=b&topic=o&to=-10",
		"reset -group b -topic o -to 0 -json": "?reset&group=b&topic=o&to=0&format=json",
		"delete -topic orders":                "?delete&topic=orders",
		"delete -group billing -execute":      "?delete&group=billing&execute",
		"create -topic orders":                "?create&topic=orders",
		"create -topic o -partitions 3 -retention 7d -retention-unread 0 -retention-bytes 1000 -execute": "?create&topic=o&partitions=3&retention=7d&retention-unread=0&retention-bytes=1000&execute",
		"grow -topic orders -partitions 6":                               "?grow&topic=orders&partitions=6",
		"grow -topic o -partitions 6 -execute":                           "?grow&topic=o&partitions=6&execute",
		"reset -group b -topic o -to 2026-11-22T10:00:00+01:00 -execute": "?reset&group=b&topic=o&to=2026-11-22T10%3A00%3A00%2B01%3A00&execute",
	} {
		port, asked := answering(t, "kind\tname\n", false)
		executes := strings.Contains(args, "-execute")
		if _, said, code := admin(t, append(strings.Fields(args), "-port", port)...); code != 0 || (said != "") != executes {
			t.Errorf("%s: exit %d, said %q", args, code, said)
		}
		if got := <-asked; got != want+"\n" {
			t.Errorf("%s: request %q, want %q", args, got, want)
		}
	}
}

func TestAnswerIsPrintedInColumns(t *testing.T) {
	port, _ := answering(t, "topic\tpartitions\tmessages\toldest\norders\t3\t1200\t2024\na.long.name.of.a.topic\t1\t0\t-\n", false)
	out, said, code := admin(t, "topics", "-port", port)
	want := "" +
		"topic                   partitions  messages  oldest\n" +
		"orders                           3      1200  2024\n" +
		"a.long.name.of.a.topic           1         0  -\n"
	if out != want || said != "" || code != 0 {
		t.Errorf("printed\n%s said %q, exit %d", out, said, code)
	}
}

func TestWhatIsForPeopleGoesToStandardError(t *testing.T) {
	for _, format := range []string{"", "-json"} {
		port, _ := answering(t, "kind\tname\n# add execute to do it\n", false)
		out, said, code := admin(t, strings.Fields("delete -topic orders -port "+port+" "+format)...)
		if strings.Contains(out, "execute") || said != "admin: add -execute to do it\n" || code != 0 {
			t.Errorf("printed %q, said %q, exit %d", out, said, code)
		}
	}
}

func TestJSONIsPrintedAsItIs(t *testing.T) {
	answer := "{\"topic\":\"orders\",\"partitions\":3}\n{\"topic\":\"b\",\"partitions\":1}\n"
	port, _ := answering(t, answer, false)
	if out, said, code := admin(t, "topics", "-json", "-port", port); out != answer || said != "" || code != 0 {
		t.Errorf("printed %q, said %q, exit %d", out, said, code)
	}
}

func TestAnswersThatAreErrors(t *testing.T) {
	for _, tt := range []struct {
		answer string
		reset  bool
		want   string
	}{
		{"-NOTFOUND there is no topic \"orders\"\n", false, "admin: the broker answered -NOTFOUND there is no topic \"orders\"\n"},
		{"topic\tpartitions\norders\t1\n-INTERNAL an error\n", false, "admin: the broker answered -INTERNAL an error\n"},
		{"", false, "admin: connection lost: the broker closed it without an answer\n"},
		{"topic\tpart", false, "admin: connection lost: it ends in the middle of the answer\n"},
		{"topic\tpartitions\n", true, "admin: connection lost: "},
	} {
		port, _ := answering(t, tt.answer, tt.reset)
		out, said, code := admin(t, "topics", "-port", port)
		if out != "" || !strings.HasPrefix(said, tt.want) || code != 1 {
			t.Errorf("%q: printed %q, said %q, exit %d", tt.answer, out, said, code)
		}
	}
}

// A broker that hangs takes connections, by its system, and says nothing.
func TestABrokerThatHangsIsNotWaitedForWithoutEnd(t *testing.T) {
	for args, more := range map[string]string{"topics": "", "delete -topic orders -execute": "; what was asked for may be done, or be done later"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		want := "admin: connection lost: the broker has said nothing for 100ms" + more + "\n"
		if _, said, code := admin(t, strings.Fields(args+" -timeout 100ms -port "+port)...); code != 1 || said != want {
			t.Errorf("%s: said %q, exit %d", args, said, code)
		}
	}
}

func TestNoBroker(t *testing.T) {
	if _, said, code := admin(t, "topics", "-port", brokertest.Port(brokertest.Reserve(t))); code != 1 || !strings.HasPrefix(said, "admin: can't reach the broker: ") {
		t.Errorf("said %q, exit %d", said, code)
	}
}

func TestOutputThatCannotBeWritten(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, asJSON := range []bool{false, true} {
		c := &command{asJSON: asJSON}
		if err := c.printAnswer([]string{"a\tb\n"}, full, io.Discard); err == nil {
			t.Error("the failure is not said")
		}
	}
}

func TestWrongUse(t *testing.T) {
	for args, want := range map[string]string{
		"":                                      "admin: a command is missing: there are\ntopics, groups, reset, delete, create, grow,\ncert, ",
		"drop":                                  "admin: unknown command \"drop\": there are\ntopics, groups, reset, delete, create, grow,\ncert, ",
		"-port 0 topics":                        "admin topics: -port is 0, not 1 to 65535\n",
		"-prot 1 topics":                        "admin topics: flag provided but not defined: -prot\nadmin topics -h",
		"-port topics":                          "admin: flag provided but not defined: -port\nadmin -h",
		"reset -group a -topic a -to tomorrow":  "admin reset: invalid value \"tomorrow\" for flag -to: it takes beginning, end, ",
		"create -topic a -retention 30":         "admin create: invalid value \"30\" for flag -retention: it takes a duration ",
		"create -topic a -retention-bytes many": "admin create: invalid value \"many\" for flag -retention-bytes: it takes a size ",
		"topics -group a":                       "admin topics: flag provided but not defined: -group\nadmin topics -h",
		"topics -execute":                       "admin topics: flag provided but not defined: -execute\n",
		"topics -topic a/b":                     "admin topics: invalid topic name \"a/b\": ",
		"topics -port 0":                        "admin topics: -port is 0, not 1 to 65535\n",
		"topics orders":                         "admin topics: unexpected argument \"orders\"\n",
		"reset -topic a -to end":                "admin reset: -group is missing\n",
		"reset -group a -to end":                "admin reset: -topic is missing\n",
		"reset -group a -topic a":               "admin reset: -to is missing\n",
		"delete":                                "admin delete: it takes either -topic or -group\n",
		"delete -topic a -group a":              "admin delete: it takes either -topic or -group\n",
		"delete -group . -execute":              "admin delete: invalid group name \".\": ",
		"delete -topic a -to end":               "admin delete: flag provided but not defined: -to\n",
		"groups -topic a -group b/c":            "admin groups: invalid group name \"b/c\": ",
	} {
		out, said, code := admin(t, strings.Fields(args)...)
		if out != "" || !strings.HasPrefix(said, want) || code != 2 {
			t.Errorf("%q: printed %q, said %q, exit %d", args, out, said, code)
		}
	}
}

func TestANameThatBeginsWithADashIsPrinted(t *testing.T) {
	port, _ := answering(t, "topic\tpartitions\n%2Dx\t3\norders%2D\t1\n", false)
	out, said, code := admin(t, "topics", "-topic", "-x", "-port", port)
	if want := "topic      partitions\n-x                  3\norders%2D           1\n"; out != want || said != "" || code != 0 {
		t.Errorf("printed\n%s said %q, exit %d", out, said, code)
	}
}

func TestHelpAndVersion(t *testing.T) {
	for args, want := range map[string]string{
		"-h":              "Usage: admin topics",
		"-version":        "admin ",
		"topics -h":       "Usage: admin topics",
		"help":            "Usage: admin topics",
		"version":         "admin ",
		"help grow":       "Usage: admin topics",
		"-port 1 grow -h": "Usage: admin topics",
	} {
		if out, said, code := admin(t, strings.Fields(args)...); !strings.HasPrefix(out, want) || said != "" || code != 0 {
			t.Errorf("%s: printed %q, said %q, exit %d", args, out, said, code)
		}
	}
}

func TestFlagsMayStandBeforeTheCommand(t *testing.T) {
	for args, want := range map[string]string{
		"-port PORT topics":                                          "?topics",
		"--port=PORT -json topics -topic orders":                     "?topics&topic=orders&format=json",
		"-topic topics -execute -port PORT delete":                   "?delete&topic=topics&execute",
		"-group delete -port PORT groups":                            "?groups&group=delete",
		"-host 127.0.0.1 -to end reset -group g -topic t -port PORT": "?reset&group=g&topic=t&to=end",
	} {
		port, asked := answering(t, "kind\tname\n", false)
		if _, said, code := admin(t, strings.Fields(strings.ReplaceAll(args, "PORT", port))...); code != 0 {
			t.Errorf("%s: exit %d, said %q", args, code, said)
			continue
		}
		if got := <-asked; got != want+"\n" {
			t.Errorf("%s: request %q, want %q", args, got, want)
		}
	}
}

func TestWhatWasDoneIsSaid(t *testing.T) {
	for args, want := range map[string]string{
		"delete -topic orders":             `topic "orders" is deleted`,
		"delete -group g":                  `group "g" is deleted`,
		"grow -topic orders -partitions 3": `topic "orders" has grown`,
		"create -topic orders":             `topic "orders" is made`,
		"reset -group g -topic o -to end":  `the positions of group "g" in topic "o" are set`,
	} {
		for _, more := range []string{" -execute", "", " -json -execute"} {
			said := ""
			if more == " -execute" {
				said = "admin: " + want + "\n"
			}
			port, _ := answering(t, "kind\tname\n", false)
			if _, got, code := admin(t, strings.Fields(args+more+" -port "+port)...); got != said || code != 0 {
				t.Errorf("%s%s: said %q, exit %d", args, more, got, code)
			}
		}
	}
}

// The broker's own topics are listed where somebody asks for them.
func TestTopicsOfTheBrokerAreListedWithAll(t *testing.T) {
	const table = "topic\tpartitions\n__consumer_offsets\t1\norders\t1\n"
	const objects = "{\"topic\":\"__consumer_offsets\",\"partitions\":1}\n{\"topic\":\"orders\",\"partitions\":1}\n"
	for args, own := range map[string]bool{
		"topics": false, "topics -all": true, "topics -topic __consumer_offsets": true, "topics -json": false, "topics -json -all": true, "groups": true,
	} {
		answer := table
		if strings.Contains(args, "-json") {
			answer = objects
		}
		port, _ := answering(t, answer, false)
		out, said, code := admin(t, strings.Fields(args+" -port "+port)...)
		if strings.Contains(out, "__consumer_offsets") != own || !strings.Contains(out, "orders") || said != "" || code != 0 {
			t.Errorf("%s: printed %q, said %q, exit %d", args, out, said, code)
		}
	}
}

func TestAdministrationOfABroker(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	b.Publish("orders", "a", "b", "c")
	if got := b.Drain("orders?group=billing"); got != "a\nb\nc\n" {
		t.Fatalf("drained %q", got)
	}
	ask := func(args string) string {
		t.Helper()
		out, said, code := admin(t, append(strings.Fields(args), "-port", brokertest.Port(b.Consumers()))...)
		if code != 0 {
			t.Fatalf("%s: exit %d, said %q", args, code, said)
		}
		return out
	}
	for _, tt := range []struct {
		args  string
		words []string // of the answer's second line
	}{
		{"topics -topic orders", []string{"orders", "1", "3"}},
		{"reset -group billing -topic orders -to 1", []string{"billing", "orders", "0", "3", "1"}},
		{"groups -group billing", []string{"billing", "orders", "0", "3", "3", "0"}},
		{"reset -group billing -topic orders -to -2 -execute", []string{"billing", "orders", "0", "3", "1"}},
		{"groups -group billing", []string{"billing", "orders", "0", "1", "3", "2"}},
		{"delete -group billing", []string{"billing", "orders", "0", "1"}},
	} {
		lines := strings.Split(ask(tt.args), "\n")
		if words := strings.Fields(lines[1]); len(words) < len(tt.words) || !slices.Equal(words[:len(tt.words)], tt.words) {
			t.Errorf("%s: %q, want %q", tt.args, words, tt.words)
		}
	}
	if got := b.Drain("orders?group=billing"); got != "b\nc\n" {
		t.Errorf("after the reset %q is drained", got)
	}
	ask("delete -group billing -execute")
	if got := b.Drain("orders?group=billing&n=1"); got != "a\n" {
		t.Errorf("a group that was deleted begins with %q", got)
	}
	ask("delete -topic orders -execute")
	ask("create -topic -x -partitions 3 -execute")
	if got := ask("topics -topic -x"); !strings.Contains(got, "\n-x ") {
		t.Errorf("listed\n%s", got)
	}
	if _, said, code := admin(t, "topics", "-topic", "orders", "-port", brokertest.Port(b.Consumers())); code != 1 {
		t.Errorf("a topic that was deleted is listed: said %q, exit %d", said, code)
	}
}
