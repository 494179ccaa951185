package message

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"

	"mbus/internal/batch"
)

func TestRecordsAsCloudEvents(t *testing.T) {
	header := func(k, v string) batch.Header { return batch.Header{Key: k, Value: []byte(v)} }
	complete := []batch.Header{header("ce_specversion", "1.0"), header("ce_id", "7"), header("ce_source", "/shop"), header("ce_type", "sold")}
	const attributes = `{"specversion":"1.0","id":"7","source":"/shop","type":"sold"`
	for _, c := range []struct {
		key, value []byte
		headers    []batch.Header
		want       string
	}{
		{nil, []byte("text"), nil, `{"specversion":"1.0","id":"3:7","source":"/topics/orders","type":"mbus.message","time":"2024-06-10T11:00:01.000Z","data":"text"}`},
		{[]byte("k"), nil, complete, attributes + `,"partitionkey":"k"}`},
		{[]byte("k"), nil, append(complete, header("ce_partitionkey", "own")), attributes + `,"partitionkey":"own"}`},
		{nil, []byte(" {\"a\":\n1} "), append(complete, header("content-type", "application/json; charset=utf-8")), attributes + `,"datacontenttype":"application/json; charset=utf-8","data":{"a":1}}`},
		{nil, []byte("{"), append(complete, header("Content-Type", "a/b+json")), attributes + `,"datacontenttype":"a/b+json","data":"{"}`},
		{nil, []byte("\xff"), append(complete, header("content-type", "text/plain")), attributes + `,"datacontenttype":"text/plain","data_base64":"/w=="}`},
		{nil, []byte{}, append(complete, header("ce_id", "8"), header("ce_Upper", "x"), header("ce_data", "x"), header("other", "x"), header("ce_", "x")), `{"specversion":"1.0","id":"8","source":"/shop","type":"sold","data":""}`},
		{nil, nil, append(complete, header("ce_specversion", "0.3"), header("ce_id", ""), header("ce_time", "yesterday"), header("ce_subject", "")), attributes + "}"},
		{nil, []byte("{\n\"id\":\"1\"}"), []batch.Header{header("content-type", "application/cloudevents+json; charset=UTF-8")}, `{"id":"1"}`},
		{nil, []byte(`[]`), append(complete, header("content-type", "application/cloudevents+json")), attributes + `,"datacontenttype":"application/cloudevents+json","data":[]}`},
	} {
		r := build(t, 1718017201000, c.key, c.value, c.headers...)
		e := ReadCloudEvent(Origin{Topic: "orders", Partition: 3}, r)
		if got := string(e.AppendJSON(nil)); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func FuzzCloudEvent(f *testing.F) {
	f.Add(int64(1), []byte("k"), []byte(`{"a":1}`), "ce_id", []byte("1"), []byte("application/json"))
	f.Add(int64(-1), []byte("\xff"), []byte("\n{}"), "content-type", []byte("\xff"), []byte("application/cloudevents+json"))
	f.Fuzz(func(t *testing.T, ts int64, key, value []byte, name string, header, contentType []byte) {
		r := build(t, ts, key, value, batch.Header{Key: name, Value: header}, batch.Header{Key: ContentType, Value: contentType})
		e := ReadCloudEvent(Origin{Topic: "orders"}, r)
		p := e.AppendJSON([]byte("x"))[1:]
		if !json.Valid(p) || !utf8.Valid(p) || bytes.ContainsAny(p, "\n\r") || p[0] != '{' {
			t.Fatalf("not an event on a line: %q", p)
		}
		var got map[string]any
		if err := json.Unmarshal(p, &got); err != nil {
			t.Fatal(err)
		}
		for _, attribute := range []string{"specversion", "id", "source", "type"} {
			if _, found := got[attribute].(string); !found && !e.Whole {
				t.Errorf("no %s in %s", attribute, p)
			}
		}
	})
}
