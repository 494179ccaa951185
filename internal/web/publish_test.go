package web

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/delivery"
	"mbus/test/brokertest"
)

// record is the message at an offset.
func (r *rig) record(topic string, partition int, offset int64) (m storedMessage) {
	r.Helper()
	t, err := r.broker.As(broker.Self).Topic(topic, broker.Read)
	if err != nil {
		r.Fatal(err)
	}
	if err := broker.WithRecord(t.Partitions()[partition], offset, func(rec *batch.Record) error {
		m = storedMessage{Key: string(rec.Key), Value: string(rec.Value), HasKey: rec.Key != nil, Time: rec.Timestamp}
		for k, v := range rec.Headers() {
			m.Headers += fmt.Sprintf("%s=%s;", k, v)
		}
		return nil
	}); err != nil {
		r.Fatal(err)
	}
	return m
}

type storedMessage struct {
	Key, Value, Headers string
	HasKey              bool
	Time                int64
}

// count is the number of messages of a topic; 0 if there is none.
func (r *rig) count(topic string) (n int64) {
	t, err := r.broker.As(broker.Self).Topic(topic, broker.Read)
	if err != nil {
		return 0
	}
	for _, p := range t.Partitions() {
		_, high := p.Offsets()
		n += high
	}
	return n
}

// problem sends a request that is refused.
func (r *rig) problem(status int, code, method, path, body string, headers ...string) map[string]any {
	r.Helper()
	answer := r.must(status, method, path, body, headers...)
	var p map[string]any
	if err := json.Unmarshal([]byte(answer), &p); err != nil || p["code"] != code {
		r.Fatalf("%s %s: got %s, not code %s", method, path, answer, code)
	}
	return p
}

func TestABodyIsOneMessage(t *testing.T) {
	r := newRig(t, Options{})
	for i, body := range []string{"first order", "", "\x00\xff\n\r", strings.Repeat("x", 100_000)} {
		want := fmt.Sprintf(`{"topic":"orders","partition":0,"offset":%d}`, i) + "\n"
		if got := r.must(http.StatusOK, "POST", "/topics/orders", body); got != want {
			t.Errorf("got %s, not %s", got, want)
		}
		if m := r.record("orders", 0, int64(i)); m.Value != body || m.HasKey || m.Headers != "" || m.Time == 0 {
			t.Errorf("stored %+v, not %q", m, body)
		}
	}
	r.must(http.StatusOK, "PUT", "/topics/orders", "of curl -T")
}

func TestOptionsOfAMessage(t *testing.T) {
	r := newRig(t, Options{})
	if _, err := r.broker.As(broker.Self).CreateTopic("three", 3, nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		query   string
		headers []string
		want    storedMessage
	}{
		{"?key=a%26b&time=2026-01-02T03:04:05Z&header=unit:C&header=Trace:1:2", nil, storedMessage{"a&b", "v", "unit=C;Trace=1:2;", true, 1767323045000}},
		{"?time=1767323045000", []string{"Mbus-Key", "k\xff", "Mbus-Header-Unit", "C"}, storedMessage{"k\xff", "v", "unit=C;", true, 1767323045000}},
		{"?key=", []string{"Mbus-Time", "1"}, storedMessage{"", "v", "", true, 1}},
	} {
		var at published
		if err := json.Unmarshal([]byte(r.must(http.StatusOK, "POST", "/topics/three"+c.query, "v", c.headers...)), &at); err != nil {
			t.Fatal(err)
		}
		if want := broker.ForKey([]byte(c.want.Key), 3); at.Partition != want {
			t.Errorf("%+v: partition %d, not %d", c, at.Partition, want)
		}
		if m := r.record("three", at.Partition, at.Offset); m != c.want {
			t.Errorf("%+v: stored %+v", c, m)
		}
	}
	for _, number := range []string{"0", "2"} {
		if got := r.must(http.StatusOK, "POST", "/topics/three", "v", "Mbus-Partition", number, "Mbus-Key", "k"); !strings.Contains(got, `"partition":`+number) {
			t.Errorf("partition %s: %s", number, got)
		}
	}
}

