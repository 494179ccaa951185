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
		r, err := execute(input, program, "-port", port, "-topic", "words")
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
