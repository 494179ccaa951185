package browser

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
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

// submit clicks a button of a form, and waits for the view that follows. Calls of the time between the views fail.
func (p *tab) submit(selector string) {
	p.t.Helper()
	p.do(chromedp.WaitVisible(selector, chromedp.ByQuery), chromedp.Evaluate(fmt.Sprintf(`window.before = true; setTimeout(() => document.querySelector(%q).click()); 0`, selector), nil))
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		follows := false
		err := chromedp.Run(p.ctx, chromedp.Evaluate(`!window.before && document.readyState === 'complete'`, &follows))
		if err == nil && follows {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("no view follows %s: %v", selector, err)
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

// scheme has the page be light or dark.
func (p *tab) scheme(name string) {
	p.t.Helper()
	p.do(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}))
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
		switch role {
		case "RootWebArea", "button", "link", "textbox", "searchbox", "spinbutton", "combobox", "checkbox", "table", "img", "image", "navigation", "region", "log", "heading", "columnheader":
			if strings.TrimSpace(name) == "" {
				p.t.Errorf("a %s has no name: %v", role, n.BackendDOMNodeID)
			}
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
	if count["navigation"] == 0 || count["link"] == 0 {
		p.t.Errorf("the page has no navigation: %v", count)
	}
}

func unquote(v *accessibility.Value) string {
	if v == nil {
		return ""
	}
	return strings.Trim(string(v.Value), `"`)
}
