// Package browser drives the page of a broker, a process of its own, in headless Chromium. It is a module
// of its own, so that nobody who builds mbus needs what drives it. The screenshots that it makes are in
// build/screenshots.
package browser

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

var update = flag.Bool("update", false, "write the screenshot that the README shows")

// patience bounds waits for what must happen.
const patience = time.Minute

var (
	programs string          // the directory of the programs that TestMain has built
	chrome   context.Context // of the browser, which all tests share
)

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "mbus-browser-")
	if err != nil {
		panic(err)
	}
	programs = filepath.Join(dir, "programs")
	build := exec.Command("go", "build", "-ldflags=-s", "-o", programs+"/", "./cmd/broker", "./cmd/consumer", "./cmd/admin")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		os.Exit(1)
	}
	// Chromium's sandbox does not work for root. Its pages are the broker's and those of the tests.
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.WSURLReadTimeout(patience), chromedp.UserDataDir(filepath.Join(dir, "chromium")))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	all, end := chromedp.NewExecAllocator(context.Background(), options...)
	var leave context.CancelFunc
	chrome, leave = chromedp.NewContext(all)
	code := 1
	if err := chromedp.Run(chrome); err != nil {
		fmt.Fprintln(os.Stderr, "chromium:", err)
	} else {
		code = m.Run()
	}
	leave()
	end()
	os.RemoveAll(dir)
	os.Exit(code)
}

// A broker is a process that belongs to a test.
type broker struct {
	t                                 *testing.T
	data                              string
	producers, consumers, kafka, http string // addresses
}

var addressLine = regexp.MustCompile(`^(producers|consumers|kafka|http): (\S+)$`)

// start runs a broker, with some more flags, until the test ends.
func start(t *testing.T, flags ...string) *broker {
	t.Helper()
	b := &broker{t: t, data: t.TempDir()}
	cmd := exec.Command(filepath.Join(programs, "broker"), "-data", b.data, "-pport", "0", "-cport", "0", "-kport", "0", "-hport", "0")
	cmd.Args = append(cmd.Args, flags...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	listens, said := make(chan struct{}), make(chan string, 1)
	go func() {
		var all strings.Builder
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			fmt.Fprintln(&all, lines.Text())
			m := addressLine.FindStringSubmatch(lines.Text())
			switch {
			case m == nil:
			case m[1] == "producers":
				b.producers = m[2]
			case m[1] == "consumers":
				b.consumers = m[2]
			case m[1] == "kafka":
				b.kafka = m[2]
			case m[1] == "http":
				b.http = m[2]
				close(listens)
			}
		}
		said <- all.String()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		text := <-said
		if err := cmd.Wait(); err != nil || strings.Contains(text, "panic") || t.Failed() {
			t.Errorf("the broker ended with %v and said:\n%s", err, text)
		}
	})
	select {
	case <-listens:
	case <-time.After(patience):
		t.Fatal("the broker does not listen")
	}
	return b
}

// ask sends a request, which must succeed, and returns the answer.
func (b *broker) ask(method, path, body string, headers ...string) string {
	b.t.Helper()
	req, err := http.NewRequest(method, "http://"+b.http+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	p, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		b.t.Fatalf("%s %s: %s, %v: %s", method, path, resp.Status, err, p)
	}
	return string(p)
}

// publish publishes messages, one after the other.
func (b *broker) publish(topic string, messages ...string) {
	b.t.Helper()
	for _, m := range messages {
		b.ask("POST", "/topics/"+topic, m)
	}
}

// stored is how many messages a topic has.
func (b *broker) stored(topic string) int {
	b.t.Helper()
	return strings.Count(b.ask("GET", "/topics/"+topic+"/messages?from=beginning&format=json", ""), "\n")
}

// bury has a consumer fail the first message of a topic for the last time, with a reason, so that it comes to the
// dead letters.
func (b *broker) bury(topic, group, reason string) {
	b.t.Helper()
	before := b.letters(topic)
	conn, err := net.Dial("tcp", b.consumers)
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "%s?ack&attempts=1&n=1&group=%s\n", topic, group)
	in := bufio.NewReader(conn)
	if _, err := in.ReadString('\n'); err != nil {
		b.t.Fatal(err)
	}
	fmt.Fprintf(conn, "-1 %s\n", reason)
	if rest, err := io.ReadAll(in); err != nil {
		b.t.Fatalf("%q, %v", rest, err)
	}
	for end := time.Now().Add(patience); b.letters(topic) == before; time.Sleep(5 * time.Millisecond) { // it is stored behind the end of the connection
		if time.Now().After(end) {
			b.t.Fatalf("topic %q gets no dead letter", topic)
		}
	}
}

// letters is how many dead letters a topic has had.
func (b *broker) letters(topic string) int {
	b.t.Helper()
	resp, err := http.Get("http://" + b.http + "/topics/" + topic + ".dlq/messages?from=beginning&format=json")
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	letters, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return 0
	}
	return strings.Count(string(letters), "\n")
}
