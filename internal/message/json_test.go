package message

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/quick"
	"unicode/utf8"

	"mbus/internal/batch"
)

// build makes a record as it comes out of a batch.
func build(t testing.TB, ts int64, key, value []byte, headers ...batch.Header) *batch.Record {
	t.Helper()
	var b batch.Builder
	b.Add(ts, key, value, headers...)
	b.Close(7)
	var it batch.Iterator
	if err := it.Reset(batch.Batch(bytes.Clone(b.Bytes()))); err != nil || !it.Next() {
		t.Fatalf("no record in the batch: %v, %v", err, it.Err())
	}
	return it.Record()
}

func TestAppendJSONTellsTheAttempt(t *testing.T) {
	got := AppendJSON(nil, Origin{Broker: 1, Topic: "sensors", Attempt: 2}, build(t, 1718017201000, nil, []byte("x")))
	const want = `{"topic":"sensors","partition":0,"offset":7,"tstype":"create","ts":1718017201000,"broker":1,"attempt":2,"key":null,"payload":"x"}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var m Parsed
	if err := ParseJSON(got, &m); err != nil || string(m.Value) != "x" || len(m.Headers) != 0 {
		t.Errorf("a producer takes %+v of it, %v", m, err)
	}
}

func TestAppendJSON(t *testing.T) {
	header := func(k string, v []byte) batch.Header { return batch.Header{Key: k, Value: v} }
	const start = `{"topic":"sensors","partition":3,"offset":7,"tstype":"create","ts":1718017201000,"broker":1,`
	tests := []struct {
		name       string
		key, value []byte
		headers    []batch.Header
		want       string
	}{
		{
			"as in PROTOCOL.md", []byte("k1"), []byte("21.5°"),
			[]batch.Header{header("unit", []byte("C"))},
			`"headers":["unit","C"],"key":"k1","payload":"21.5°"}`,
		},
		{"null", nil, nil, nil, `"key":null,"payload":null}`},
		{"empty is not null", []byte{}, []byte{}, nil, `"key":"","payload":""}`},
		{
			"escapes", []byte(`"\`), []byte("\b\f\n\r\t\x00\x1f\x7f</\u2028>"), nil,
			`"key":"\"\\","payload":"\u0008\u000c\n\r\t\u0000\u001f` + "\x7f</\u2028>\"}",
		},
		{
			"not UTF-8",
			[]byte{0xff},
			[]byte{0xc0, 0x80, 0xfe},
			nil,
			`"key_base64":"/w==","payload_base64":"wID+"}`,
		},
		{"a surrogate is not UTF-8", nil, []byte{0xed, 0xa0, 0x80}, nil, `"key":null,"payload_base64":"7aCA"}`},
		{
			"header keys twice, null and empty values", nil, nil,
			[]batch.Header{header("a", []byte("1")), header("a", nil), header("", []byte{})},
			`"headers":["a","1","a",null,"",""],"key":null,"payload":null}`,
		},
		{
			"one header value that is not UTF-8", nil, nil,
			[]batch.Header{header("a\n", []byte("1")), header("b", nil), header("c", []byte{0xff})},
			`"headers_base64":["a\n","MQ==","b",null,"c","/w=="],"key":null,"payload":null}`,
		},
		{
			"header key that is not UTF-8", nil, nil,
			[]batch.Header{header("a\xffb", []byte("1"))},
			"\"headers\":[\"a\uFFFDb\",\"1\"],\"key\":null,\"payload\":null}",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := AppendJSON([]byte("x"), Origin{Broker: 1, Topic: "sensors", Partition: 3}, build(t, 1718017201000, tt.key, tt.value, tt.headers...))
			if want := "x" + start + tt.want; string(got) != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if !json.Valid(got[1:]) {
				t.Errorf("not valid JSON: %s", got[1:])
			}
		})
	}
}

