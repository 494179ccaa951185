package line

import (
	"errors"
	"strings"
	"testing"
	"time"

	"mbus/internal/delivery"
)

func TestParseAck(t *testing.T) {
	for text, want := range map[string]ack{
		"+0":              {kind: '+'},
		"+17":             {kind: '+', Range: delivery.Range{First: 17, Last: 17}},
		"=3":              {kind: '=', Range: delivery.Range{First: 3, Last: 3}},
		"=3-3":            {kind: '=', Range: delivery.Range{First: 3, Last: 3}},
		"=3-17":           {kind: '=', Range: delivery.Range{First: 3, Last: 17}},
		"-3":              {kind: '-', Range: delivery.Range{First: 3, Last: 3}},
		"-3 no water":     {kind: '-', Range: delivery.Range{First: 3, Last: 3}, failure: delivery.Failure{Reason: "no water"}},
		"-3 dead":         {kind: '-', Range: delivery.Range{First: 3, Last: 3}, failure: delivery.Failure{Dead: true}},
		"-3 dead no":      {kind: '-', Range: delivery.Range{First: 3, Last: 3}, failure: delivery.Failure{Dead: true, Reason: "no"}},
		"-3 deadline":     {kind: '-', Range: delivery.Range{First: 3, Last: 3}, failure: delivery.Failure{Reason: "deadline"}},
		"-3 is dead":      {kind: '-', Range: delivery.Range{First: 3, Last: 3}, failure: delivery.Failure{Reason: "is dead"}},
		"-3 dead dead":    {kind: '-', Range: delivery.Range{First: 3, Last: 3}, failure: delivery.Failure{Dead: true, Reason: "dead"}},
		"-3 Dead":         {kind: '-', Range: delivery.Range{First: 3, Last: 3}, failure: delivery.Failure{Reason: "Dead"}},
		"-3  dead tired":  {kind: '-', Range: delivery.Range{First: 3, Last: 3}, failure: delivery.Failure{Reason: "dead tired"}},
		"-3 retry=5s":     {kind: '-', Range: delivery.Range{First: 3, Last: 3}, failure: delivery.Failure{Retry: 5 * time.Second, HasRetry: true}},
		"-3 retry=1d a b": {kind: '-', Range: delivery.Range{First: 3, Last: 3}, failure: delivery.Failure{Retry: 24 * time.Hour, HasRetry: true, Reason: "a b"}},
		"-3 retrying":     {kind: '-', Range: delivery.Range{First: 3, Last: 3}, failure: delivery.Failure{Reason: "retrying"}},
		"-3 retry =5s":    {kind: '-', Range: delivery.Range{First: 3, Last: 3}, failure: delivery.Failure{Reason: "retry =5s"}},
		"-3  retry=5s":    {kind: '-', Range: delivery.Range{First: 3, Last: 3}, failure: delivery.Failure{Reason: "retry=5s"}},
		"-3 x retry=5s":   {kind: '-', Range: delivery.Range{First: 3, Last: 3}, failure: delivery.Failure{Reason: "x retry=5s"}},
		"-3 retry=1s dead  dead": {
			kind: '-', Range: delivery.Range{First: 3, Last: 3},
			failure: delivery.Failure{Retry: time.Second, HasRetry: true, Dead: true, Reason: "dead"},
		},
	} {
		for _, end := range []string{"\n", "\r\n"} {
			line := text + end
			got, err := parseAck([]byte(line), len(line)-1)
			if err != nil || got != want {
				t.Errorf("%q: %+v, %v, not %+v", line, got, err, want)
			}
		}
	}
}

func TestParseAckRefuses(t *testing.T) {
	for _, text := range []string{
		"", "+", "-", "=", "++1", "+1-2", "-1-2", "=1-", "=-1", "=2-1", "=1-2-3", "=1,2", "=1 2", "=1 ", "+1 ", "=0x1", "=1_0",
		"=9223372036854775808", "=1-9223372036854775808", "+99999999999999999999", "*1", "1", "=+1", "-+1", " =1", "-1x", "-x",
		"-1 retry=", "-1 retry=5", "-1 retry=-5s", "-1 retry=soon", "-1 retry=99999999999h", "-1 dead retry=x",
	} {
		v, err := parseAck([]byte(text+"\n"), len(text))
		var line *errorLine
		if !errors.As(err, &line) || line.code != "BADREQUEST" {
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
		if v, err := parseAck(p, len(text)); ok && (err != nil || v.kind != '+' || v.First != n || v.Last != n) {
			t.Errorf("%q is %d, and %+v, %v", text, n, v, err)
		}
	}
	if _, ok := parseCount([]byte("+1"), -1); ok {
		t.Error("a line without an end is read")
	}
}

// There is one for each message of some clients.
func TestParsingAnAckAllocatesNothing(t *testing.T) {
	for _, text := range []string{"+123456\n", "=5\n", "=5-123456\r\n", "-7\n"} {
		p := []byte(text)
		n := testing.AllocsPerRun(100, func() {
			if _, err := parseAck(p, len(p)-1); err != nil {
				t.Fatal(err)
			}
		})
		if n > 0 {
			t.Errorf("%q: %v allocations", text, n)
		}
	}
}

// An acknowledgement that is written again is the same, whatever the client has said.
func FuzzAck(f *testing.F) {
	for _, text := range []string{"+1", "=1-2", "-1 retry=5s dead why", "-1  dead", "=", "-1 retry=5", "+0\r"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		text, _, _ := strings.Cut(string(line), "\n")
		v, err := parseAck([]byte(text+"\n"), len(text))
		if err != nil {
			if s := err.(*errorLine).line(); strings.Count(s, "\n") != 1 {
				t.Errorf("the answer is %q", s)
			}
			return
		}
		if v.First > v.Last || v.First != v.Last && v.kind != '=' || v.failure.HasRetry && v.failure.Retry <= 0 || v.kind != '-' && v.failure != (delivery.Failure{}) {
			t.Fatalf("%q is %+v", text, v)
		}
		same := string(appendRange([]byte{v.kind}, v.Range))
		if v.failure.HasRetry {
			same += " retry=" + v.failure.Retry.String()
		}
		if v.failure.Dead {
			same += " dead"
		}
		if v.kind == '-' {
			same += "  " + v.failure.Reason
		}
		again, err := parseAck([]byte(same+"\r\n"), len(same)+1)
		if err != nil || again != v {
			t.Errorf("%q is %+v, but %q is %+v, %v", text, v, same, again, err)
		}
	})
}
