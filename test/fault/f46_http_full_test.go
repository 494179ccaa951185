package fault

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"mbus/test/brokertest"
)

// Injected: HTTP clients fill the disk; or something else does, to the last byte. Expected: 507 and
// the code FULL, with the number of messages that are safe where there are many; readers go on, and so
// do acknowledgements as far as mbus could keep room for them; with space again publishing resumes by
// itself; nothing acknowledged is lost, nothing refused appears.
func TestF46HTTPOnAFullDisk(t *testing.T) {
	for _, c := range []struct {
		name    string
		foreign bool // something else fills the disk
	}{{"by-publishers", false}, {"by-others", true}} {
		t.Run(c.name, func(t *testing.T) {
			for range runs(1, 20) {
				d := newMemDisk(t, "size=16m")
				b := brokertest.Start(t, d.data(), fixedHTTP(t)...)
				f := &fullHTTP{newFullDisk(t, d, b), newHTTPClient(t, b.HTTP())}
				f.fill(c.foreign)
				f.refuses()
				f.goesOn(!c.foreign)
				f.resumes()
			}
		})
	}
}

// fullHTTP is a broker whose disk is full, as HTTP clients see it.
type fullHTTP struct {
	*fullDisk
	c *httpClient
}

func (f *fullHTTP) do(method, path, body string, headers ...string) httpAnswer {
	f.t.Helper()
	a, err := f.c.do(method, path, strings.NewReader(body), headers...)
	if err != nil {
		f.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// fill publishes bodies of many messages until one is refused.
func (f *fullHTTP) fill(foreign bool) {
	f.t.Helper()
	if foreign {
		f.d.clear()
		f.d.fill(-1)
	}
	for first := -1; ; {
		var body strings.Builder
		var numbers []int
		for range 1000 {
			n := f.l.send("filler", first)
			first = max(first, 0)
			text, err := json.Marshal(map[string]string{"payload": f.l.message("filler", n, 1000)})
			if err != nil {
				f.t.Fatal(err)
			}
			numbers = append(numbers, n)
			fmt.Fprintf(&body, "%s\n", text)
		}
		a := f.do("POST", "/topics/load", body.String(), "Content-Type", "application/x-ndjson")
		for _, n := range numbers[:min(a.Published, len(numbers))] {
			f.l.acknowledge("filler", n)
		}
		if a.status != http.StatusOK {
			f.mustBeFull("a body of many", a)
			return
		}
		if a.Published != len(numbers) {
			f.t.Fatalf("%d of %d are published: %q", a.Published, len(numbers), a.body)
		}
	}
}

func (f *fullHTTP) mustBeFull(what string, a httpAnswer) {
	f.t.Helper()
	if a.status != http.StatusInsufficientStorage || a.Code != "FULL" {
		f.t.Fatalf("%s to the full disk was answered %d %q", what, a.status, a.body)
	}
}

// refuses publishes what is too much, to a topic that is there and to a new one.
func (f *fullHTTP) refuses() {
	f.t.Helper()
	large := strings.Repeat("x", 1_000_000)
	f.mustBeFull("a message", f.do("POST", "/topics/load", large))
	f.mustBeFull("a message with a key", f.do("POST", "/topics/load", large, "Idempotency-Key", "full"))
	f.mustBeFull("a message to a new topic", f.do("POST", "/topics/new", large))
	if a := f.do("POST", "/topics/load", large+"\n", "Content-Type", "text/plain;lines"); a.Published != 0 {
		f.t.Errorf("%d are published: %q", a.Published, a.body)
	} else {
		f.mustBeFull("a line", a)
	}
}

// goesOn says that readers, and acknowledgements if confirms, go on.
func (f *fullHTTP) goesOn(confirms bool) {
	f.t.Helper()
	a := f.do("GET", "/topics/load/messages?from=beginning", "")
	if a.status != http.StatusOK {
		f.t.Fatalf("a reader was answered %d %.200q", a.status, a.body)
	}
	f.l.judge(lines(a.body)).mustKeep(f.t)
	if !confirms {
		return
	}
	for i := range 20 {
		a := f.do("POST", "/topics/load/groups/lessees/lease?for=1h", "")
		if len(a.Messages) != 1 || a.Messages[0].Offset != int64(i) {
			f.t.Fatalf("lease %d: %d %q", i, a.status, a.body)
		}
		if a = f.do("POST", "/topics/load/groups/lessees/ack", tokensOf(a.Messages, "")); a.Applied != 1 {
			f.t.Fatalf("acknowledgement %d: %d %q", i, a.status, a.body)
		}
	}
	if a := f.do("GET", "/topics/load/messages?group=drainers&n=20", ""); len(lines(a.body)) != 20 {
		f.t.Fatalf("a drain of 20 was answered %d %.200q", a.status, a.body)
	}
}

// resumes makes space, and says that publishing goes on by itself, and, after a restart, that nothing is
// missing and nothing is there that was refused.
func (f *fullHTTP) resumes() {
	f.t.Helper()
	f.d.clear()
	await(f.t, "publishing goes on", func() bool {
		n := f.l.send("again", -1)
		a := f.do("POST", "/topics/load", f.l.message("again", n, 100))
		if a.status == http.StatusOK {
			f.l.acknowledge("again", n)
		}
		return a.status == http.StatusOK
	})
	n := f.l.send("keyed", -1)
	var first string
	for range 2 { // the key was refused when the disk was full
		a := f.do("POST", "/topics/load", f.l.message("keyed", n, 100), "Idempotency-Key", "full")
		if first == "" {
			first = a.body
		}
		if a.status != http.StatusOK || a.body != first {
			f.t.Errorf("the key that was refused: %d %q, and first %q", a.status, a.body, first)
		}
	}
	f.l.acknowledge("keyed", n)
	f.b.Restart()
	c := f.l.judge(lines(f.b.Drain("load?from=beginning")))
	report(f.t, c)
	c.mustKeep(f.t)
	if c.Duplicates > 0 || c.Acked < 1000 {
		f.t.Errorf("%+v", c)
	}
	f.l.mustAnswer(f.t, f.b)
}
