package browser

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// choose selects letters by their offsets, and opens a preview.
func (p *tab) choose(button string, offsets ...int) {
	p.t.Helper()
	for _, o := range offsets {
		p.do(chromedp.Click(fmt.Sprintf(`input[value="0:%d"]`, o), chromedp.ByQuery))
	}
	p.submit(button)
}

const (
	redrive = "form[action$='/redrive'] button:not(.danger)"
	discard = "form[action$='/redrive'] button.danger"
)

// Dead letters show why they are there. Some, one or all of them go back, or are discarded.
func TestDeadLetters(t *testing.T) {
	b := start(t)
	for i := range 7 {
		b.publish("orders", fmt.Sprint("poison ", i))
	}
	for i := range 7 {
		b.bury("orders", "billing", fmt.Sprint("customer ", i, " is unknown"))
	}
	gets := func(group string, want ...string) {
		t.Helper()
		if got := strings.Fields(strings.ReplaceAll(b.ask("GET", "/topics/orders/messages?group="+group, ""), "poison ", "")); strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("group %s gets %q, not %q", group, got, want)
		}
	}
	gets("other", "0", "1", "2", "3", "4", "5", "6")
	p := open(b)
	p.visit("/ui/dead/orders.dlq")
	p.must("7 letters are left", "customer 0 is unknown", "customer 6 is unknown", "billing", "poison 3")
	p.choose(redrive, 1, 3)
	p.must("2 selected letters", "the group that failed each of them")
	p.checkAccessible()
	p.confirm(p.asked())
	p.must("Redriven: 2.", "5 letters are left")
	gets("billing", "1", "3")
	p.fill("#n", "1") // the oldest
	p.choose(redrive)
	p.confirm(p.asked())
	p.must("4 letters are left")
	gets("billing", "0")
	p.choose(discard, 5)
	p.must("the letter at 0:5", "Discarded letters count as consumed")
	p.confirm("orders") // not the name of the topic of the letters
	p.must("Nothing has been changed")
	p.fill("#confirm", "orders.dlq")
	p.submit("button.danger")
	p.must("Discarded: 1.", "3 letters are left")
	p.do(chromedp.SetValue("#to", "all", chromedp.ByQuery))
	p.choose(redrive)
	p.must("all that are left: 3", "the topic, for all groups")
	p.confirm(p.asked())
	p.must("Redriven: 3.", "No letter is left")
	gets("billing", "2", "4", "6")
	gets("other", "2", "4", "6")
	b.publish("orders", "poison 7", "poison 8")
	b.bury("orders", "billing", "still unknown")
	b.bury("orders", "billing", "still unknown")
	p.visit("/ui/dead/orders.dlq")
	p.choose(discard)
	p.must("all that are left: 2")
	p.confirm(p.asked())
	p.must("Discarded: 2.", "No letter is left")
	gets("billing")
}

// A topic is made, configured, gets partitions, and is deleted. Each change but the first asks for its name, and an
// open view of it says that it is gone.
func TestTopicIsMadeChangedAndDeleted(t *testing.T) {
	b := start(t)
	p := open(b)
	p.visit("/")
	p.fill("#topic", "parcels")
	p.fill("#partitions", "2")
	p.submit("form[action='/ui/create'] button")
	p.must(`Topic "parcels" was created.`, "2 partitions")
	change := func(form, field, text string) {
		t.Helper()
		p.do(chromedp.Evaluate(`document.querySelectorAll('details').forEach((d) => { d.open = true; })`, nil))
		if field != "" {
			p.fill(field, text)
		}
		p.submit("form[action$='/" + form + "'] button")
	}
	change("configure", "#retention", "7d")
	p.must("retention.ms", "604800000")
	p.confirm("parcels")
	p.must("The configuration was changed.", "604800000 (7d)")
	change("grow", "#total", "3")
	p.must("Partitions can't be removed")
	p.confirm("parcels")
	p.must("The topic has 3 partitions.")
	if got := b.ask("GET", "/topics/parcels", ""); !strings.Contains(got, `"retention.ms":"604800000"`) || strings.Count(got, `"partition":`) != 3 {
		t.Errorf("the topic is %s", got)
	}
	b.publish("parcels", "a box")
	open2 := open(b)
	open2.visit("/ui/topics/parcels")
	open2.await(`document.getElementById('state').textContent === 'live'`)
	change("delete", "", "")
	p.must("are removed for good", "admin delete")
	p.confirm("orders")
	p.must("Nothing has been changed")
	b.ask("GET", "/topics/parcels", "")
	p.fill("#confirm", "parcels")
	p.submit("button.danger")
	p.must(`Topic "parcels" was deleted.`, "There is no topic yet")
	if got := b.ask("GET", "/topics", ""); strings.Contains(got, "parcels") {
		t.Errorf("the topics are %s", got)
	}
	open2.await(`document.getElementById('state').textContent === 'deleted'`)
}

// A user without a mouse gets past the navigation, sees where the focus is, and publishes.
func TestKeyboardPublishes(t *testing.T) {
	b := start(t)
	b.publish("orders", "before")
	p := open(b)
	p.visit("/ui/topics/orders")
	p.keys(kb.Tab, `document.activeElement.className === 'skip' && document.activeElement.getBoundingClientRect().left >= 0`)
	p.keys(kb.Enter, `location.hash === '#main'`)
	p.keys(kb.Tab, `document.querySelector('main').contains(document.activeElement)`)
	p.keys(kb.Tab, `document.activeElement.id === 'value' && getComputedStyle(document.activeElement).outlineStyle !== 'none'`)
	p.do(chromedp.KeyEvent("typed by hand"))
	p.keys(kb.Tab, `document.activeElement.id === 'key'`)
	p.do(chromedp.KeyEvent("customer-7"))
	p.keys(kb.Tab, `document.activeElement.textContent === 'Publish'`)
	p.do(chromedp.Evaluate(`window.before = true`, nil), chromedp.KeyEvent(kb.Enter))
	p.next("Enter")
	p.must("Published: partition 0, offset 1.", "typed by hand")
	if got := b.ask("GET", "/topics/orders/messages?from=1&format=json", ""); !strings.Contains(got, `"key":"customer-7","payload":"typed by hand"`) {
		t.Errorf("stored is %s", got)
	}
}

// Each view is complete where scripts don't run, and a form works.
func TestWithoutScripts(t *testing.T) {
	b := start(t)
	b.fill()
	p := open(b)
	p.do(emulation.SetScriptExecutionDisabled(true))
	for _, v := range views(b) {
		p.visit(v.path)
		p.must(v.texts...)
		p.must(v.commands...)
		if n := p.evaluate(`[...document.querySelectorAll('button')].filter((b) => b.checkVisibility() && !b.closest('form')).length`); n != 0 {
			t.Errorf("%s has %d buttons that do nothing", v.path, n)
		}
	}
	p.visit("/ui/topics/orders")
	p.fill("form.publish textarea#value", "without scripts")
	p.do(chromedp.Submit("form.publish", chromedp.ByQuery), chromedp.WaitVisible("p.done", chromedp.ByQuery))
	p.must("Published: partition 0", "without scripts")
	p.screenshot("topic-without-scripts")
}
