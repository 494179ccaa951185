package main

import (
	"slices"
	"strings"
	"testing"
)

// mustRead reads a batch of these messages.
func (b *fakeBroker) mustRead(want ...string) {
	b.t.Helper()
	if got, err := b.read(); err != nil || !slices.Equal(got, want) {
		b.t.Fatalf("got %q, %v; want %q", got, err, want)
	}
}

func TestItGoesOnAfterALostConnection(t *testing.T) {
	for _, retry := range [][]string{{"-retry", "1m"}, {"-retry"}, nil} { // the latter two are the default
		b := listen(t)
		p := command(t, append([]string{"-port", b.port, "-topic", "orders"}, retry...)...)
		stdin, err := p.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		b.accept()
		write(t, stdin, "a\n")
		b.mustRead("a")
		b.answer("+1\n")
		write(t, stdin, "b\n")
		b.mustRead("b")
		b.conn.Close()
		b.accept()
		if !strings.HasSuffix(b.request, "&first=2\n") {
			t.Errorf("request %q", b.request)
		}
		b.mustRead("b")
		b.answer("+2\n")
		stdin.Close()
		if _, err := b.read(); err == nil {
			t.Error("it has not closed its side")
		}
		b.conn.Close()
		p.check(t, 0, "producer: connection lost: the broker closed it; connecting again\n"+
			"producer: connected again; 2 messages are on disk\n"+
			"producer: 2 messages on disk\n")
	}
}

func TestABadLineIsLeftOut(t *testing.T) {
	b := listen(t)
	p, stdin := start(t, b, "-skip-bad")
	write(t, stdin, "bad\n")
	b.accept()
	b.mustRead("bad")
	b.answer("-TOOLARGE message 1 is larger than 2 bytes\n")
	b.conn.Close()
	write(t, stdin, "b")
	stdin.Close()
	b.accept()
	b.mustRead("b")
	if _, err := b.read(); err == nil {
		t.Error("it has not closed its side")
	}
	b.answer("+2\n")
	b.conn.Close()
	p.check(t, exitSkipped, "producer: line 1 is left out: the broker answered -TOOLARGE message 1 is larger than 2 bytes\n"+
		"producer: 1 message on disk\n")
}

func TestABrokerThatHangsIsGivenUp(t *testing.T) {
	b := listen(t)
	p, _ := start(t, b, "-message", "a", "-timeout", "1s") // which loopback does not need to connect
	b.accept()
	p.check(t, 1, "producer: 0 of 1 sent messages acknowledged: connection lost: the broker has acknowledged nothing for 1s\n")
}

func TestTheEnvironmentSaysNothingOfWhatIsPublished(t *testing.T) {
	b := listen(t)
	p := command(t, "-port", b.port, "-topic", "orders")
	p.Env = append(p.Env, "MBUS_MESSAGE=x", "MBUS_DELAY=1h", "MBUS_PRODUCER_MESSAGE=y", "MBUS_SKIP_BAD=true")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if got := b.serve(); len(got) > 0 || strings.Contains(b.request, "delay") {
		t.Errorf("got %q, request %q", got, b.request)
	}
	p.check(t, 0, "")
}