func TestParseJSON(t *testing.T) {
	tests := []struct {
		name, line string
		want       Parsed
	}{
		{"nothing", `{}`, Parsed{}},
		{"nulls", `{"payload":null,"key":null,"ts":null,"headers":null}`, Parsed{}},
		{"null in base64", `{"payload_base64":null,"key_base64":null,"headers_base64":null}`, Parsed{}},
		{"empty is not null", `{"payload":"","key_base64":""}`, Parsed{Value: []byte{}, Key: []byte{}}},
		{
			"white space", " { \"payload\" :\t\"a\" , \"key\":\r\"b\" , \"ts\" : 5 } ",
			Parsed{Value: []byte("a"), Key: []byte("b"), Timestamp: 5, HasTimestamp: true},
		},
		{
			"escapes", `{"pa\u0079load":"\"\\\/\b\f\n\r\t\u00e9\u0000","key":"x\ud83d\uDE00y"}`,
			Parsed{Value: []byte("\"\\/\b\f\n\r\té\x00"), Key: []byte("x😀y")},
		},
		{"base64", `{"payload_base64":"wID+","key_base64":"\u002fw=="}`, Parsed{Value: []byte{0xc0, 0x80, 0xfe}, Key: []byte{0xff}}},
		{
			"headers", `{"headers":["a","1","a",null,"",""]}`,
			Parsed{Headers: []batch.Header{{Key: "a", Value: []byte("1")}, {Key: "a"}, {Value: []byte{}}}},
		},
		{
			"headers in base64", `{"headers_base64":["a\n","MQ==","b",null]}`,
			Parsed{Headers: []batch.Header{{Key: "a\n", Value: []byte("1")}, {Key: "b"}}},
		},
		{"no headers", `{"headers":[]}`, Parsed{}},
		{
			"what is ignored may be anything", `{"topic":{"a":[1,{"b":"]}\"\\"}]},"partition":[[],{}],"offset":-1.5e3,"broker":true,"tstype":"\"","payload":"p"}`,
			Parsed{Value: []byte("p")},
		},
		{"time before 1970", `{"ts":-1}`, Parsed{Timestamp: -1, HasTimestamp: true}},
	}
	var m Parsed // one for all, as it is meant to be used
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := ParseJSON([]byte(tt.line), &m); err != nil {
				t.Fatal(err)
			}
			checkSame(t, &m, &tt.want)
		})
	}
}

func checkSame(t testing.TB, got, want *Parsed) {
	t.Helper()
	same := func(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }
	if !same(got.Key, want.Key) || !same(got.Value, want.Value) {
		t.Errorf("key %#v, value %#v; want %#v, %#v", got.Key, got.Value, want.Key, want.Value)
	}
	if got.Timestamp != want.Timestamp || got.HasTimestamp != want.HasTimestamp {
		t.Errorf("time %d, %v; want %d, %v", got.Timestamp, got.HasTimestamp, want.Timestamp, want.HasTimestamp)
	}
	if !slices.EqualFunc(got.Headers, want.Headers, func(a, b batch.Header) bool {
		return a.Key == b.Key && same(a.Value, b.Value)
	}) {
		t.Errorf("headers %#v; want %#v", got.Headers, want.Headers)
	}
}

