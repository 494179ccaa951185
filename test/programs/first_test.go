package programs

import (
	"regexp"
	"strings"
	"testing"

	"mbus/test/brokertest"
)

func TestMessagesComeOutAsTheyWentIn(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	for _, message := range []string{"first order", "second order", "third order"} {
		produce(t, b, nil, "-topic", "orders", "-message", message).mustWork(t)
	}
	stamp := `\d{4}/\d\d/\d\d \d\d:\d\d:\d\d`
	want := regexp.MustCompile(`^` + stamp + ` \[orders\] first order\n` +
		stamp + ` \[orders\] second order\n` + stamp + ` \[orders\] third order\n$`)
	if got := consume(t, b, "-topic", "orders").mustWork(t).stdout; !want.MatchString(got) {
		t.Errorf("the consumer printed %q", got)
	}
	consume(t, b, "-topic", "orders").mustPrint(t, "")
}

func TestUnknownTopicGivesNothingAndIsNotMade(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	b.Publish("orders", "first order")
	consume(t, b, "-topic", "nosuchtopic").mustPrint(t, "")
	found := shell(t, b, "find '"+b.Data+"'").mustWork(t).stdout
	if strings.Contains(found, "nosuchtopic") || !strings.Contains(found, "orders") {
		t.Errorf("the data directory has %s", found)
	}
}

func TestAcknowledgedMessagesSurviveKillAndConsumedOnesStayConsumed(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	produce(t, b, nil, "-topic", "orders", "-message", "first order").mustWork(t)
	produce(t, b, nil, "-topic", "orders", "-message", "second order").mustWork(t)
	b.Restart()
	consume(t, b, "-topic", "orders", "-n", "1", "-f", `%s\n`).mustPrint(t, "first order\n")
	consume(t, b, "-topic", "orders", "-f", `%s\n`).mustPrint(t, "second order\n")
	produce(t, b, nil, "-topic", "orders", "-message", "third order").mustWork(t)
	consume(t, b, "-topic", "orders", "-f", `%s\n`).mustPrint(t, "third order\n")
	await(t, "the broker has seen the last consumer close", func() bool {
		row := strings.Fields(brokertest.LastLine(b.Drain("?groups&group=default&topic=orders")))
		return len(row) > 3 && row[3] == "3"
	})
	// The close of this one confirms what was acknowledged before.
	shell(t, b, "echo 'orders?group=witness&ack&format=batch' | nc -N 127.0.0.1 $C").mustWork(t)
	b.Restart()
	consume(t, b, "-topic", "orders", "-f", `%s\n`).mustPrint(t, "")
}

func TestProgramsExitAsTheySay(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	for _, c := range []struct {
		name   string
		result result
		code   int
	}{
		{"producer without a topic", produce(t, b, nil, "-message", "x"), 2},
		{"consumer without a topic", consume(t, b), 2},
		{"unknown flag", consume(t, b, "-topics", "orders"), 2},
		{"bad topic", produce(t, b, nil, "-topic", "no such", "-message", "x"), 2},
		{"nothing to consume", consume(t, b, "-topic", "none"), 0},
		{"nothing to consume, with -fail-empty", consume(t, b, "-topic", "none", "-fail-empty"), 3},
		{"version", consume(t, b, "-version"), 0},
		{"no broker", run(t, nil, brokertest.Program(t, "consumer"), "-topic", "orders", "-port", "1"), 1},
	} {
		if c.result.code != c.code {
			t.Errorf("%s: exit code %d, not %d: %q", c.name, c.result.code, c.code, c.result.stderr)
		}
	}
}

// A script's -from "$FROM" does not consume where FROM is not set, nor does a broker with
// -phost "$HOST" listen on all addresses.
func TestEmptyFlagsAreWrongUsage(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	produce(t, b, nil, "-topic", "orders", "-message", "first").mustPrint(t, "")
	consumer := func(flag string) result { return consume(t, b, "-topic", "orders", flag, "") }
	for _, flag := range []string{"-from", "-out", "-exec", "-start", "-group", "-to", "-host"} {
		if r := consumer(flag); r.code != 2 || r.stdout != "" || !strings.Contains(r.stderr, `invalid value "" for flag `+flag+": it ") {
			t.Errorf("%s: exit code %d, %q, %q", flag, r.code, r.stdout, r.stderr)
		}
	}
	for _, flag := range []string{"-at", "-topic", "-host"} {
		if r := produce(t, b, nil, "-topic", "orders", "-message", "x", flag, ""); r.code != 2 {
			t.Errorf("%s: exit code %d, %q", flag, r.code, r.stderr)
		}
	}
	for _, flag := range []string{"-verify", "-data", "-phost", "-chost", "-khost", "-hhost", "-http-hosts"} {
		if r := run(t, nil, brokertest.Program(t, "broker"), "-pport", "1", "-cport", "1", "-kport", "1", "-hport", "1", "-data", b.Data, flag, ""); r.code != 2 {
			t.Errorf("%s: exit code %d, %q", flag, r.code, r.stderr)
		}
	}
	admin := run(t, nil, brokertest.Program(t, "admin"), "delete", "-group", "default", "-topic", "", "-execute")
	if admin.code != 2 {
		t.Errorf("admin: exit code %d, %q", admin.code, admin.stderr)
	}
	consume(t, b, "-topic", "orders", "-f", "").mustPrint(t, "") // means something: print nothing
	produce(t, b, nil, "-topic", "orders", "-message", "").mustPrint(t, "")
	consume(t, b, "-topic", "orders", "-f", `[%s]`).mustPrint(t, "[]")
}

// What the broker proposes to do next works as it stands.
func TestNextStepCanBeTyped(t *testing.T) {
	p, err := brokertest.Begin("", brokertest.Program(t, "broker"), "-pport", "0", "-cport", "0", "-kport", "0", "-hport", "0", "-data", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	var next string
	await(t, "it says what to do next", func() bool {
		_, rest, found := strings.Cut(p.Output(), "\nnext: ")
		next, _, _ = strings.Cut(rest, "\n")
		return found && strings.Contains(rest, "\n")
	})
	if r := run(t, nil, "/bin/sh", "-c", next); r.code != 0 || r.stderr != "" {
		t.Errorf("%s: exit code %d, %q", next, r.code, r.stderr)
	}
	await(t, "the topic is made", func() bool { return strings.Contains(p.Output(), "action=create kind=topic name=orders") })
}

func TestSecondBrokerOnADirectoryNamesTheFirst(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	second := run(t, nil, brokertest.Program(t, "broker"), "-pport", "0", "-cport", "0", "-kport", "0", "-hport", "0", "-data", b.Data)
	if second.code != 1 || !regexp.MustCompile(`\b`+itoa(b.Pid())+`\b`).MatchString(second.stderr) {
		t.Errorf("exit code %d, standard error %q: no process id %d", second.code, second.stderr, b.Pid())
	}
	b.Publish("orders", "the first goes on")
}
