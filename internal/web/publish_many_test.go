package web

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"mbus/internal/broker"
)

const typeStream = "application/x-ndjson"

func TestABodyOfManyMessages(t *testing.T) {
	r := newRig(t, Options{})
	for _, c := range []struct {
		path, kind, body string
		want             []storedMessage
	}{
		{"/topics/json", typeStream, `{"payload":"a","key":"k","headers":["u","C"],"ts":5}` + "\n" + `{"payload":"b","ts":6}`, []storedMessage{{"k", "a", "u=C;", true, 5}, {"", "b", "", false, 6}}},
		{"/topics/lines", "text/plain;lines", "a\n\nb", []storedMessage{{Value: "a"}, {}, {Value: "b"}}},
		{"/topics/charset", "Text/Plain; charset=utf-8; lines=true", "a\r\nb\n", []storedMessage{{Value: "a\r"}, {Value: "b"}}},
		{"/topics/keyed?keyed", "text/plain;lines", "k\ta\tb\n", []storedMessage{{Key: "k", HasKey: true, Value: "a\tb"}}},
		{"/topics/options?key=k&header=u:C", "text/plain;lines", "a\n", []storedMessage{{"k", "a", "u=C;", true, 0}}},
		{"/topics/one", "text/plain", "a\nb\n", []storedMessage{{Value: "a\nb\n"}}},
	} {
		answer := r.must(http.StatusOK, "POST", c.path, c.body, "Content-Type", c.kind)
		topic, _, _ := strings.Cut(strings.TrimPrefix(c.path, "/topics/"), "?")
		if want := fmt.Sprintf(`{"topic":%q,"published":%d}`+"\n", topic, len(c.want)); topic != "one" && answer != want {
			t.Errorf("%s: got %s, not %s", c.path, answer, want)
		}
		if n := r.count(topic); n != int64(len(c.want)) {
			t.Errorf("%s: %d messages", c.path, n)
			continue
		}
		for i, want := range c.want {
			m := r.record(topic, 0, int64(i))
			if want.Time == 0 {
				m.Time = 0
			}
			if m != want {
				t.Errorf("%s: message %d is %+v, not %+v", c.path, i, m, want)
			}
		}
	}
	if answer := r.must(http.StatusOK, "POST", "/topics/json", "", "Content-Type", typeStream); answer != `{"topic":"json","published":0}`+"\n" {
		t.Errorf("nothing: %s", answer)
	}
}

// The answer says how many are safe, also when one is wrong; those behind it are not stored.
func TestTheMessagesBeforeAWrongOneAreSafe(t *testing.T) {
	r := newRig(t, Options{})
	r.limit(func(l *broker.Limits) { l.MaxMessage = 1000 })
	for i, c := range []struct{ last, code string }{
		{"{", "BADMESSAGE"}, {`{"payload":"` + strings.Repeat("x", 1001) + `"}`, "TOOLARGE"}, {strings.Repeat("x", 200_000), "TOOLARGE"}, {`{"headers":["mbus-deliver-at","soon"]}`, "BADMESSAGE"},
	} {
		topic := fmt.Sprintf("t%d", i)
		status := http.StatusBadRequest
		if c.code == "TOOLARGE" {
			status = http.StatusRequestEntityTooLarge
		}
		p := r.problem(status, c.code, "POST", "/topics/"+topic, "{\"payload\":\"a\"}\n{\"payload\":\"b\"}\n"+c.last+"\n{}\n", "Content-Type", typeStream)
		if p["published"] != 2.0 || r.count(topic) != 2 || !strings.Contains(p["detail"].(string), "message 3") {
			t.Errorf("%v; %d are stored", p, r.count(topic))
		}
	}
}

// Messages are stored while the body still comes.
func TestMessagesArePublishedAsTheyArrive(t *testing.T) {
	r := newRig(t, Options{})
	c := r.raw(postTo + "Content-Type: text/plain;lines\r\nTransfer-Encoding: chunked\r\n\r\n")
	first := make(chan struct{})
	io.WriteString(c, "6\r\none\ntw\r\n")
	stop := r.broker.As(broker.Self).Await("t", func() { close(first) })
	defer stop()
	<-first
	topic, err := r.broker.As(broker.Self).Topic("t", broker.Read)
	if err != nil {
		t.Fatal(err)
	}
	stored := make(chan struct{})
	topic.Partitions()[0].Wake(0, func(broker.Reason) { close(stored) })
	<-stored
	io.WriteString(c, "2\r\no\n\r\n0\r\n\r\n")
	if status, answer := r.answer(bufio.NewReader(c)); status != http.StatusOK || answer != `{"topic":"t","published":2}`+"\n" {
		t.Errorf("status %d: %s", status, answer)
	}
}

// Of a body that does not come to its end the last line may be half: it is not published.
func TestTheLastLineOfABodyThatIsCut(t *testing.T) {
	r := newRig(t, Options{})
	c := r.raw(postTo + "Content-Type: text/plain;lines\r\nContent-Length: 100\r\n\r\none\ntwo\nthr")
	c.CloseWrite()
	if status, answer := r.answer(bufio.NewReader(c)); status != http.StatusBadRequest || !strings.Contains(answer, `"published":2`) {
		t.Errorf("status %d: %s", status, answer)
	}
	r.limit(func(l *broker.Limits) { l.HTTPBodyTime = 50 * time.Millisecond })
	c = r.raw(postTo + "Content-Type: text/plain;lines\r\nContent-Length: 100\r\n\r\none\ntw")
	if status, answer := r.answer(bufio.NewReader(c)); status != http.StatusRequestTimeout || !strings.Contains(answer, `"published":1`) {
		t.Errorf("status %d: %s", status, answer)
	}
	if n := r.count("t"); n != 3 {
		t.Errorf("%d messages, not 3", n)
	}
}

// A stream of many messages takes no more memory than its parts in flight, and gives it back.
func TestALongStream(t *testing.T) {
	r := newRig(t, Options{})
	r.limit(func(l *broker.Limits) { l.MaxInFlight = 8 << 20 })
	const lines, times = 100_000, 3
	body := strings.Repeat(strings.Repeat("x", 99)+"\n", lines)
	for range times {
		if answer := r.must(http.StatusOK, "POST", "/topics/t", body, "Content-Type", "text/plain;lines"); answer != fmt.Sprintf(`{"topic":"t","published":%d}`+"\n", lines) {
			t.Fatal(answer)
		}
	}
	if n := r.count("t"); n != lines*times {
		t.Errorf("%d messages", n)
	}
	if !r.broker.Budget.Take(8 << 20) {
		t.Error("memory was not given back")
	}
	r.broker.Budget.Give(8 << 20)
}

// The key of a request is that of the messages that have none.
func TestTheKeyOfManyMessages(t *testing.T) {
	r := newRig(t, Options{})
	r.must(http.StatusOK, "POST", "/topics/t?key=k", `{"payload":"a"}
{"payload":"b","key":"own"}
`, "Content-Type", typeJSONs)
	r.must(http.StatusOK, "POST", "/topics/t?key=k", "c\n", "Content-Type", typeManyLines)
	for offset, key := range []string{"k", "own", "k"} {
		if m := r.record("t", 0, int64(offset)); m.Key != key {
			t.Errorf("message %d: %+v", offset, m)
		}
	}
}
