package browser

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"
)

// fill makes 30 topics, groups, one of which holds a message, and dead letters.
func (b *broker) fill() {
	b.t.Helper()
	for i := range 20 {
		b.ask("POST", fmt.Sprintf("/topics/orders?key=customer-%d&header=trace:%d", i%5, 4700+i), fmt.Sprintf(`{"order":%d,"customer":{"id":%d}}`, i, i%5))
	}
	b.publish("payments", "first payment", "second payment")
	for i := range 27 {
		b.publish(fmt.Sprintf("plant-%02d.readings", i), "19.5")
	}
	b.bury("orders", "billing", "no such customer")
	b.bury("orders", "billing", "the order has no address to which a parcel could be sent, and the customer does not answer")
	b.ask("GET", "/topics/payments/messages?group=ledger", "")
	b.hold("orders", "shipping")
}

// hold has a consumer keep the first message of a topic unacknowledged until the test ends.
func (b *broker) hold(topic, group string) {
	b.t.Helper()
	conn, err := net.Dial("tcp", b.consumers)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "%s?ack&follow&window=1&ack-timeout=1h&group=%s\n", topic, group)
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		b.t.Fatal(err)
	}
}

// A viewCase is one view of a broker with data.
type viewCase struct {
	path, name string
	texts      []string // that a user reads
	commands   []string // that the view has
	shows      []string // what the commands print that look: each command one of them
}

func views(b *broker) []viewCase {
	const message = `{"order":19,`
	nc := "nc 127.0.0.1 "
	return []viewCase{
		{"/", "topics", []string{"orders", "payments", "30 topics", "plant-26.readings"}, []string{"admin topics", nc, "curl ", "kcat -L"}, []string{"plant-26.readings"}},
		{"/ui/topics/orders", "topic", []string{"customer-1", "trace", `{"order":1,`, "billing", "shipping"}, []string{"admin topics", "admin groups", nc, "curl ", "kcat -C", "kcat -P"}, []string{message, "shipping", "billing", "20"}},
		{"/ui/groups", "groups", []string{"billing", "ledger", "shipping"}, []string{"admin groups", nc, "curl "}, []string{"ledger"}},
		{"/ui/groups/billing", "group", []string{"orders", "Nobody uses the group now"}, []string{"admin groups", nc, "curl "}, []string{"orders"}},
		{"/ui/groups/shipping", "group-in-use", []string{"orders", "127.0.0.1:", "lines"}, []string{"admin groups", nc, "curl "}, []string{"orders"}},
		{"/ui/dead", "dead-topics", []string{"orders.dlq"}, []string{"admin topics", "consumer ", nc, "curl ", "kcat -L"}, []string{"orders.dlq"}},
		{"/ui/dead/orders.dlq", "dead", []string{"no such customer", "billing", "2 letters are left"}, []string{"admin topics", "consumer ", nc, "curl ", "kcat -C"}, []string{"no such customer", "orders.dlq"}},
		{"/ui/health", "health", []string{"All is well", "synced to the disk", "Sync, p50", "Sync, p99", "Damage", "Reserve", b.http, "go1."}, []string{"curl ", "kcat -L"}, []string{`"status":"ok"`, "ok\n", "mbus_", `"protocol":`, "orders"}},
	}
}

// Each view shows real data, with no error and no foreign request, to a screen reader as well, dark and light, and
// where it is narrow.
func TestEachView(t *testing.T) {
	b := start(t)
	b.fill()
	p := open(b)
	background := make(map[string]int)
	for _, v := range views(b) {
		p.size(1200)
		p.visit(v.path)
		p.must(v.texts...)
		p.must(v.commands...)
		for _, scheme := range []string{"dark", "light"} {
			p.scheme(scheme)
			p.screenshot(v.name + "-" + scheme)
			p.checkReadable()
			background[scheme] = p.evaluate(`+getComputedStyle(document.body).backgroundColor.match(/\d+/)[0]`)
		}
		if n := p.streams.Swap(0); n != 1 {
			t.Errorf("%s has %d streams of numbers", v.path, n)
		}
		p.checkAccessible()
		p.size(400)
		p.screenshot(v.name + "-narrow")
		if n := p.evaluate(`document.documentElement.scrollWidth`); n > 400 {
			t.Errorf("%s is %d pixels wide in a window of 400", v.path, n)
		}
	}
	if background["dark"] > 60 || background["light"] < 200 {
		t.Errorf("backgrounds %v", background)
	}
}

