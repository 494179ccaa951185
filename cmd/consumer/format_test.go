package main

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"time"

	"mbus/internal/batch"
)

// build makes a message as it comes out of a batch.
func build(t testing.TB, ts int64, key, value []byte, headers ...batch.Header) *received {
	t.Helper()
	var b batch.Builder
	b.Add(ts, key, value, headers...)
	b.Close(42)
	var it batch.Iterator
	if err := it.Reset(batch.Batch(bytes.Clone(b.Bytes()))); err != nil || !it.Next() {
		t.Fatalf("no record in the batch: %v, %v", err, it.Err())
	}
	return &received{topic: "orders", partition: 3, Record: it.Record()}
}

func TestTokensAndEscapes(t *testing.T) {
	full := build(
		t, 1718017201000, []byte("k1"), []byte("first\norder"),
		batch.Header{Key: "a", Value: []byte("1")}, batch.Header{Key: "b"}, batch.Header{Key: "c", Value: []byte{}},
	)
	null := build(t, -1, nil, nil)
	empty := build(t, 0, []byte{}, []byte{})
	tests := []struct {
		format string
		m      *received
		want   string
	}{
		{"%t %p %o %k %s %K %S %T", full, "orders 3 42 k1 first\norder 2 11 1718017201000"},
		{"%h", full, "a=1,b=NULL,c="},
		{"[%k][%s][%h] %K %S %T", null, "[][][] -1 -1 -1"},
		{"[%k][%s] %K %S %T", empty, "[][] 0 0 0"},
		{"100%% %%s", full, "100% %s"},
		{"%s%s", empty, ""},
		{"plain", full, "plain"},
		{`\n\t\r\\`, full, "\n\t\r\\"},
		{`\x00\x41\xfF\x7z`[:12] + `|`, full, "\x00A\xff|"},
		{`\x414`, full, "A4"},
		{`\0|\07|\033[1m|\0009|\08`, full, "\x00|\a|\x1b[1m|\x009|\x008"},
		{"ä→\xff", full, "ä→\xff"},
		{`%s\0`, full, "first\norder\x00"},
	}
	for _, tt := range tests {
		f, err := parseFormat(tt.format, asItIs)
		if err != nil {
			t.Errorf("%s: %v", tt.format, err)
			continue
		}
		if got := f.append([]byte(">"), tt.m); string(got) != ">"+tt.want {
			t.Errorf("%s: got %q, want %q", tt.format, got[1:], tt.want)
		}
	}
}

