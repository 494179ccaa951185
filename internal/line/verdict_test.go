package line

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestParseVerdict(t *testing.T) {
	for text, want := range map[string]verdict{
		"+0":              {kind: '+'},
		"+17":             {kind: '+', from: 17, to: 17},
		"=3":              {kind: '=', from: 3, to: 3},
		"=3-3":            {kind: '=', from: 3, to: 3},
		"=3-17":           {kind: '=', from: 3, to: 17},
		"-3":              {kind: '-', from: 3, to: 3},
		"-3 no water":     {kind: '-', from: 3, to: 3, failure: failure{reason: "no water"}},
		"-3 dead":         {kind: '-', from: 3, to: 3, failure: failure{dead: true}},
		"-3 dead no":      {kind: '-', from: 3, to: 3, failure: failure{dead: true, reason: "no"}},
		"-3 deadline":     {kind: '-', from: 3, to: 3, failure: failure{reason: "deadline"}},
		"-3 is dead":      {kind: '-', from: 3, to: 3, failure: failure{reason: "is dead"}},
		"-3 dead dead":    {kind: '-', from: 3, to: 3, failure: failure{dead: true, reason: "dead"}},
		"-3 Dead":         {kind: '-', from: 3, to: 3, failure: failure{reason: "Dead"}},
		"-3  dead tired":  {kind: '-', from: 3, to: 3, failure: failure{reason: "dead tired"}},
		"-3 retry=5s":     {kind: '-', from: 3, to: 3, failure: failure{retry: 5 * time.Second, hasRetry: true}},
		"-3 retry=1d a b": {kind: '-', from: 3, to: 3, failure: failure{retry: 24 * time.Hour, hasRetry: true, reason: "a b"}},
		"-3 retrying":     {kind: '-', from: 3, to: 3, failure: failure{reason: "retrying"}},
		"-3 retry =5s":    {kind: '-', from: 3, to: 3, failure: failure{reason: "retry =5s"}},
		"-3  retry=5s":    {kind: '-', from: 3, to: 3, failure: failure{reason: "retry=5s"}},
		"-3 x retry=5s":   {kind: '-', from: 3, to: 3, failure: failure{reason: "x retry=5s"}},
		"-3 retry=1s dead  dead": {
			kind: '-', from: 3, to: 3,
			failure: failure{retry: time.Second, hasRetry: true, dead: true, reason: "dead"},
		},
	} {
		for _, end := range []string{"\n", "\r\n"} {
			line := text + end
			got, err := parseVerdict([]byte(line), len(line)-1)
			if err != nil || got != want {
				t.Errorf("%q: %+v, %v, not %+v", line, got, err, want)
			}
		}
	}
}

func TestParseVerdictRefuses(t *testing.T) {
	for _, text := range []string{
		"", "+", "-", "=", "++1", "+1-2", "-1-2", "=1-", "=-1", "=2-1", "=1-2-3", "=1,2", "=1 2", "=1 ", "+1 ", "=0x1", "=1_0",
		"=9223372036854775808", "=1-9223372036854775808", "+99999999999999999999", "*1", "1", "=+1", "-+1", " =1", "-1x", "-x",
		"-1 retry=", "-1 retry=5", "-1 retry=-5s", "-1 retry=soon", "-1 retry=99999999999h", "-1 dead retry=x",
	} {
		v, err := parseVerdict([]byte(text+"\n"), len(text))
		var told *answerError
		if !errors.As(err, &told) || told.code != "BADREQUEST" {
			t.Errorf("%q: %+v, %v", text, v, err)
		}
	}
}

// Where the short way reads a count it is the one that the long way reads.
func TestACountIsReadAlikeInBothWays(t *testing.T) {
	for text, short := range map[string]bool{
		"+0": true, "+1": true, "+0012": true, "+999999999999999999": true, "+9223372036854775807": false, "+18446744073709551616": false,
		"+": false, "": false, "+1\r": false, "+1 ": false, "+-1": false, "++1": false, "=1": false, "-1": false, "1": false, "+1a": false,
	} {
		p := []byte(text + "\n+777\n")
		n, ok := parseCount(p, len(text))
		if ok != short {
			t.Errorf("%q is read the short way: %v", text, ok)
		}
		if v, err := parseVerdict(p, len(text)); ok && (err != nil || v.kind != '+' || v.from != n || v.to != n) {
			t.Errorf("%q is %d, and %+v, %v", text, n, v, err)
		}
	}
	if _, ok := parseCount([]byte("+1"), -1); ok {
		t.Error("a line without an end is read")
	}
}

// There is one for each message of some clients.
func TestParsingAVerdictAllocatesNothing(t *testing.T) {
	for _, text := range []string{"+123456\n", "=5\n", "=5-123456\r\n", "-7\n"} {
		p := []byte(text)
		n := testing.AllocsPerRun(100, func() {
			if _, err := parseVerdict(p, len(p)-1); err != nil {
				t.Fatal(err)
			}
		})
		if n > 0 {
			t.Errorf("%q: %v allocations", text, n)
		}
	}
}

// A verdict that is written again is the same, whatever the client has said.
func FuzzVerdict(f *testing.F) {
	for _, text := range []string{"+1", "=1-2", "-1 retry=5s dead why", "-1  dead", "=", "-1 retry=5", "+0\r"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		text, _, _ := strings.Cut(string(line), "\n")
		v, err := parseVerdict([]byte(text+"\n"), len(text))
		if err != nil {
			if s := err.(*answerError).line(); strings.Count(s, "\n") != 1 {
				t.Errorf("the answer is %q", s)
			}
			return
		}
		if v.from > v.to || v.from != v.to && v.kind != '=' || v.hasRetry && v.retry <= 0 || v.kind != '-' && v.failure != (failure{}) {
			t.Fatalf("%q is %+v", text, v)
		}
		anew := string(v.notes([]byte{v.kind}))
		if v.hasRetry {
			anew += " retry=" + v.retry.String()
		}
		if v.dead {
			anew += " dead"
		}
		if v.kind == '-' {
			anew += "  " + v.reason
		}
		again, err := parseVerdict([]byte(anew+"\r\n"), len(anew)+1)
		if err != nil || again != v {
			t.Errorf("%q is %+v, but %q is %+v, %v", text, v, anew, again, err)
		}
	})
}
