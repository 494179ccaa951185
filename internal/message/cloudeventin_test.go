package message

import (
	"bytes"
	"encoding/json"
	"testing"

	"mbus/internal/batch"
)

// An event that is taken is given back with the same attributes and data.
func FuzzParseCloudEvent(f *testing.F) {
	f.Add([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":1}}`))
	f.Add([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"text/plain","data":"x","partitionkey":"k"}`))
	f.Add([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"/w==","n":1,"b":true}`))
	f.Fuzz(func(t *testing.T, p []byte) {
		m, err := ParseCloudEvent(bytes.Clone(p))
		if err != nil {
			return
		}
		r := build(t, 1, m.Key, m.Value, m.Headers...)
		e := ReadCloudEvent(Origin{Topic: "t"}, r)
		if e.Whole {
			return // its data is an event
		}
		again, err := ParseCloudEvent(e.AppendJSON(nil))
		if err != nil {
			t.Fatalf("%v: %s", err, e.AppendJSON(nil))
		}
		if !bytes.Equal(again.Key, m.Key) || !sameData(again.Value, m.Value) || !sameHeaders(again.Headers, m.Headers) {
			t.Errorf("%q\n%+v\n%+v", p, m, again)
		}
	})
}

// sameData says whether two values are the same, or the same JSON.
func sameData(a, b []byte) bool {
	var x, y bytes.Buffer
	if bytes.Equal(a, b) {
		return true
	}
	return json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && bytes.Equal(x.Bytes(), y.Bytes())
}

// sameHeaders compares the last header of each name.
func sameHeaders(a, b []batch.Header) bool {
	last := func(all []batch.Header) map[string]string {
		m := make(map[string]string)
		for _, h := range all {
			m[h.Key] = string(h.Value)
		}
		return m
	}
	x, y := last(a), last(b)
	for k, v := range x {
		if y[k] != v {
			return false
		}
	}
	return len(x) == len(y)
}
