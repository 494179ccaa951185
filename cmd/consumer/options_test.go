package main

import (
	"bufio"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mbus/internal/flags"
	"mbus/test/brokertest"
)

func TestFlagsThatContradictEachOther(t *testing.T) {
	for args, want := range map[string]string{
		"-from 0 -group a":             "-from and -group exclude each other: -from consumes nothing, so no group has part in it",
		"-from 0 -start end":           "-from and -start exclude each other",
		"-from 0 -exec true":           "-from and -exec exclude each other: -from consumes nothing, so a message that failed could not come again",
		"-from 0 -follow -window 2":    "-window goes with -follow or -exec, and with a group, as in -follow -window 10",
		"-out f -group a":              "-out and -group exclude each other: what FILE has got is its own position",
		"-out f -from 0":               "-out and -from exclude each other: FILE.position says where it goes on",
		"-out f -start end":            "-out and -start exclude each other: FILE begins at the beginning of the topic",
		"-out f -exec true":            "-out and -exec exclude each other",
		"-out f -follow -attempts 2":   "-attempts goes with -follow or -exec, and with a group, as in -follow -attempts 3",
		"-exec true -f %s":             "-exec and -f exclude each other: -exec gives the message's bytes",
		"-exec true -json":             "-exec and -json exclude each other: -exec gives the message's bytes",
		"-redrive -follow":             "-redrive and -follow exclude each other",
		"-redrive -from 0":             "-redrive and -from exclude each other",
		"-redrive -out f":              "-redrive and -out exclude each other",
		"-redrive -exec true":          "-redrive and -exec exclude each other",
		"-redrive -n 1":                "-redrive and -n exclude each other",
		"-to all":                      "-to goes with -redrive",
		"-grace 5s":                    "-grace goes with -exec",
		"-follow -grace 1s":            "-grace goes with -exec",
		"-redrive -to nobody":          "-to is \"nobody\": it takes all or group",
		"-ordered":                     "-ordered goes with -follow or -exec, and with a group, as in -follow -ordered",
		"-ack-timeout 1s":              "-ack-timeout goes with -follow or -exec, and with a group, as in -follow -ack-timeout 30s",
		"-follow -window -1":           "-window is -1, less than 0",
		"-follow -ack-timeout -1s":     "invalid value \"-1s\" for flag -ack-timeout: it takes a duration from 0 up with its unit, such as 500ms, 30s, 1h30m, 7d or 1d12h",
		"-follow -retry -1s":           "invalid value \"-1s\" for flag -retry: it takes a duration from 0 up with its unit, such as 500ms, 30s, 1h30m, 7d or 1d12h",
		"-follow -attempts many":       "-attempts is \"many\", not a number from 0",
		"-follow -attempts -1":         "-attempts is \"-1\", not a number from 0",
		"-follow -start in-the-middle": "-start is \"in-the-middle\", not beginning or end",
	} {
		p := command(t, append([]string{"-topic", "orders"}, strings.Fields(args)...)...)
		p.Dir = t.TempDir()
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		p.check(t, 2, "consumer: "+want+"\nconsumer -h shows the flags\n")
		if made, err := os.ReadDir(p.Dir); len(made) > 0 || err != nil {
			t.Errorf("%s: it has made %v, %v", args, made, err)
		}
	}
}

func TestFromStoredIsThePositionOfTheGroup(t *testing.T) {
	b := listen(t)
	p, _ := start(t, b, "-from", "stored", "-group", "billing")
	b.serve(".\n")
	if b.request != "orders?format=batch&group=billing\n" {
		t.Errorf("request %q", b.request)
	}
	p.check(t, 0, "")
}

func TestRedriveSaysHowManyWereMoved(t *testing.T) {
	for _, tt := range []struct {
		args, request, answer string
		code                  int
		said                  string
	}{
		{"", "orders?redrive\n", "+2\n+5\n", 0, "5 messages moved"},
		{"-group billing", "orders?redrive&group=billing\n", "+0\n", 0, "0 messages moved"},
		{"-to all", "orders?redrive&to=all\n", "+1\n", 0, "1 message moved"},
		{"", "orders?redrive\n", "+2\n# 1 letter stays: why; do this\n# 2 letters stay: why\n", 1, "1 letter stays: why; do this\nconsumer: 2 letters stay: why\nconsumer: 2 messages moved"},
		{"", "orders?redrive\n", "+2\n-FULL no space left\n", 1, "2 messages moved: the broker answered -FULL no space left"},
		{"", "orders?redrive\n", "", 1, "0 messages moved: connection lost: EOF"},
	} {
		b := listen(t)
		p, _ := start(t, b, append([]string{"-redrive"}, strings.Fields(tt.args)...)...)
		b.serve(tt.answer)
		if b.request != tt.request {
			t.Errorf("request %q, want %q", b.request, tt.request)
		}
		p.check(t, tt.code, "consumer: "+tt.said+"\n")
	}
}

