package programs

import (
	"bytes"
	"os"
	"regexp"
	"testing"

	"mbus/test/brokertest"
)

func TestRealTextComesOutByteForByteAcrossAKill(t *testing.T) {
	text := realText(1, 120_000)
	b := brokertest.Start(t, t.TempDir())
	input, err := os.Open(writeFile(t, text))
	if err != nil {
		t.Fatal(err)
	}
	defer input.Close()
	produce(t, b, input, "-topic", "words").mustWork(t)
	b.Restart()
	consume(t, b, "-topic", "words", "-f", `%s\n`).mustPrintText(t, text)
	consume(t, b, "-topic", "words", "-f", `%s\n`).mustPrint(t, "")
}

func (r result) mustPrintText(t *testing.T, want []byte) {
	t.Helper()
	r.mustWork(t)
	mustEqual(t, r.stdout, string(want))
}

// Buffers have sizes; what is a little smaller or larger must fit all the same.
func TestMessagesOfAllSizesKeepTheirOrder(t *testing.T) {
	var text bytes.Buffer
	for size := 1; size <= 1<<20; size *= 2 {
		for _, n := range []int{size - 100, size - 1, size, size + 1} {
			if n >= 0 && n <= 1<<20 {
				text.Write(bytes.Repeat([]byte{byte('a' + n%26)}, n))
				text.WriteByte('\n')
			}
		}
	}
	b := brokertest.Start(t, t.TempDir())
	produce(t, b, bytes.NewReader(text.Bytes()), "-topic", "sizes").mustWork(t)
	for line := range bytes.Lines(text.Bytes()) { // each as the first of a connection, too
		n := itoa(len(line))
		produce(t, b, bytes.NewReader(line), "-topic", "size-"+n).mustWork(t)
		consume(t, b, "-topic", "size-"+n, "-f", `%s\n`).mustPrintText(t, line)
	}
	consume(t, b, "-topic", "sizes", "-f", `%s\n`, "-group", "whole").mustPrintText(t, text.Bytes())
	for piece := text.Bytes(); len(piece) > 0; {
		r := consume(t, b, "-topic", "sizes", "-f", `%s\n`, "-n", "3").mustWork(t)
		mustEqual(t, r.stdout, string(piece[:len(r.stdout)]))
		piece = piece[len(r.stdout):]
		if r.stdout == "" {
			t.Fatalf("%d bytes never come", len(piece))
		}
	}
}

func TestProducerSaysHowManyWereAcknowledgedWhenTheBrokerDies(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	input, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer input.Close()
	program, port := brokertest.Program(t, "producer"), brokertest.Port(b.Producers())
	ended := make(chan result)
	go func() {
		r, err := execute(input, program, "-port", port, "-topic", "words", "-retry", "1s")
		if err != nil {
			t.Error(err)
		}
		ended <- r
	}()
	lines := bytes.Repeat([]byte("a line\n"), 1000)
	if _, err := feed.Write(lines); err != nil {
		t.Fatal(err)
	}
	awaitMessages(t, b, "words", 1000)
	b.Kill()
	feed.Write(lines) // fails if the producer has ended already
	feed.Close()
	want := regexp.MustCompile(`\d+ of \d+ sent messages acknowledged`)
	if r := <-ended; r.code != 1 || !want.MatchString(r.stderr) {
		t.Errorf("exit code %d, standard error %q", r.code, r.stderr)
	}
}
