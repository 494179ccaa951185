package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/quick"

	"mbus/internal/batch"
	"mbus/internal/tcpserver"
)

// event publishes an event as the Kafka binding of CloudEvents has it.
func (r *rig) event(topic, id, contentType, data string, extra ...batch.Header) {
	r.Helper()
	headers := []batch.Header{{Key: "ce_specversion", Value: []byte("1.0")}, {Key: "ce_source", Value: []byte("/shop")}, {Key: "ce_type", Value: []byte("sold")}}
	headers = append(headers, batch.Header{Key: "ce_id", Value: []byte(id)}, batch.Header{Key: "content-type", Value: []byte(contentType)})
	var b batch.Builder
	b.Add(1718017201000, nil, []byte(data), append(headers, extra...)...)
	r.append(topic, 0, &b)
}

func TestMessagesAsCloudEvents(t *testing.T) {
	r := newRig(t, Options{})
	r.event("orders", "a", "application/json", `{"n": 1}`)
	r.event("orders", "b", "text/plain", "two")
	const (
		a = `{"specversion":"1.0","source":"/shop","type":"sold","id":"a","datacontenttype":"application/json","data":{"n":1}}`
		b = `{"specversion":"1.0","source":"/shop","type":"sold","id":"b","datacontenttype":"text/plain","data":"two"}`
	)
	for _, c := range []struct{ query, accept, contentType, want string }{
		{"format=cloudevents", "*/*", typeEvents, "[" + a + "\n," + b + "\n]\n"},
		{"", typeEvents, typeEvents, "[" + a + "\n," + b + "\n]\n"},
		{"format=cloudevents", typeJSONs, typeJSONs, a + "\n" + b + "\n"},
		{"format=cloudevents&from=0:1", typeSSE, typeSSE, "retry: 1000\n\nid: 0:2\ndata: " + b + "\n\n"},
		{"n=1", typeEvent, typeEvent, a + "\n"},
	} {
		query := c.query
		if !strings.Contains(query, "from") {
			query += "&from=0"
		}
		status, answer, h := r.do("GET", "/topics/orders/messages?"+strings.TrimPrefix(query, "&"), "", "Accept", c.accept)
		if status != http.StatusOK || answer != c.want || h.Get("Content-Type") != c.contentType {
			t.Errorf("%+v: %d %v\n%s", c, status, h, answer)
		}
	}
	for _, query := range []string{"none/messages", "orders/messages?from=end"} {
		answer := r.must(http.StatusOK, "GET", "/topics/"+query, "", "Accept", typeEvents)
		if answer != "[]\n" || !json.Valid([]byte(answer)) {
			t.Errorf("no message: %q", answer)
		}
	}
	r.must(http.StatusBadRequest, "GET", "/topics/orders/messages", "", "Accept", typeEvent)
	r.must(http.StatusBadRequest, "GET", "/topics/orders/messages?format=cloudevents-binary&n=2", "")
}

func TestOneCloudEventAtATimeWithItsAttributesInTheHeader(t *testing.T) {
	r := newRig(t, Options{})
	r.event("orders", "a \"1\" ä\r\nX-Bad: 1", "text/html", "<script>")
	r.event("orders", "b", "no type\r\nX-Bad: 1", "")
	const path = "/topics/orders/messages?format=cloudevents-binary&n=1"
	r.must(http.StatusForbidden, "GET", path, "", "Sec-Fetch-Dest", "document")
	r.must(http.StatusForbidden, "GET", path, "", "Sec-Fetch-Dest", "script")

	status, answer, h := r.do("GET", path, "")
	if status != http.StatusOK || answer != "<script>" || h.Get("Content-Type") != "text/html" || h.Get("Ce-Id") != "a%20%221%22%20%C3%A4%0D%0AX-Bad:%201" {
		t.Errorf("%d %v %q", status, h, answer)
	}
	if h.Get("X-Bad") != "" || !strings.HasPrefix(h.Get("Content-Security-Policy"), "sandbox") || h.Get("Content-Disposition") != "attachment" {
		t.Errorf("%v", h)
	}
	r.awaitAlone("default")
	status, answer, h = r.do("GET", path, "")
	if status != http.StatusOK || answer != "" || h.Get("Ce-Id") != "b" || h.Get("Content-Type") != "application/octet-stream" || h.Get("X-Bad") != "" {
		t.Errorf("%d %v %q", status, h, answer)
	}
	r.awaitAlone("default")
	if status, _, h = r.do("GET", path, ""); status != http.StatusNoContent || h.Get("Ce-Id") != "" {
		t.Errorf("no message: %d %v", status, h)
	}
	s := r.get("orders/messages?format=cloudevents-binary&n=1&follow")
	r.event("orders", "c", "a/b", "late")
	if resp := s.response(http.StatusOK); resp.Header.Get("Ce-Id") != "c" {
		t.Errorf("%v", resp.Header)
	}
}

func TestValuesOfAttributesInHeaders(t *testing.T) {
	property := func(value string) bool {
		escaped := escapeHeader(value)
		got, err := url.PathUnescape(escaped)
		return err == nil && got == value && !strings.ContainsFunc(escaped, func(c rune) bool { return c <= ' ' || c > '~' || c == '"' })
	}
	if err := quick.Check(property, nil); err != nil {
		t.Error(err)
	}
}

// An event with a problem has what a problem document has.
func TestAProblemAsAnEvent(t *testing.T) {
	s := &sink{format: formatSSE, header: http.Header{}, out: tcpserver.NewOutput(nil, 0)}
	s.problem(errStopping)
	const want = `event: problem
data: {"code":"SHUTDOWN","detail":"the broker is stopping","status":503,"title":"Service Unavailable","type":"urn:mbus:problem:shutdown"}

`
	if got := string(s.out.Buf); !strings.HasSuffix(got, want) {
		t.Errorf("got %q", got)
	}
}

// Many attributes, each of which is looked for among the others, are none of an event.
func TestAnEventOfManyAttributes(t *testing.T) {
	r := newRig(t, Options{})
	var headers strings.Builder
	for i := range 9_000 {
		fmt.Fprintf(&headers, `,"ce_a%d","x"`, i)
	}
	r.must(http.StatusOK, "POST", "/topics/t", `{"payload":"p","headers":["a","b"`+headers.String()+`]}`, "Content-Type", typeJSONs)
	body := r.must(http.StatusOK, "GET", "/topics/t/messages?n=1&format=cloudevents&from=0", "")
	if n := strings.Count(body, `"a`); n != 256 {
		t.Errorf("%d attributes", n)
	}
}