func TestRedriveOfATopicThatDoesNotExistSaysSo(t *testing.T) {
	b := listen(t)
	b.setTopic("")
	p, _ := start(t, b, "-redrive")
	b.serve("+0\n")
	p.check(t, 0, "consumer: 0 messages moved\nconsumer: topic \"orders\" does not exist\n")
}

func TestAttemptsInATopicOfDeadLettersAreSaidToHaveNoEffect(t *testing.T) {
	for topic, said := range map[string]string{
		"orders.dlq": "consumer: -attempts has no effect: what fails in a topic of dead letters is tried without end\n",
		"orders":     "",
	} {
		b := listen(t)
		p, _ := start(t, b, "-topic", topic, "-attempts", "2", "-exec", "true")
		b.serve(".\n")
		p.check(t, 0, said)
	}
}

func TestLookingAtDeadLettersConsumesNothing(t *testing.T) {
	for args, want := range map[string]string{
		"":                   "orders.dlq?format=batch&from=beginning\n",
		"-n 1":               "orders.dlq?format=batch&from=beginning&n=1\n",
		"-group default":     "orders.dlq?format=batch&group=default\n",
		"-from stored":       "orders.dlq?format=batch&group=default\n",
		"-start end":         "orders.dlq?format=batch&group=default&start=end\n",
		"-exec true":         "orders.dlq?format=batch&group=default&ack&window=1&ack-timeout=30s\n",
		"-follow -window 9":  "orders.dlq?format=batch&group=default&follow&ack&window=9\n",
		"-topic dlq":         "dlq?format=batch&group=default\n",
		"-topic orders.dlqs": "orders.dlqs?format=batch&group=default\n",
	} {
		b := listen(t)
		p, _ := start(t, b, append([]string{"-topic", "orders.dlq"}, strings.Fields(args)...)...)
		b.accept()
		if b.request != want {
			t.Errorf("%s: request %q, want %q", args, b.request, want)
		}
		p.signal(t, syscall.SIGKILL)
		_ = p.Wait()
	}
}

func TestClosedStandardOutputIsAnError(t *testing.T) {
	b := listen(t)
	shell := func(redirect string, args ...string) *process {
		p := command(t)
		p.Path, p.Args = "/bin/sh", append([]string{"sh", "-c", `exec "$0" "$@" ` + redirect, os.Args[0], "-port", b.port, "-topic", "orders"}, args...)
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		return p
	}
	shell(">&-").check(t, 1, "consumer: "+flags.ErrNoOutput.Error()+"\n")
	for redirect, args := range map[string][]string{">/dev/null": nil, ">&-": {"-f", ""}, ">&- ": {"-exec", "true"}} {
		p := shell(redirect, args...)
		conn := b.serve("@0\n" + batchOf(0, "a") + ".\n")
		if len(args) > 0 && args[0] == "-exec" {
			expect(t, bufio.NewReader(conn), "+1")
		}
		p.check(t, 0, "")
	}
}

func TestBrokerThatHangsIsSaid(t *testing.T) {
	const timeout = "1s" // which loopback does not need to connect
	for _, args := range [][]string{nil, {"-exec", "true"}, {"-redrive"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			b := listen(t)
			p, _ := start(t, b, append(args, "-timeout", timeout)...)
			b.accept()
			if code := p.finish(); code != 1 || !strings.Contains(p.stderr.String(), "the broker has said nothing for "+timeout) {
				t.Errorf("exit %d, said %q", code, p.stderr.String())
			}
		})
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes no connection
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	for _, args := range [][]string{{"-follow"}, {"-out", filepath.Join(t.TempDir(), "orders.txt")}, {"-redrive"}} {
		t.Run(args[0], func(t *testing.T) {
			t.Parallel()
			p := command(t, append(args, "-topic", "orders.dlq", "-port", brokertest.Port(l.Addr().String()), "-timeout", timeout)...)
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			if code := p.finish(); code != 1 || !strings.HasSuffix(p.stderr.String(), "connection lost: the broker has said nothing for "+timeout+"\n") {
				t.Errorf("exit %d, said %q", code, p.stderr.String())
			}
		})
	}
}
