package fault

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// Injected: HTTP clients that send a byte at a time, in the headers, huge ones too, in a body and in a chunk,
// that send nothing, or half a request and then the end, or that wait for messages, behind huge headers or
// with a closed sending side. Expected: each costs little memory, and the bystanders, who publish and consume lines and Kafka's
// batches, go on.
func TestF47HTTPDripsAndHalfOpenConnections(t *testing.T) { overEach(t, attackWithHTTPDrips) }

func attackWithHTTPDrips(t *testing.T, over transport) {
	const host = " HTTP/1.1\r\nHost: localhost\r\n"
	kinds := []struct {
		begin, drip string
		ends        bool // closes its sending side
	}{
		{"", "POST /topics/drips HTTP/1.1\r\nHost: localhost\r\n", false},
		{"POST /topics/drips" + host + "Content-Length: 1000\r\n\r\n", strings.Repeat("x", 40), false},
		{"POST /topics/drips" + host + "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n", `{"payload":"` + strings.Repeat("x", 40), false},
		{"GET /topics/drips/messages?group=slow&follow" + host + "\r\n", "", false},
		{"GET /version" + host + "X: " + strings.Repeat("x", 60<<10), strings.Repeat("x", 40), false},
		{"GET /topics/drips/messages?group=huge&follow&partition=" + strings.Repeat("0", 30<<10) + host + "X: " + strings.Repeat("x", 30<<10) + "\r\n\r\n", "", false},
		{"", "", false},
		{"POST /topics/drips" + host + "Content-Length: 1000\r\n\r\nhalf", "", true},
		{"GET /topics/drips/mess", "", true},
		{"POST /topics/drips/groups/half/lease?wait=1m" + host + "\r\n", "", true},
		{"GET /topics/drips/messages?group=half&follow" + host + "Accept: text/event-stream\r\n\r\n", "", true},
	}
	s := over.besiege(t)
	each := over.runs(40, 1000)
	s.attack(t, calm+over.memory(int64(len(kinds)*each), 48<<10), func() {
		var all []net.Conn
		defer func() { resetAll(all) }()
		for _, k := range kinds {
			all = append(all, s.crowd(t, each, "http", k.begin)...)
			for _, conn := range all[len(all)-each:] {
				if conn != nil && k.ends {
					conn.(rough).CloseWrite()
				}
			}
		}
		for at := range 40 {
			for i, conn := range all {
				if drip := kinds[i/each].drip; conn != nil && at < len(drip) {
					io.WriteString(conn, drip[at:at+1]) // fails where the broker has waited long enough
				}
			}
			if at%4 == 0 {
				s.bystand(func() {}).mustKeep(t)
			}
		}
	})
	report(t, tally{Runs: each * len(kinds)})
	s.end(t)
}

// resetAll closes connections so that the broker sees it, whatever it waits for.
func resetAll(conns []net.Conn) {
	for _, c := range conns {
		if c != nil {
			c.(rough).SetLinger(0)
			c.Close()
		}
	}
}

// Injected: HTTP clients that never read: followers in every format, drains of a large topic, and
// publishers and readers of lists that send request after request. Expected: little memory for each, and
// the bystanders go on.
func TestF47HTTPClientsThatNeverRead(t *testing.T) { overEach(t, attackByHTTPClientsThatNeverRead) }

func attackByHTTPClientsThatNeverRead(t *testing.T, over transport) {
	s := over.besiege(t)
	fillTopic(t, s.Broker, "backlog", 32<<20)
	requests := []string{
		"GET /topics/backlog/messages?group=g%d&follow HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /topics/backlog/messages?group=g%d&follow&format=json HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /topics/backlog/messages?group=g%d&follow HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n",
		"GET /topics/backlog/messages?group=g%d&format=cloudevents HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /topics/backlog/messages?group=g%d HTTP/1.0\r\n\r\n",
		"POST /topics/unread%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx" + strings.Repeat("GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n", 1000),
	}
	n := over.runs(60, 600)
	s.attack(t, calm+over.memory(int64(n), 256<<10), func() {
		var stalled []net.Conn
		defer func() { resetAll(stalled) }()
		for i := range n {
			text := strings.Replace(requests[i%len(requests)], "%d", strconv.Itoa(i), 1)
			stalled = append(stalled, s.dialNarrow(t, s.HTTP(), text))
		}
		for _, c := range stalled {
			if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
				t.Error(err)
			}
		}
		for range 5 {
			s.bystand(func() {}).mustKeep(t)
		}
	})
	report(t, tally{Runs: n})
	s.end(t)
}

// Injected: many small requests, in bunches that are sent before an answer is read, by many
// connections; with -long a million. Expected: each is answered, in order; what was published is there;
// the bystanders go on.
func TestF47HTTPSmallRequests(t *testing.T) { overEach(t, attackWithSmallRequests) }

func attackWithSmallRequests(t *testing.T, over transport) {
	const connections, bunch = 32, 50
	requests := []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/topics/small", "m", http.StatusOK},
		{"GET", "/version", "", http.StatusOK},
		{"GET", "/topics/unknown", "", http.StatusNotFound},
		{"HEAD", "/topics/small", "", http.StatusOK},
		{"PUT", "/version", "", http.StatusMethodNotAllowed},
	}
	s := over.besiege(t)
	s.Publish("small", "first")
	var published atomic.Int64
	bunches := over.runs(10, 625) // of each connection
	s.attack(t, calm+connections*(256<<10), func() {
		sideBySide(connections, connections, func(i int) {
			conn, err := s.dialFrom(i, s.HTTP())
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			in := bufio.NewReader(conn)
			for range bunches {
				var text strings.Builder
				for i := range bunch {
					r := requests[i%len(requests)]
					fmt.Fprintf(&text, "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", r.method, r.path, len(r.body), r.body)
				}
				go io.WriteString(conn, text.String()) // a failure shows in the answers
				for i := range bunch {
					r := requests[i%len(requests)]
					if over.isStranger() {
						r.status = http.StatusUnauthorized
					}
					err := readAnswer(in, r.method, r.status)
					if err != nil && i > 0 && over.isStranger() {
						return // the connection may end behind a refusal
					}
					if err != nil {
						t.Errorf("%s %s: %v", r.method, r.path, err)
						return
					}
					if r.body != "" && r.status == http.StatusOK {
						published.Add(1)
					}
				}
			}
		})
	})
	got := int64(len(lines(s.Drain("small?from=beginning")))) - 1
	report(t, tally{Runs: connections * bunches * bunch, Acked: int(published.Load()), Read: int(got), Lost: max(0, int(published.Load()-got))})
	if want := published.Load(); got != want || want != connections*int64(bunches)*bunch/5 && !over.isStranger() {
		t.Errorf("%d messages are there, and %d were acknowledged", got, want)
	}
	s.end(t)
}

// readAnswer reads the next answer of a connection.
func readAnswer(in *bufio.Reader, method string, status int) error {
	resp, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != status {
		return errors.Join(err, fmt.Errorf("answered %d %q, not %d", resp.StatusCode, body, status))
	}
	return nil
}