// A view of nothing says which command comes next, and that command fills it.
func TestEmptyViews(t *testing.T) {
	b := start(t)
	p := open(b)
	for _, v := range []struct{ path, name, text, then string }{
		{"/", "topics", "There is no topic yet.", "orders"},
		{"/ui/groups", "groups", "There is no group yet.", "billing"},
		{"/ui/dead", "dead-topics", "There are no dead letters.", "orders.dlq"},
	} {
		p.visit(v.path)
		p.must(v.text)
		p.checkAccessible()
		p.checkReadable()
		p.screenshot("empty-" + v.name)
		command := p.copied(".empty .command")
		if v.then == "orders.dlq" {
			command += "; [ $? = 4 ]" // as consumer ends behind a dead letter
		}
		b.shell(command)
		p.visit(v.path)
		p.must(v.then)
	}
	p.lenient = true // the browser logs an answer of 404
	p.visit("/ui/topics/nowhere")
	p.must("GONE", "nowhere")
	p.checkAccessible()
	p.checkReadable()
}

// copied is the command that a button copies.
func (p *tab) copied(selector string) (command string) {
	p.t.Helper()
	clipboard := func(name string) chromedp.Action {
		return browser.SetPermission(&browser.PermissionDescriptor{Name: name}, browser.PermissionSettingGranted).WithOrigin("http://" + p.broker.http)
	}
	p.do(clipboard("clipboard-read"), clipboard("clipboard-write"))
	p.do(chromedp.Click(selector+" button", chromedp.ByQuery))
	p.await(fmt.Sprintf(`document.querySelector(%q).textContent === 'Copied'`, selector+" button"))
	p.do(chromedp.Evaluate(`navigator.clipboard.readText()`, &command, awaitPromise))
	return command
}

// shell runs a command until it has printed a text, or to its end if there is none to wait for. It must succeed,
// or be running still, and have printed the text.
func (b *broker) shell(command string, texts ...string) string {
	b.t.Helper()
	cmd := exec.Command("sh", "-c", command)
	cmd.Env = append(os.Environ(), "PATH="+programs+":"+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var errors strings.Builder
	cmd.Stderr = &errors
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	var got []byte
	found := false
	for !found {
		p := make([]byte, 64<<10)
		n, err := out.Read(p)
		got = append(got, p[:n]...)
		for _, text := range texts {
			found = found || strings.Contains(string(got), text)
		}
		if err != nil {
			break
		}
	}
	if found { // what follows need not end
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	if err := cmd.Wait(); !found && (err != nil || len(texts) > 0) {
		b.t.Errorf("%s: %v, and no %q in %.2000q and %.2000q", command, err, texts, got, errors.String())
	}
	return string(got)
}

// Commands of a view that look show what the view shows, and the others do what their headings say.
func TestCommandsOfEachView(t *testing.T) {
	b := start(t)
	b.fill()
	p := open(b)
	run := func(heading string, texts ...string) {
		t.Helper()
		var commands []string
		p.do(chromedp.Evaluate(fmt.Sprintf(`(() => {
			const found = [];
			let heading = '';
			for (const e of document.querySelectorAll('section[aria-labelledby=commands] :is(h3, code)'))
				if (e.tagName === 'H3') heading = e.textContent; else if (heading.startsWith(%q) || !heading && %[1]q === 'Look') found.push(e.textContent);
			return found;
		})()`, heading), &commands))
		if len(commands) == 0 {
			t.Errorf("there is no command below %q", heading)
		}
		for _, command := range commands {
			b.shell(command, texts...)
		}
	}
	for _, v := range views(b) {
		p.visit(v.path)
		run("Look", v.shows...)
	}
	p.visit("/ui/topics/orders")
	if got, want := p.copied("#commands ~ .command"), "curl -d 'first order' http://"+b.http+"/topics/orders"; got != want {
		t.Errorf("copied is %q, not %q", got, want)
	}
	run("Publish")
	if n := b.stored("orders"); n != 23 {
		t.Errorf("%d messages are stored", n)
	}
	run("Consume", "first order")
	p.visit("/ui/dead/orders.dlq")
	run("Redrive")
	p.visit("/ui/dead/orders.dlq")
	p.must("No letter is left")
	b.bury("orders", "mail", "no address")
	p.visit("/ui/dead/orders.dlq")
	p.must("1 letter is left")
	run("Discard", `"executed":true`)
	p.visit("/ui/dead/orders.dlq")
	p.must("No letter is left")
	p.visit("/ui/groups/billing")
	run("Preview a reset", "orders")
}
