package main

import (
	"os"
	"strings"
	"testing"
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
		{"-to all", "orders?redrive&to=all\n", "+1\n", 0, "1 messages moved"},
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
