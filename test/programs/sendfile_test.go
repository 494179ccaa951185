package programs

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"mbus/test/brokertest"
)

// What a Kafka client fetches goes from the page cache to its socket: strace sees
// the system send as many bytes as were published.
func TestKafkaFetchIsSentByTheSystem(t *testing.T) {
	trace := filepath.Join(t.TempDir(), "trace")
	b := brokertest.StartProgram(t, brokertest.Strace(t, "", "-o '"+trace+"' -e trace=sendfile"), t.TempDir())
	message := strings.Repeat("x", 1000)
	var text strings.Builder
	for range 4000 {
		text.WriteString(message + "\n")
	}
	run(t, strings.NewReader(text.String()), brokertest.Program(t, "producer"),
		"-port", brokertest.Port(b.Producers()), "-topic", "orders").mustWork(t)
	got := run(t, nil, "kcat", "-C", "-q", "-e", "-o", "beginning", "-b", b.Kafka(), "-t", "orders")
	got.mustPrint(t, text.String())
	if sent := bytesSent(t, trace); sent < text.Len() {
		t.Errorf("the system has sent %d bytes, the messages have %d", sent, text.Len())
	}
}

var sendfileCall = regexp.MustCompile(`sendfile(?:64)?\(.*\) += (\d+)`)

func bytesSent(t *testing.T, trace string) (sum int) {
	t.Helper()
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range sendfileCall.FindAllStringSubmatch(string(text), -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}