func TestWhatIsNoFormatIsRefused(t *testing.T) {
	for format, want := range map[string]string{
		"%z":      `unknown token "%z"`,
		"%s %":    "% at the end: write %% for a percent sign",
		"%\xff":   `unknown token "%\xff"`,
		`\q`:      `unknown escape "\\q"`,
		`\1`:      `unknown escape "\\1"`,
		`%s\`:     `\ at the end: write \\ for a backslash`,
		`\x`:      `\x without two hexadecimal digits in "\\x"`,
		`\x4`:     `\x without two hexadecimal digits in "\\x4"`,
		`\xg0`:    `\x without two hexadecimal digits in "\\xg0"`,
		`\x+1abc`: `\x without two hexadecimal digits in "\\x+1abc"`,
	} {
		if _, err := parseFormat(format, asItIs); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", format, err, want)
		}
	}
}

func TestDefaultFormatHasTheMessagesOwnLocalTime(t *testing.T) {
	local := time.Local
	t.Cleanup(func() { time.Local = local })
	time.Local = time.FixedZone("", 3600)
	f := defaultFormat("orders", asItIs)
	for _, tt := range []struct {
		ts   int64
		want string
	}{
		{1718013601000, "2024/06/10 11:00:01 [orders] x\n"},
		{1718013601999, "2024/06/10 11:00:01 [orders] x\n"},
		{1718013602000, "2024/06/10 11:00:02 [orders] x\n"},
		{1718013601000, "2024/06/10 11:00:01 [orders] x\n"},
		{0, "1970/01/01 01:00:00 [orders] x\n"},
		{-1, "1970/01/01 00:59:59 [orders] x\n"},
	} {
		if got := f.append(nil, build(t, tt.ts, nil, []byte("x"))); string(got) != tt.want {
			t.Errorf("%d: got %q, want %q", tt.ts, got, tt.want)
		}
	}
	if got := defaultFormat("orders", asItIs).append(nil, build(t, 0, nil, nil)); string(got) != "1970/01/01 01:00:00 [orders] \n" {
		t.Errorf("the first message, from 1970: %q", got)
	}
}

func TestJSONFormatIsALine(t *testing.T) {
	const want = `{"topic":"orders","partition":3,"offset":42,"tstype":"create","ts":7,"broker":1,"key":null,"payload":"a\nb"}` + "\n"
	if got := jsonFormat(asItIs).append(nil, build(t, 7, nil, []byte("a\nb"))); string(got) != want {
		t.Errorf("got %q", got)
	}
}

func FuzzFormat(f *testing.F) {
	f.Add(`%t %p %o %k %s %K %S %T %h %%`)
	f.Add(`\n\t\r\0\\\x41\033`)
	f.Add(`%`)
	f.Add(`\x4`)
	f.Fuzz(func(t *testing.T, s string) {
		m := build(t, 1, []byte("key"), []byte("value"))
		parsed, err := parseFormat(s, asItIs)
		if err != nil {
			return
		}
		got := string(parsed.append(nil, m))
		if !strings.ContainsAny(s, `%\`) && got != s {
			t.Errorf("%q prints %q", s, got)
		}
		// Escaping every byte must print s itself, whatever s is.
		var escaped strings.Builder
		for i := range len(s) {
			escaped.WriteString(`\x`)
			escaped.WriteString(strconv.FormatUint(uint64(s[i])>>4, 16))
			escaped.WriteString(strconv.FormatUint(uint64(s[i])&15, 16))
		}
		parsed, err = parseFormat(escaped.String(), asItIs)
		if err != nil || string(parsed.append(nil, m)) != s {
			t.Errorf("%q escaped prints %q, %v", s, parsed.append(nil, m), err)
		}
	})
}

func TestNoAllocationForAMessage(t *testing.T) {
	m := build(t, 1718017201000, []byte("key"), []byte(strings.Repeat("x", 100)))
	all, err := parseFormat(`%t %p %o %k %s %K %S %T %h %a %%\n`, asItIs)
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]format{"tokens": all, "default": defaultFormat("orders", asItIs), "json": jsonFormat(asItIs)} {
		dst := f.append(nil, m)
		if n := testing.AllocsPerRun(100, func() { dst = f.append(dst[:0], m) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestMessagesCannotCommandATerminal(t *testing.T) {
	m := build(t, 1, []byte("\x1bkey"), []byte("\x1b]0;title\a red\x9b31m \u009b1m del\x7f\r caf\u00e9\tline\n\xff"))
	f, err := parseFormat(`\x1b[1m%k %s`, harmless)
	if err != nil {
		t.Fatal(err)
	}
	const want = "\x1b[1m\\x1bkey \\x1b]0;title\\x07 red\\x9b31m \\x9b1m del\\x7f\\x0d caf\u00e9\tline\n\\xff"
	if got := string(f.append(nil, m)); got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
	got := string(jsonFormat(harmlessJSON).append(nil, build(t, 1, nil, []byte("a\u009bb\x7f\x1b"))))
	if !strings.Contains(got, `"a\u009bb\u007f\u001b"`) {
		t.Errorf("printed %q", got)
	}
}

func TestEmptyFormatPrintsNothing(t *testing.T) {
	out, stderr, code, gone := drain(t, "@0\n"+batchOf(0, "a")+".\n", "-f", "")
	if out != "" || stderr != "" || code != 0 || !gone {
		t.Errorf("printed %q, said %q, exit %d, consumed %v", out, stderr, code, gone)
	}
}
