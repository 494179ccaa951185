package browser

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"
)

// at is the time of a message of the topic "readings".
func at(i int) string {
	return time.Date(2026, 3, 1, 8, i, 0, 0, time.UTC).Format(time.RFC3339)
}

// readings publishes n messages, one a minute, with keys, headers and JSON fields.
func (b *broker) readings(n int) {
	b.t.Helper()
	for i := range n {
		b.ask("POST", fmt.Sprintf("/topics/readings?key=room-%d&header=sensor:s%d&header=unit:C&time=%s", i%7, i%11, at(i)), fmt.Sprintf(`{"n":%d,"place":{"floor":"f%d"},"tags":["a%d","b"]}`, i, i%3, i))
	}
}

// offsets are those of the stored messages that the page shows.
func (p *tab) offsets() (all []string) {
	p.t.Helper()
	p.do(chromedp.Evaluate(`[...document.querySelectorAll('#stored article')].map((a) => a.dataset.place.split(':')[1])`, &all))
	return all
}

// look fills in the form above the messages, and sends it.
func (p *tab) look(from, find, in, name string) {
	p.t.Helper()
	if in == "" {
		in = "any"
	}
	for field, text := range map[string]string{"from": from, "find": find, "in": in, "name": name} {
		p.do(chromedp.Evaluate(fmt.Sprintf(`document.querySelector('form.browse #%s').value = %q; 0`, field, text), nil))
	}
	p.submit("form.browse button")
}

// Messages are found by their text, key, header or JSON field, and are shown from an offset or a time on.
func TestSearchAndGoTo(t *testing.T) {
	b := start(t)
	const n = 120
	b.readings(n)
	where := func(holds func(i int) bool) (all []string) {
		for i := range n {
			if holds(i) && len(all) < 50 {
				all = append(all, fmt.Sprint(i))
			}
		}
		return all
	}
	from := func(first int) []string { return where(func(i int) bool { return i >= first }) }
	p := open(b)
	p.visit("/ui/topics/readings")
	for _, c := range []struct {
		from, find, in, name string
		want                 []string
	}{
		{find: `"n":77,`, want: []string{"77"}},
		{find: "room-3", want: where(func(i int) bool { return i%7 == 3 })},
		{find: "room-3", in: "key", want: where(func(i int) bool { return i%7 == 3 })},
		{find: "room-3", in: "value"},
		{find: "s5", in: "header", name: "sensor", want: where(func(i int) bool { return i%11 == 5 })},
		{find: "s5", in: "header", name: "unit"},
		{find: "f2", in: "json", name: "place.floor", want: where(func(i int) bool { return i%3 == 2 })},
		{find: "a42", in: "json", name: "tags.0", want: []string{"42"}},
		{find: "f2", in: "json", name: "place.none"},
		{from: "100", find: "f2", in: "json", name: "place.floor", want: where(func(i int) bool { return i >= 100 && i%3 == 2 })},
		{from: "beginning", want: from(0)},
		{from: "64", want: from(64)},
		{from: "-5", want: from(n - 5)},
		{from: at(90), want: from(90)},
		{from: "2026-03-01 09:45:30", want: from(106)}, // behind message 105
		{want: from(n - 50)},
	} {
		p.look(c.from, c.find, c.in, c.name)
		if got := p.offsets(); !slices.Equal(got, c.want) {
			t.Errorf("%q in %q %q from %q: %v, not %v", c.find, c.in, c.name, c.from, got, c.want)
		}
		if c.find != "" && c.want == nil {
			p.must("Nothing was found among 120 messages")
		}
	}
	p.look("beginning", "", "", "")
	p.follow("Next")
	if got := p.offsets(); !slices.Equal(got, from(50)) {
		t.Errorf("the next page has %v", got)
	}
	p.follow("Before")
	if got := p.offsets(); !slices.Equal(got, from(0)) {
		t.Errorf("the page before has %v", got)
	}
	if got := b.ask("GET", "/topics/readings/messages?n=1&format=json", ""); !strings.Contains(got, `"offset":0,`) {
		t.Errorf("looking has consumed; the group default gets %s", got)
	}
}

// follow clicks a link below the messages.
func (p *tab) follow(text string) {
	p.t.Helper()
	p.do(chromedp.Evaluate(fmt.Sprintf(`[...document.querySelectorAll('nav.pages a')].find((a) => a.textContent === %q).id = 'link'; 0`, text), nil))
	p.submit("#link")
}

// All messages of a topic are a file that a browser saves, and nothing is consumed.
func TestDownload(t *testing.T) {
	b := start(t)
	b.readings(60)
	p := open(b)
	dir := t.TempDir()
	saved := make(chan string, 2)
	chromedp.ListenTarget(p.ctx, func(event any) {
		if e, ok := event.(*browser.EventDownloadProgress); ok && e.State == browser.DownloadProgressStateCompleted {
			saved <- e.GUID
		}
	})
	p.do(browser.SetDownloadBehavior(browser.SetDownloadBehaviorBehaviorAllowAndName).WithDownloadPath(dir).WithEventsEnabled(true))
	p.visit("/ui/topics/readings?from=40")
	for text, query := range map[string]string{"Download all as NDJSON": "from=beginning", "Download from here": "from=40"} {
		p.do(chromedp.Evaluate(fmt.Sprintf(`[...document.querySelectorAll('nav.pages a')].find((a) => a.textContent === %q).click(); 0`, text), nil))
		select {
		case name := <-saved:
			got, err := os.ReadFile(filepath.Join(dir, name))
			if want := b.ask("GET", "/topics/readings/messages?format=json&"+query, ""); err != nil || string(got) != want {
				t.Errorf("%s: saved are %d bytes, not %d, %v", text, len(got), len(want), err)
			}
		case <-time.After(patience):
			t.Fatalf("%s: nothing is saved", text)
		}
	}
	if got := b.ask("GET", "/topics/readings/messages", ""); strings.Count(got, "\n") != 60 {
		t.Errorf("behind the download the group default gets %q", got)
	}
}

// A link that someone opens, or an address that is typed, does not consume.
func TestNavigationDoesNotConsume(t *testing.T) {
	b := start(t)
	b.publish("orders", "first order", "second order")
	p := open(b)
	p.lenient = true // the browser logs the refusal
	for _, query := range []string{"", "?group=default&follow", "?n=1"} {
		p.do(chromedp.Navigate("http://" + b.http + "/topics/orders/messages" + query))
		p.must("DENIED", "with from=beginning they are shown")
	}
	p.lenient = false
	p.faults = nil
	p.do(chromedp.Navigate("http://" + b.http + "/topics/orders/messages?from=beginning"))
	p.must("first order", "second order")
	if got := b.ask("GET", "/topics/orders/messages", ""); got != "first order\nsecond order\n" {
		t.Errorf("behind the navigation the group default gets %q", got)
	}
}

// The tail shows what matches, of everything that is published while it is busy.
func TestLiveTailUnderLoad(t *testing.T) {
	b := start(t)
	b.publish("orders", "before")
	p := open(b)
	p.visit("/ui/topics/orders")
	p.fill("form.browse #find", "gold")
	p.do(chromedp.Click("#follow", chromedp.ByQuery))
	p.await(`document.getElementById('tailstate').textContent.includes('shown')`)
	const n, each = 10_000, 100
	publish := func(from int) {
		var all strings.Builder
		for i := from; i < from+n; i++ {
			fmt.Fprintf(&all, "order %d%s\n", i, map[bool]string{true: " gold"}[i%each == 0])
		}
		b.publishLines("orders", all.String())
	}
	shows := func(most int) {
		t.Helper()
		var got []string
		p.do(chromedp.Evaluate(`[...document.querySelectorAll('#live .value')].map((v) => v.textContent)`, &got))
		var want []string
		for i := 0; i < most; i += each {
			want = append(want, fmt.Sprintf("order %d gold", i))
		}
		if !slices.Equal(got, want) {
			t.Errorf("the tail shows %d messages, not %d: %.300q", len(got), len(want), got)
		}
	}
	publish(0)
	p.await(fmt.Sprintf(`document.getElementById('tailstate').textContent === '%d shown, 9,900 do not match'`, n/each))
	shows(n)
	p.do(chromedp.Click("#pause", chromedp.ByQuery))
	publish(n)
	p.await(fmt.Sprintf(`document.getElementById('tailstate').textContent === 'paused, %d waiting, 19,800 do not match'`, n/each))
	shows(n)
	p.do(chromedp.Click("#pause", chromedp.ByQuery))
	p.await(fmt.Sprintf(`document.querySelectorAll('#live article').length === %d`, 2*n/each))
	shows(2 * n)
	p.do(chromedp.Evaluate(`document.getElementById('find').value = ''; 0`, nil), chromedp.Click("#clear", chromedp.ByQuery))
	publish(2 * n) // what is not shown for longer than a moment is counted
	p.await(fmt.Sprintf(`document.querySelector('#live article:last-child .value')?.textContent === 'order %d'`, 3*n-1))
	count := `[...document.getElementById('tailstate').textContent.replaceAll(',', '').matchAll(/\d+/g)].reduce((sum, m) => sum + +m[0], 0)`
	if shown, counted := p.evaluate(`document.querySelectorAll('#live article').length`), p.evaluate(count); shown != 500 || counted != n {
		t.Errorf("%d messages are shown and %d counted", shown, counted)
	}
}

// keys presses a key until a condition, in JavaScript, holds.
func (p *tab) keys(key, until string) {
	p.t.Helper()
	for range 200 {
		p.do(chromedp.KeyEvent(key))
		holds := false
		p.do(chromedp.Evaluate(until, &holds))
		if holds {
			return
		}
	}
	p.t.Fatalf("no press of %q leads to %s", key, until)
}