func TestOptionsThatAreWrong(t *testing.T) {
	r := newRig(t, Options{})
	for _, query := range []string{
		"nokey=1", "key=1&key=2", "partition=-1", "partition=1", "partition=x", "partition=99999999999", "time=yesterday", "delay=0s", "delay=-1s", "delay=5",
		"at=never", "at=1", "delay=1s&at=2030-01-01", "header=nocolon", "header=:v", "key=%zz",
	} {
		r.problem(http.StatusBadRequest, "BADREQUEST", "POST", "/topics/t?"+query, "v")
	}
	r.problem(http.StatusBadRequest, "BADREQUEST", "POST", "/topics/t?key=a", "v", "Mbus-Key", "b")
	r.problem(http.StatusBadRequest, "BADREQUEST", "POST", "/topics/a%2Fb", "v")
	r.problem(http.StatusBadRequest, "BADREQUEST", "POST", "/topics/__consumer_offsets", "v")
	r.problem(http.StatusBadRequest, "BADMESSAGE", "POST", "/topics/t?header=mbus-deliver-at:soon", "v")
	r.problem(http.StatusBadRequest, "BADMESSAGE", "POST", "/topics/t?time=9999-01-01", "v")
	if n := r.count("t"); n != 0 {
		t.Errorf("%d messages were stored", n)
	}
}

func TestADelayedMessageHasNoOffsetYet(t *testing.T) {
	r := newRig(t, Options{})
	got := r.must(http.StatusAccepted, "POST", "/topics/t?at=2090-01-01T00:00:00Z", "later")
	if want := `{"topic":"t","partition":0,"due":"2090-01-01T00:00:00Z"}` + "\n"; got != want {
		t.Errorf("got %s, not %s", got, want)
	}
	if n := r.count("t"); n != 0 {
		t.Errorf("%d messages are there", n)
	}
	r.must(http.StatusAccepted, "POST", "/topics/t", "later", "Mbus-Delay", "1000d")
}

// raw sends bytes on a connection of its own, and returns the connection.
func (r *rig) raw(text string) *net.TCPConn {
	r.Helper()
	c, err := net.Dial("tcp", r.host)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		r.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// answer reads one answer.
func (r *rig) answer(in *bufio.Reader) (status int, body string) {
	r.Helper()
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		r.Fatal(err)
	}
	p, err := io.ReadAll(resp.Body)
	if err != nil {
		r.Fatal(err)
	}
	return resp.StatusCode, string(p)
}

const postTo = "POST /topics/t HTTP/1.1\r\nHost: localhost\r\n"

