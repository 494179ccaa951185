package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"mbus/internal/broker"
	"mbus/test/brokertest"
)

const work = "/topics/orders/groups/g/"

// lease leases messages, and fails unless there are as many.
func (r *rig) lease(n int, query string) []leasedMessage {
	r.Helper()
	var got leasedMessages
	answer := r.must(http.StatusOK, "POST", work+"lease?"+query, "")
	if err := json.Unmarshal([]byte(answer), &got); err != nil || len(got.Messages) != n {
		r.Fatalf("%v: %s", err, answer)
	}
	return got.Messages
}

// tokens is a body with the tokens of messages, and more fields.
func tokens(all []leasedMessage, more string) string {
	list := make([]string, 0, len(all))
	for _, m := range all {
		list = append(list, m.Token)
	}
	p, _ := json.Marshal(list)
	return `{"tokens":` + string(p) + more + "}"
}

func TestLeasedMessagesAreSettledByTokens(t *testing.T) {
	r := newRig(t, Options{NodeID: 1})
	r.publishTo("orders", 0, "a", "b", "c")
	before := time.Now().UnixMilli()
	got := r.lease(3, "max=10&for=1h")
	for i, m := range got {
		if m.Offset != int64(i) || m.Attempt != 1 || *m.Payload != string("abc"[i]) || m.Expires < before+time.Hour.Milliseconds() {
			t.Fatalf("message %d is %+v", i, m)
		}
	}
	if r.lease(0, ""); r.must(200, "POST", work+"ack", tokens(got[:1], "")) != `{"applied":1}`+"\n" {
		t.Fatal("not acknowledged")
	}
	r.must(200, "POST", work+"fail", tokens(got[1:2], `,"retry":"1ms","reason":"no"`))
	again := r.lease(1, "wait=1m&for=1h")
	if again[0].Offset != 1 || again[0].Attempt != 2 {
		t.Fatalf("again: %+v", again)
	}
	r.must(200, "POST", work+"fail", tokens(again, `,"dead":true,"reason":"bad"`))
	if letters := r.drain("orders.dlq?format=json"); !strings.Contains(letters, `"mbus-reason","bad"`) {
		t.Fatalf("dead letters: %s", letters)
	}
	if answer := r.must(200, "POST", work+"extend", tokens(got[2:], `,"for":"2h"`)); !strings.HasPrefix(answer, `{"applied":1,"expires":`) {
		t.Fatal(answer)
	}
	answer := r.must(409, "POST", work+"ack", tokens(got[1:], ""))
	if !strings.Contains(answer, fmt.Sprintf(`"expired":[%q]`, got[1].Token)) || !strings.Contains(answer, `"applied":1`) || !strings.Contains(answer, `"code":"EXPIRED"`) {
		t.Fatal(answer)
	}
	r.restart()
	r.lease(0, "")
	if n := r.committed("g", "orders"); n != 3 {
		t.Fatalf("committed %d", n)
	}
}

func TestMessagesAreLeasedAsLines(t *testing.T) {
	r := newRig(t, Options{})
	r.publishTo("orders", 0, "a", "b")
	answer := r.must(200, "POST", work+"lease?max=2", "", "Accept", typeJSONs)
	lines := strings.Split(strings.TrimSuffix(answer, "\n"), "\n")
	for _, line := range lines {
		var m leasedMessage
		if err := json.Unmarshal([]byte(line), &m); err != nil || m.Token == "" || m.Topic != "orders" {
			t.Fatalf("%v: %q", err, line)
		}
	}
	if len(lines) != 2 {
		t.Fatal(answer)
	}
	if got := r.must(200, "POST", work+"lease?max=2", "", "Accept", typeJSONs); got != "" {
		t.Fatalf("none are %q", got)
	}
}

// awaitWaiting waits until as many requests wait for messages.
func awaitWaiting(r *rig, n int64) {
	r.Helper()
	brokertest.Await(r, patience, "requests wait", func() bool {
		_, waiting := r.server.hub.Leases()
		return waiting == n
	})
}

// A client that leaves while it waits takes no message with it.
func TestAClientThatLeavesLeasesNothing(t *testing.T) {
	r := newRig(t, Options{})
	r.publishTo("orders", 0, "first")
	r.lease(1, "for=1h")
	c := r.send("POST " + work + "lease?wait=1m&for=1h HTTP/1.1\r\nHost: localhost\r\n\r\n")
	awaitWaiting(r, 1)
	c.reset()
	awaitWaiting(r, 0)
	r.publishTo("orders", 0, "second")
	if got := r.lease(1, "for=1h&wait=1m"); *got[0].Payload != "second" || got[0].Attempt != 1 {
		t.Fatalf("got %+v", got)
	}
}

func TestAStopAnswersWorkersThatWait(t *testing.T) {
	r := newRig(t, Options{})
	r.publishTo("orders", 0, "first")
	r.lease(1, "for=1h")
	c := r.send("POST " + work + "lease?wait=1m&for=1h HTTP/1.1\r\nHost: localhost\r\n\r\n")
	awaitWaiting(r, 1)
	r.stop()
	c.response(http.StatusServiceUnavailable)
}

func TestRequestsOfWorkersAreChecked(t *testing.T) {
	r := newRig(t, Options{})
	r.publishTo("orders", 0, "a")
	got := r.lease(1, "for=1h")
	for _, x := range []struct {
		status           int
		path, body, says string
	}{
		{400, "lease?max=0", "", "max"},
		{400, "lease?max=1001", "", "max"},
		{400, "lease?wait=1h", "", "wait"},
		{400, "lease?for=0", "", "for"},
		{400, "lease?for=13h", "", "for"},
		{400, "lease?retry=x", "", "retry"},
		{400, "lease?start=middle", "", "start"},
		{400, "lease", "x", "no body"},
		{400, "ack", "", "the body"},
		{400, "ack", "{}", "no tokens"},
		{400, "ack", `{"tokens":["x"]}`, "no token of a lease"},
		{400, "ack", `{"tokens":["a"],"more":1}`, "more"},
		{400, "ack", tokens(got, "") + "x", "follows"},
		{400, "fail", tokens(got, `,"retry":"-1s"`), "retry"},
		{400, "extend", tokens(got, `,"for":"13h"`), "for"},
		{413, "ack", `{"tokens":["` + strings.Repeat("x", broker.LeaseBody) + `"]}`, "fewer tokens"},
	} {
		if answer := r.must(x.status, "POST", work+x.path, x.body); !strings.Contains(answer, x.says) {
			t.Errorf("%s with %.40q: %s", x.path, x.body, answer)
		}
	}
	r.must(404, "POST", "/topics/none/groups/g/ack", tokens(got, ""))
	r.must(403, "POST", work+"lease", "", "Origin", "http://elsewhere.example")
	r.must(200, "POST", work+"ack", tokens(got, ""))
}

func FuzzTokens(f *testing.F) {
	f.Add([]byte(`{"tokens":["AAAA"],"retry":"1s","dead":true,"reason":"x"}`))
	f.Add([]byte(`{"tokens":null}{}`))
	f.Fuzz(func(t *testing.T, p []byte) {
		var b failBody
		if parseJSON(p, &b) != nil {
			return
		}
		again, err := json.Marshal(b)
		var c failBody
		if err == nil {
			err = parseJSON(again, &c)
		}
		if err != nil || len(c.Tokens) != len(b.Tokens) || c.Reason != b.Reason {
			t.Fatalf("%q became %q: %v", p, again, err)
		}
	})
}
