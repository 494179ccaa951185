package web

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"mbus/internal/message"
)

// Events are stored as the Kafka binding of CloudEvents has them, whichever way they come.
func TestCloudEventsComeIn(t *testing.T) {
	r := newRig(t, Options{})
	const stored = "ce_id=1;ce_partitionkey=k;ce_source=/s;ce_specversion=1.0;ce_type=sold;content-type=application/json;"
	const event = `{"specversion":"1.0","id":"1","source":"/s","type":"sold","partitionkey":"k","data":{"a":"é"}}`
	binary := []string{"ce-specversion", "1.0", "ce-id", `"1"`, "ce-source", "%2Fs", "ce-type", "sold", "ce-partitionkey", "k", "Content-Type", "application/json"}
	r.must(http.StatusOK, "POST", "/topics/t", `{"a":"é"}`, binary...)
	r.must(http.StatusOK, "POST", "/topics/t", event, "Content-Type", "application/cloudevents+json; charset=utf-8")
	if got := r.must(http.StatusOK, "POST", "/topics/t", "["+event+",\n"+event+"]", "Content-Type", "application/cloudevents-batch+json"); got != `{"topic":"t","published":2}`+"\n" {
		t.Errorf("got %s", got)
	}
	for offset := range int64(4) {
		m := r.record("t", 0, offset)
		if m.Value != `{"a":"é"}` || m.Key != "k" || m.Headers != stored {
			t.Errorf("%d: %+v", offset, m)
		}
	}
	for data, want := range map[string]string{
		`"datacontenttype":"text/plain","data":"x\ny"`: "x\ny", `"data_base64":"/w=="`: "\xff", `"data":"x"`: `"x"`, `"data":null`: "",
	} {
		r.must(http.StatusOK, "POST", "/topics/data", strings.Replace(event, `"data":{"a":"é"}`, data, 1), "Content-Type", typeEvent)
		if m := r.record("data", 0, r.count("data")-1); m.Value != want {
			t.Errorf("%s: %q, not %q", data, m.Value, want)
		}
	}
}

// Short members and elements take more memory, and time, than their bytes: they are refused, or read one by one.
func TestCloudEventsOfManyParts(t *testing.T) {
	r := newRig(t, Options{})
	var event strings.Builder
	event.WriteString(`{"specversion":"1.0"`)
	for i := range 80_000 {
		fmt.Fprintf(&event, `,"%x":1`, i)
	}
	event.WriteString("}")
	p := r.problem(http.StatusBadRequest, "BADMESSAGE", "POST", "/topics/t", event.String(), "Content-Type", typeEvent)
	if !strings.Contains(p["detail"].(string), "members") {
		t.Errorf("%v", p)
	}
	body := []byte("[" + strings.Repeat("1,", 400_000) + "1]")
	if lines, err := message.SplitCloudEvents(nil, body); err != nil || len(lines) != 2*400_001 {
		t.Errorf("%d bytes, %v", len(lines), err)
	}
}

func TestCloudEventsThatAreWrong(t *testing.T) {
	r := newRig(t, Options{})
	for _, event := range []string{
		"", "null", "[]", "{", `{"specversion":"1.0"}`, `{"specversion":"2.0","id":"1","source":"/s","type":"t"}`, `{"specversion":"1.0","id":"","source":"/s","type":"t"}`,
		`{"specversion":"1.0","id":"1","source":"/s","type":"t","Upper":"x"}`, `{"specversion":"1.0","id":"1","source":"/s","type":"t","list":[]}`,
		`{"specversion":"1.0","id":"1","source":"/s","type":"t","id":"2"}`, `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":1,"data":2}`,
		`{"specversion":"1.0","id":"1","source":"/s","type":"t","n":1.5}`, `{"specversion":"1.0","id":"1","source":"/s","type":"t","time":"yesterday"}`,
		`{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":""}`, `{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"application/cloudevents+json","data":{}}`,
		`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":1,"data_base64":"eA=="}`, `{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"*"}`,
	} {
		r.problem(http.StatusBadRequest, "BADMESSAGE", "POST", "/topics/t", event, "Content-Type", typeEvent)
	}
	r.problem(http.StatusBadRequest, "BADMESSAGE", "POST", "/topics/t", "x", "ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s")
	for _, h := range [][]string{
		{"ce-specversion", ""}, {"ce-time", "2026-13-01T00:00:00Z"}, {"ce-subject", ""}, {"ce-", "x"}, {"ce-data", "x"}, {"ce-dataschema", ""},
	} {
		r.problem(http.StatusBadRequest, "BADMESSAGE", "POST", "/topics/t", "x", append([]string{"ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "t"}, h...)...)
	}
	if answer := r.speak(request("POST /topics/t", "Content-Length: 0\r\nce-specversion: 1.0\r\nce-id: 1\r\nce-id: 2\r\nce-source: /s\r\nce-type: t\r\n")); !strings.Contains(answer, `\"id\" is there twice`) {
		t.Errorf("%s", answer)
	}
	r.must(http.StatusOK, "POST", "/topics/leap", "x", "ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "t", "ce-time", "2016-12-31T23:59:60Z")
	for _, batch := range []string{"", "null", "{}", "1", "[", "[1", "[1,", "[]x", "[{}] 1", "[,]"} {
		r.problem(http.StatusBadRequest, "BADMESSAGE", "POST", "/topics/t", batch, "Content-Type", typeEvents)
	}
	p := r.problem(http.StatusBadRequest, "BADMESSAGE", "POST", "/topics/batch", `[{"specversion":"1.0","id":"1","source":"/s","type":"t"},{}]`, "Content-Type", typeEvents)
	if p["published"] != 1.0 || r.count("batch") != 1 || r.count("t") != 0 {
		t.Errorf("%v", p)
	}
}