func TestParseJSONSaysWhatIsWrong(t *testing.T) {
	tests := []struct{ line, want string }{
		{`{"pay":"load"}`, `json: unknown field "pay"`}, // word for word in PROTOCOL.md
		{`{"Payload":"x"}`, `json: unknown field "Payload"`},
		{`{"\u0000":1}`, `json: unknown field "\x00"`},
		{``, `json: the line is blank: each line is one object, such as {"payload":"text"}`},
		{" \t\r", `json: the line is blank: each line is one object, such as {"payload":"text"}`},
		{"\xef\xbb\xbf{}", `json: a byte order mark (EF BB BF) is before the object: save the text as UTF-8 without it`},
		{`{`, `json: unexpected end of JSON input: each line is one object, such as {"payload":"text"}`},
		{`{"payload":"x"`, `json: unexpected end of JSON input: each line is one object, such as {"payload":"text"}`},
		{`{"payload":"x"} {}`, `json: invalid character '{' after top-level value: each line is one object, such as {"payload":"text"}`},
		{`{"payload":"x"}x`, `json: invalid character 'x' after top-level value: each line is one object, such as {"payload":"text"}`},
		{`null`, `json: not an object: each line is one object, such as {"payload":"text"}`},
		{`"x"`, `json: not an object: each line is one object, such as {"payload":"text"}`},
		{`[]`, `json: not an object: each line is one object, such as {"payload":"text"}`},
		{"{\"payload\":\"\xff\"}", `json: invalid UTF-8; use payload_base64 for other bytes`},
		{`{"payload":"\ud800"}`, `json: half of a surrogate pair in a \u escape`},
		{`{"payload":"\udc00\ud800"}`, `json: half of a surrogate pair in a \u escape`},
		{`{"payload":"\ud800\u0041"}`, `json: half of a surrogate pair in a \u escape`},
		{`{"payload":1}`, `json: field "payload" takes strings and null only`},
		{`{"key":{}}`, `json: field "key" takes strings and null only`},
		{`{"payload":"a","payload":"b"}`, `json: field "payload" gives a second value`},
		{`{"payload":null,"payload_base64":"YQ=="}`, `json: field "payload_base64" gives a second value`},
		{`{"key_base64":"YQ==","key":"a"}`, `json: field "key" gives a second value`},
		{`{"headers":[],"headers_base64":[]}`, `json: field "headers_base64" gives a second value`},
		{`{"ts":1,"ts":1}`, `json: field "ts" gives a second value`},
		{`{"payload_base64":"YQ"}`, `json: field "payload_base64" is not base64`},
		{`{"payload_base64":"YR=="}`, `json: field "payload_base64" is not base64`},
		{`{"headers":{}}`, `json: field "headers" takes a list of keys and values`},
		{`{"headers":["a"]}`, `json: field "headers" has a header key without a value`},
		{`{"headers":[1,"a"]}`, `json: field "headers" has a header key that is not a string`},
		{`{"headers":[null,"a"]}`, `json: field "headers" has a header key that is not a string`},
		{`{"headers":["a",1]}`, `json: field "headers" takes strings and null only`},
		{`{"headers_base64":["a","*"]}`, `json: field "headers_base64" is not base64`},
		{`{"ts":1.5}`, `json: field "ts" takes a whole number of milliseconds, not 1.5`},
		{`{"ts":"1"}`, `json: field "ts" takes a whole number of milliseconds, not "1"`},
		{`{"ts":9223372036854775808}`, `json: field "ts" takes a whole number of milliseconds, not 9223372036854775808`},
	}
	for _, tt := range tests {
		if err := ParseJSON([]byte(tt.line), new(Parsed)); err == nil || err.Error() != tt.want {
			t.Errorf("%s\ngot  %v\nwant %s", tt.line, err, tt.want)
		}
	}
}

// checkRoundTrip prints r and parses what was printed.
func checkRoundTrip(t testing.TB, r *batch.Record) {
	t.Helper()
	line := AppendJSON(nil, Origin{Broker: 1, Topic: "orders"}, r)
	if !json.Valid(line) || !utf8.Valid(line) || bytes.IndexByte(line, '\n') >= 0 {
		t.Fatalf("not a line of JSON: %q", line)
	}
	want := Parsed{Key: r.Key, Value: r.Value, Timestamp: r.Timestamp, HasTimestamp: true}
	for k, v := range r.Headers() {
		want.Headers = append(want.Headers, batch.Header{Key: string(bytes.ToValidUTF8(k, []byte("\uFFFD"))), Value: v})
	}
	var got Parsed
	if err := ParseJSON(line, &got); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	checkSame(t, &got, &want)
}

func TestWhatAConsumerPrintsAProducerTakes(t *testing.T) {
	property := func(ts int64, key, value []byte, text string, headers [][]byte, nulls uint8) bool {
		if nulls&1 != 0 {
			key = nil
		}
		if nulls&2 != 0 {
			value = []byte(text)
		}
		var hs []batch.Header
		for i, h := range headers {
			if nulls&4 != 0 && i == 0 {
				h = nil
			}
			hs = append(hs, batch.Header{Key: text, Value: h})
		}
		checkRoundTrip(t, build(t, ts, key, value, hs...))
		return !t.Failed()
	}
	if err := quick.Check(property, &quick.Config{MaxCount: 2000}); err != nil {
		t.Error(err)
	}
}

func FuzzJSONRoundTrip(f *testing.F) {
	f.Add(int64(1718017201000), []byte("k1"), []byte("21.5°"), []byte("unit"), []byte("C"), uint8(0))
	f.Add(int64(-1), []byte{0xff}, []byte("\x00\"\\\n"), []byte("\xff"), []byte{0xc0}, uint8(0))
	f.Add(int64(0), []byte{}, []byte{}, []byte{}, []byte{}, uint8(15))
	f.Fuzz(func(t *testing.T, ts int64, key, value, name, header []byte, nulls uint8) {
		null := func(bit uint8, p []byte) []byte {
			if nulls&bit != 0 {
				return nil
			}
			return append([]byte{}, p...)
		}
		h := batch.Header{Key: string(name), Value: null(4, header)}
		checkRoundTrip(t, build(t, ts, null(1, key), null(2, value), h, h))
	})
}