func TestAClientThatExpectsToGoOn(t *testing.T) {
	r := newRig(t, Options{})
	c := r.raw(postTo + "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	in := bufio.NewReader(c)
	line, err := in.ReadString('\n')
	if err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
	in.ReadString('\n')
	io.WriteString(c, "hello")
	if status, answer := r.answer(in); status != http.StatusOK {
		t.Errorf("status %d: %s", status, answer)
	}
	if m := r.record("t", 0, 0); m.Value != "hello" {
		t.Errorf("stored %+v", m)
	}
}

// What is too long is refused before it is read.
func TestABodyThatIsTooLong(t *testing.T) {
	r := newRig(t, Options{})
	r.limit(func(l *broker.Limits) { l.MaxMessage = 1000 })
	r.must(http.StatusOK, "POST", "/topics/t", strings.Repeat("x", 1000))
	c := r.raw(postTo + "Content-Length: 1001\r\nExpect: 100-continue\r\n\r\n")
	if status, answer := r.answer(bufio.NewReader(c)); status != http.StatusRequestEntityTooLarge || !strings.Contains(answer, "1000 bytes (-max-message") {
		t.Errorf("status %d: %s", status, answer)
	}
	c = r.raw(postTo + "Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + strings.Repeat("x", 1001))
	if status, answer := r.answer(bufio.NewReader(c)); status != http.StatusRequestEntityTooLarge {
		t.Errorf("chunked: status %d: %s", status, answer)
	}
	r.problem(http.StatusRequestEntityTooLarge, "TOOLARGE", "POST", "/topics/t?key=k", strings.Repeat("x", 1000))
	if n := r.count("t"); n != 1 {
		t.Errorf("%d messages were stored, not 1", n)
	}
}

func TestChunksAndPipelines(t *testing.T) {
	r := newRig(t, Options{})
	c := r.raw(postTo + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n" + postTo + "Content-Length: 1\r\n\r\nf")
	in := bufio.NewReader(c)
	for range 2 {
		if status, answer := r.answer(in); status != http.StatusOK {
			t.Errorf("status %d: %s", status, answer)
		}
	}
	if a, b := r.record("t", 0, 0), r.record("t", 0, 1); a.Value != "abcde" || b.Value != "f" {
		t.Errorf("stored %+v, %+v", a, b)
	}
}

// A body that does not come to its end is not published.
func TestAClientThatStopsInTheMiddleOfABody(t *testing.T) {
	r := newRig(t, Options{})
	r.limit(func(l *broker.Limits) { l.HTTPBodyTime = 50 * time.Millisecond })
	for _, head := range []string{"Content-Length: 100\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n64\r\n"} {
		c := r.raw(postTo + head + "half")
		if status, answer := r.answer(bufio.NewReader(c)); status != http.StatusRequestTimeout {
			t.Errorf("status %d: %s", status, answer)
		}
	}
	r.limit(func(l *broker.Limits) { l.HTTPBodyTime = time.Hour })
	for _, head := range []string{"Content-Length: 100\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n64\r\n", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nxx\r\n"} {
		c := r.raw(postTo + head + "half")
		c.CloseWrite()
		if status, answer := r.answer(bufio.NewReader(c)); status != http.StatusBadRequest {
			t.Errorf("status %d: %s", status, answer)
		}
	}
	if n := r.count("t"); n != 0 {
		t.Errorf("%d messages were stored", n)
	}
}

// A body that no operation reads keeps no connection either.
func TestABodyThatNobodyReadsHasATimeToo(t *testing.T) {
	r := newRig(t, Options{})
	r.limit(func(l *broker.Limits) { l.HTTPBodyTime = 50 * time.Millisecond })
	c := r.raw("GET /version HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n")
	if status, _ := r.answer(bufio.NewReader(c)); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Error(err)
	}
}

func TestBodiesTakeMemoryOfTheBudget(t *testing.T) {
	r := newRig(t, Options{})
	r.limit(func(l *broker.Limits) { l.MaxInFlight = 20 << 10 })
	small, large := strings.Repeat("x", 4<<10-1), strings.Repeat("x", 50_000)
	r.must(http.StatusOK, "POST", "/topics/t", small)
	p := r.problem(http.StatusTooManyRequests, "BUSY", "POST", "/topics/t", large)
	if p["detail"] != delivery.ErrMemory.Error() {
		t.Errorf("got %v", p)
	}
	brokertest.Await(t, patience, "memory is given back", func() bool { return r.broker.Budget.Take(20 << 10) }) // the answer comes first
	r.broker.Budget.Give(20 << 10)
}

// What would not be in the message, or would be another one, is refused.
func TestWhatIsNotStoredIsRefused(t *testing.T) {
	r := newRig(t, Options{})
	for _, h := range [][]string{{"Mbus-Delya", "1h"}, {"Mbus-Header-", "x"}, {"Mbus-Group", "g"}} {
		r.problem(http.StatusBadRequest, "BADREQUEST", "POST", "/topics/t", "a", h...)
	}
	r.problem(http.StatusUnsupportedMediaType, "BADREQUEST", "POST", "/topics/t", "\x1f\x8b", "Content-Encoding", "gzip")
	r.problem(http.StatusUnsupportedMediaType, "BADREQUEST", "POST", "/topics/t/groups/g/ack", "\x1f\x8b", "Content-Encoding", "gzip")
	for _, format := range []string{"application/cloudevents", "application/cloudevents+xml", "Application/CloudEvents-batch+avro; x=y"} {
		r.problem(http.StatusUnsupportedMediaType, "BADREQUEST", "POST", "/topics/t", "a", "Content-Type", format)
	}
	if status, _, h := r.do("PUT", "/topics/t", "a", "Content-Encoding", "br"); status != http.StatusUnsupportedMediaType || h.Get("Accept-Encoding") != "identity" {
		t.Errorf("status %d, %v", status, h)
	}
	if _, err := r.broker.As(broker.Self).Topic("t", broker.Read); err == nil {
		t.Error("there is a topic")
	}
	r.must(http.StatusOK, "POST", "/topics/t", "a", "Content-Encoding", "identity", "Content-Type", "application/xml")
}
