package browser

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// A tab shows pages. All that a page must not do fails the test: errors in its scripts, what its
// policy forbids, dialogs, and requests to others than its broker.
type tab struct {
	t      *testing.T
	ctx    context.Context
	broker *broker

	streams atomic.Int64 // of numbers that pages have asked for

	mu      sync.Mutex // guards what follows
	faults  []string
	lenient bool // faults don't matter
}

func open(b *broker) *tab {
	b.t.Helper()
	ctx, cancel := chromedp.NewContext(chrome)
	b.t.Cleanup(cancel)
	ctx, stop := context.WithTimeout(ctx, 5*patience)
	b.t.Cleanup(stop)
	p := &tab{t: b.t, ctx: ctx, broker: b}
	if err := chromedp.Run(ctx); err != nil { // the tab lives as long as the context of its first run
		b.t.Fatal(err)
	}
	chromedp.ListenTarget(ctx, p.hear)
	p.do(network.Enable(), log.Enable(), runtime.Enable(), page.Enable(), page.BringToFront(), emulation.SetFocusEmulationEnabled(true), chromedp.EmulateViewport(1200, 900))
	return p
}

// hear notes what must not happen.
func (p *tab) hear(event any) {
	fault := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		fault = "exception: " + e.ExceptionDetails.Error()
	case *log.EventEntryAdded:
		if e.Entry.Level == log.LevelError || e.Entry.Source == log.SourceSecurity {
			fault = "log: " + e.Entry.Text + " " + e.Entry.URL
		}
	case *page.EventJavascriptDialogOpening:
		fault = "dialog: " + e.Message
		go func() { _ = chromedp.Run(p.ctx, page.HandleJavaScriptDialog(false)) }()
	case *network.EventRequestWillBeSent:
		if strings.Contains(e.Request.URL, "/ui/numbers") {
			p.streams.Add(1)
		}
		if url := e.Request.URL; !strings.HasPrefix(url, "http://"+p.broker.http+"/") && !strings.HasPrefix(url, "data:") {
			fault = "request to " + url
		}
	}
	if fault == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, fault)
}

// do runs actions, and fails the test if the page has done what it must not.
func (p *tab) do(actions ...chromedp.Action) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Run(ctx, actions...); err != nil {
		var text string
		_ = chromedp.Run(p.ctx, chromedp.Evaluate(`location.href + '\n' + document.body.innerText`, &text))
		p.t.Fatalf("%v; the page is\n%.3000s", err, text)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.faults) > 0 && !p.lenient {
		p.t.Errorf("the page did what it must not: %q", p.faults)
		p.faults = nil
	}
}

// visit shows a view.
func (p *tab) visit(path string) {
	p.t.Helper()
	p.do(chromedp.Navigate("http://"+p.broker.http+path), chromedp.WaitVisible("main h1", chromedp.ByQuery))
}

// await waits until a condition, in JavaScript, holds.
func (p *tab) await(condition string) {
	p.t.Helper()
	p.do(chromedp.Poll(condition, nil, chromedp.WithPollingInterval(20*time.Millisecond), chromedp.WithPollingTimeout(patience)))
}

// fill types into an empty field as a user does.
func (p *tab) fill(selector, text string) {
	p.t.Helper()
	p.do(chromedp.WaitVisible(selector, chromedp.ByQuery), chromedp.SendKeys(selector, text, chromedp.ByQuery))
}

// submit clicks a button of a form, and waits for the view that follows.
func (p *tab) submit(selector string) {
	p.t.Helper()
	p.do(chromedp.WaitVisible(selector, chromedp.ByQuery), chromedp.Evaluate(fmt.Sprintf(`window.before = true; setTimeout(() => document.querySelector(%q).click()); 0`, selector), nil))
	p.next(selector)
}

// next waits for the view that follows one in which window.before is set. Calls of the time between fail.
func (p *tab) next(action string) {
	p.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		follows := false
		err := chromedp.Run(p.ctx, chromedp.Evaluate(`!window.before && document.readyState === 'complete'`, &follows))
		if err == nil && follows {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("no view follows %s: %v", action, err)
		}
	}
}

// text is what a user reads.
func (p *tab) text() (text string) {
	p.t.Helper()
	p.do(chromedp.Evaluate(`document.body.innerText`, &text))
	return text
}

// evaluate is a number that JavaScript computes.
func (p *tab) evaluate(expression string) (n int) {
	p.t.Helper()
	p.do(chromedp.Evaluate(expression, &n))
	return n
}

// must fails the test unless the page has some texts.
func (p *tab) must(texts ...string) {
	p.t.Helper()
	all := p.text()
	for _, text := range texts {
		if !strings.Contains(all, text) {
			p.t.Errorf("the page has no %q:\n%.3000s", text, all)
		}
	}
}

// screenshot keeps what the page looks like, and returns it.
func (p *tab) screenshot(name string) []byte {
	p.t.Helper()
	const dir = "../../build/screenshots"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		p.t.Fatal(err)
	}
	var picture []byte
	p.do(chromedp.CaptureScreenshot(&picture))
	if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644); err != nil {
		p.t.Fatal(err)
	}
	return picture
}

