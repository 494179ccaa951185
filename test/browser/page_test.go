package browser

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// The numbers of a view go on by themselves.
func TestNumbersGoOn(t *testing.T) {
	b := start(t)
	b.publish("orders", "first order")
	p := open(b)
	p.visit("/")
	p.await(`document.getElementById('state').textContent.startsWith('live')`)
	b.publish("orders", "second order", "third order")
	p.await(`[...document.querySelectorAll('tr[data-key=orders] td')].some((td) => td.textContent === '3')`)
}

// The live tail shows all that is published, under load, stops for a pause, and shows the rest behind it.
func TestLiveTail(t *testing.T) {
	b := start(t)
	b.publish("orders", "before")
	p := open(b)
	p.visit("/ui/topics/orders")
	p.do(chromedp.Click("#follow", chromedp.ByQuery))
	p.await(`document.getElementById('tailstate').textContent.includes('shown')`)
	const n = 300
	lines := func(from, to int) string {
		var all strings.Builder
		for i := from; i < to; i++ {
			fmt.Fprintf(&all, "order %d\n", i)
		}
		return all.String()
	}
	b.publishLines("orders", lines(0, n))
	p.await(fmt.Sprintf(`document.querySelectorAll('#live article').length === %d`, n))
	if first, last := p.evaluate(`+document.querySelector('#live article .value').textContent.split(' ')[1]`), p.evaluate(`+document.querySelector('#live article:last-child .value').textContent.split(' ')[1]`); first != 0 || last != n-1 {
		t.Errorf("the tail goes from %d to %d", first, last)
	}
	p.do(chromedp.Click("#pause", chromedp.ByQuery))
	b.publishLines("orders", lines(n, n+10))
	p.await(`document.getElementById('tailstate').textContent.includes('10 waiting')`)
	if got := p.evaluate(`document.querySelectorAll('#live article').length`); got != n {
		t.Errorf("%d messages are shown during the pause", got)
	}
	p.screenshot("tail")
	p.do(chromedp.Click("#pause", chromedp.ByQuery))
	p.await(fmt.Sprintf(`document.querySelectorAll('#live article').length === %d`, n+10))
}

// A message of the publish box has its key and headers.
func TestPublish(t *testing.T) {
	b := start(t)
	b.publish("orders", "before")
	p := open(b)
	p.visit("/ui/topics/orders")
	p.fill("form.publish textarea#value", "from a browser")
	p.fill("form.publish #key", "customer-7")
	p.fill("form.publish #headers", "trace: 4711")
	p.submit("form.publish button")
	p.must("from a browser", "customer-7", "4711")
	if got := b.ask("GET", "/topics/orders/messages?from=1&format=json", ""); !strings.Contains(got, `"from a browser"`) || !strings.Contains(got, `"customer-7"`) || !strings.Contains(got, `"4711"`) {
		t.Errorf("stored is %s", got)
	}
	p.fill("form.publish textarea#value", "for tomorrow")
	p.fill("form.publish #delay", "1d")
	p.submit("form.publish button")
	p.must("Published: it is delivered at")
	if got := p.evaluate(`+document.querySelector('[data-col=delayed]').textContent`); got != 1 || b.stored("orders") != 2 {
		t.Errorf("%d messages are delayed", got)
	}
}

// confirm types the name that a preview asks for.
func (p *tab) confirm(name string) {
	p.t.Helper()
	p.must("Nothing has been changed yet")
	p.fill("#confirm", name)
	p.submit("button.danger")
}

// A group is reset behind a preview, and with its name only.
func TestReset(t *testing.T) {
	b := start(t)
	b.publish("orders", "first", "second", "third")
	if got := b.ask("GET", "/topics/orders/messages?group=billing", ""); strings.Count(got, "\n") != 3 {
		t.Fatalf("got %q", got)
	}
	p := open(b)
	preview := func() {
		p.visit("/ui/groups/billing")
		p.do(chromedp.Click("details summary", chromedp.ByQuery))
		p.fill("#to", "beginning")
		p.submit("form[action$='/reset'] button")
	}
	preview()
	p.screenshot("reset")
	p.checkAccessible()
	p.lenient = true // the browser logs the refusal
	p.confirm("another")
	if got := b.ask("GET", "/topics/orders/messages?group=billing", ""); got != "" {
		t.Errorf("the preview, or another name, reset the group: %q", got)
	}
	p.lenient = false
	preview()
	p.confirm(p.asked())
	if got := b.ask("GET", "/topics/orders/messages?group=billing", ""); strings.Count(got, "\n") != 3 {
		t.Errorf("behind the reset the group gets %q", got)
	}
}

// asked is the name that a preview asks for.
func (p *tab) asked() (name string) {
	p.t.Helper()
	p.do(chromedp.Text("label[for=confirm] .name", &name, chromedp.ByQuery))
	return name
}