func FuzzParseJSON(f *testing.F) {
	f.Add([]byte(`{"topic":"sensors","partition":0,"offset":0,"tstype":"create","ts":1,"broker":1,"headers":["unit","C"],"key":"k1","payload":"21.5°"}`))
	f.Add([]byte(`{"headers_base64":["a","wID+"],"key_base64":"/w==","payload":"\u00e9\ud83d\ude00\n"} `))
	f.Add([]byte(`{"topic":[{"a":"}"}],"payload":null}`))
	f.Add([]byte(`{"pay":"load"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		var m Parsed
		if ParseJSON(bytes.Clone(line), &m) != nil {
			return
		}
		var oracle struct {
			Payload, Key *string
			TS           *int64
		}
		if err := json.Unmarshal(line, &oracle); err != nil {
			return // a key that we ignore and encoding/json, which ignores case, does not
		}
		var keys map[string]json.RawMessage
		if err := json.Unmarshal(line, &keys); err != nil {
			t.Fatalf("accepted, but %v", err)
		}
		if _, ok := keys["payload"]; ok && (oracle.Payload == nil) != (m.Value == nil) {
			t.Errorf("payload %q, want %v", m.Value, oracle.Payload)
		}
		if oracle.Payload != nil && *oracle.Payload != string(m.Value) {
			t.Errorf("payload %q, want %q", m.Value, *oracle.Payload)
		}
		if oracle.Key != nil && *oracle.Key != string(m.Key) {
			t.Errorf("key %q, want %q", m.Key, *oracle.Key)
		}
		if oracle.TS != nil && *oracle.TS != m.Timestamp {
			t.Errorf("ts %d, want %d", m.Timestamp, *oracle.TS)
		}
		checkRoundTrip(t, build(t, m.Timestamp, m.Key, m.Value, m.Headers...))
	})
}

func hundredBytes() []byte {
	p := make([]byte, 100)
	for i := range p {
		p[i] = byte(' ' + rand.IntN(90))
	}
	return p
}

func TestNoAllocationForARecordWithoutHeaders(t *testing.T) {
	for _, value := range [][]byte{hundredBytes(), append(hundredBytes(), 0xff)} {
		r := build(t, 1718017201000, []byte("key"), value)
		dst := AppendJSON(nil, Origin{Broker: 1, Topic: "orders"}, r)
		line := bytes.Clone(dst)
		m := Parsed{unescaped: make([]byte, 0, 1000)}
		if n := testing.AllocsPerRun(100, func() { dst = AppendJSON(dst[:0], Origin{Broker: 1, Topic: "orders"}, r) }); n != 0 {
			t.Errorf("AppendJSON allocates %v times", n)
		}
		if n := testing.AllocsPerRun(100, func() {
			if err := ParseJSON(line, &m); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("ParseJSON allocates %v times", n)
		}
	}
}

func TestNoAllocationWhenPrintingHeaders(t *testing.T) {
	r := build(t, 1, nil, nil, batch.Header{Key: "a", Value: []byte("1")}, batch.Header{Key: "b", Value: []byte{0xff}})
	dst := AppendJSON(nil, Origin{Broker: 1, Topic: "orders"}, r)
	if n := testing.AllocsPerRun(100, func() { dst = AppendJSON(dst[:0], Origin{Broker: 1, Topic: "orders"}, r) }); n != 0 {
		t.Errorf("AppendJSON allocates %v times", n)
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	r := build(b, 1718017201000, nil, hundredBytes())
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendJSON(dst[:0], Origin{Broker: 1, Topic: "orders"}, r)
	}
	b.SetBytes(int64(len(dst)))
}

func BenchmarkParseJSON(b *testing.B) {
	line := AppendJSON(nil, Origin{Broker: 1, Topic: "orders"}, build(b, 1718017201000, nil, hundredBytes()))
	var m Parsed
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		if err := ParseJSON(line, &m); err != nil {
			b.Fatal(err)
		}
	}
}