// scheme has the page be light or dark, at once.
func (p *tab) scheme(name string) {
	p.t.Helper()
	p.do(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}, {Name: "prefers-reduced-motion", Value: "reduce"}}))
}

// checkAccessible checks what a screen reader gets: a title, the language, landmarks, one heading of the first
// level, and a name for each control, table, picture and landmark that needs one.
func (p *tab) checkAccessible() {
	p.t.Helper()
	var nodes []*accessibility.Node
	var language string
	p.do(chromedp.Evaluate(`document.documentElement.lang`, &language), chromedp.ActionFunc(func(ctx context.Context) (err error) {
		nodes, err = accessibility.GetFullAXTree().Do(ctx)
		return err
	}))
	if language == "" {
		p.t.Error("the page has no language")
	}
	count := make(map[string]int)
	for _, n := range nodes {
		if n.Ignored || n.Role == nil {
			continue
		}
		role, name := unquote(n.Role), unquote(n.Name)
		count[role]++
		needsName := isFocusable(n) // as all controls are
		switch role {
		case "RootWebArea", "table", "img", "image", "navigation", "region", "log", "heading", "columnheader":
			needsName = true
		}
		if needsName && strings.TrimSpace(name) == "" {
			p.t.Errorf("a %s has no name: %v", role, n.BackendDOMNodeID)
		}
		if role == "heading" {
			for _, property := range n.Properties {
				if property.Name == accessibility.PropertyNameLevel && string(property.Value.Value) == "1" {
					count["h1"]++
				}
			}
		}
	}
	for role, n := range map[string]int{"main": 1, "banner": 1, "contentinfo": 1, "h1": 1} {
		if count[role] != n {
			p.t.Errorf("the page has %d of %s, not %d: %v", count[role], role, n, count)
		}
	}
	var wrong []string
	if p.do(chromedp.Evaluate(structure, &wrong)); len(wrong) > 0 {
		p.t.Errorf("the page has %q", wrong)
	}
	if count["navigation"] == 0 || count["link"] == 0 {
		p.t.Errorf("the page has no navigation: %v", count)
	}
}

func isFocusable(n *accessibility.Node) bool {
	return slices.ContainsFunc(n.Properties, func(property *accessibility.Property) bool {
		return property.Name == accessibility.PropertyNameFocusable && string(property.Value.Value) == "true"
	})
}

// structure finds headings that leave out a level, tables without headers, and fields without a label.
const structure = `(() => {
	const wrong = [];
	let level = 0;
	for (const h of document.querySelectorAll('h1, h2, h3, h4, h5, h6')) {
		if (+h.tagName[1] > level + 1) wrong.push('heading ' + h.textContent + ' follows level ' + level);
		level = +h.tagName[1];
	}
	for (const t of document.querySelectorAll('table')) {
		if (!t.caption || !t.caption.textContent.trim()) wrong.push('table without a caption');
		for (const c of t.tHead ? t.tHead.rows[0].cells : [t]) if (c.scope !== 'col') wrong.push('column without a header: ' + c.textContent);
		for (const r of t.tBodies[0].rows) if (r.cells.length !== t.tHead.rows[0].cells.length) wrong.push('row without a column: ' + r.textContent);
	}
	return wrong;
})()`

// contrasts finds texts that are too weak on their background, by WCAG 2.2, 1.4.3.
const contrasts = `(() => {
	const rgb = (text) => text.match(/[\d.]+/g).map(Number);
	const light = (c) => c.slice(0, 3).map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
	const behind = (e) => {
		for (; e; e = e.parentElement) {
			const c = rgb(getComputedStyle(e).backgroundColor);
			if (c.length === 3 || c[3] > 0) return c;
		}
		return [255, 255, 255];
	};
	const weak = [];
	const check = (e, color) => {
		const [a, b] = [light(rgb(color)), light(behind(e))];
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (ratio < 4.5) weak.push(ratio.toFixed(1) + ': ' + (e.textContent || e.placeholder).slice(0, 40));
	};
	for (const e of document.body.querySelectorAll('*')) {
		if (!e.checkVisibility() || e.disabled) continue;
		if ([...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) check(e, getComputedStyle(e).color);
		if (e.placeholder) check(e, getComputedStyle(e, '::placeholder').color);
	}
	return weak;
})()`

// checkReadable checks that all text stands out from its background.
func (p *tab) checkReadable() {
	p.t.Helper()
	var weak []string
	if p.do(chromedp.Evaluate(contrasts, &weak)); len(weak) > 0 {
		p.t.Errorf("texts are weak: %q", weak)
	}
}

// size sets how wide the window is, in pixels.
func (p *tab) size(width int64) {
	p.t.Helper()
	p.do(chromedp.EmulateViewport(width, 900))
}

func unquote(v *accessibility.Value) string {
	if v == nil {
		return ""
	}
	return strings.Trim(string(v.Value), `"`)
}

// awaitPromise has an expression be what its promise gives.
func awaitPromise(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }
