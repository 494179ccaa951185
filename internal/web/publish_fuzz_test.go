package web

import (
	"bytes"
	"net/http"
	"net/url"
	"testing"
)

// Whatever a client sends is published, or refused with a reason, and never an error of the broker's own. Each
// option means the same in the query as in a header.
func FuzzPublish(f *testing.F) {
	f.Add("key", "a", "Mbus-Header-Unit", "C", "text/plain;lines", []byte("a\nb"))
	f.Add("delay", "1h", "Idempotency-Key", "k", "application/x-ndjson", []byte(`{"payload":"x","headers":["a","b"],"ts":1}`))
	f.Add("at", "2090-01-01", "Ce-Specversion", "1.0", "application/cloudevents+json", []byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t"}`))
	f.Add("partition", "0", "Mbus-Time", "5", "application/cloudevents-batch+json", []byte(`[{}]`))
	f.Add("header", "a:b", "Mbus-Partition", "99", "", []byte("\x00\xff"))
	r := newRig(f, Options{})
	f.Fuzz(func(t *testing.T, name, value, header, text, kind string, body []byte) {
		req, err := http.NewRequest("POST", r.url+"/topics/t?"+url.QueryEscape(name)+"="+url.QueryEscape(value), bytes.NewReader(body))
		if err != nil {
			return
		}
		req.Header.Set(header, text)
		req.Header.Set("Content-Type", kind)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			return // no request of HTTP
		}
		resp.Body.Close()
		if s := resp.StatusCode; s >= 500 {
			t.Errorf("status %d for %q=%q, %q: %q, %q, %q", s, name, value, header, text, kind, body)
		}
	})
}
