package browser

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// publishLines publishes lines by the line protocol.
func (b *broker) publishLines(topic, lines string) {
	b.t.Helper()
	conn, err := net.Dial("tcp", b.producers)
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, topic+"\n"+lines); err != nil {
		b.t.Fatal(err)
	}
	_ = conn.(*net.TCPConn).CloseWrite()
	if answer, err := io.ReadAll(conn); err != nil || strings.Contains(string(answer), "-") {
		b.t.Fatalf("%q, %v", answer, err)
	}
}

// A page of another site can't publish, consume, or read, whichever way a browser offers.
func TestAnotherSiteCanDoNothing(t *testing.T) {
	b := start(t)
	b.publish("orders", "secret")
	attacker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!DOCTYPE html><title>attack</title><h1>attack</h1><iframe name="f"></iframe>
<form id="form" method="post" enctype="text/plain" target="f" action="%[1]s/topics/orders"><input name="x" value="forged"></form>
<form id="page" method="post" target="f" action="%[1]s/ui/topics/orders/publish"><input name="value" value="forged"></form>
<script>
const bus = %[1]q;
window.read = '';
const attempts = [
  ['POST', {}], ['PUT', {}], ['POST', {mode: 'no-cors'}], ['POST', {mode: 'no-cors', credentials: 'include', referrerPolicy: 'no-referrer'}],
].map(([method, o]) => fetch(bus + '/topics/orders', {method, body: 'forged', ...o}));
for (const mode of ['cors', 'no-cors'])
  attempts.push(fetch(bus + '/topics/orders/messages', {mode}).then((r) => r.text()).then((text) => { window.read += text; }));
attempts.push(fetch(bus + '/topics/orders/messages?from=beginning').then((r) => r.text()).then((text) => { window.read += text; }));
for (const group of ['img', 'script', 'iframe', 'embed']) {
  const e = document.createElement(group);
  attempts.push(new Promise((done) => { e.onload = e.onerror = done; }));
  e.src = bus + '/topics/orders/messages?group=' + group;
  document.body.append(e);
}
attempts.push(new Promise((done) => { const s = new EventSource(bus + '/topics/orders/messages?group=events&follow'); s.onerror = done; s.onmessage = (e) => { window.read += e.data; done(); }; }));
navigator.sendBeacon(bus + '/topics/orders', 'forged');
document.getElementById('form').submit();
attempts.push(new Promise((done) => { document.querySelector('iframe[name=f]').onload = () => { document.getElementById('page').submit(); document.querySelector('iframe[name=f]').onload = done; }; }));
Promise.allSettled(attempts).then(() => { window.over = true; });
</script>`, "http://"+b.http)
	}))
	defer attacker.Close()
	p := open(b)
	p.lenient = true // the browser logs what it and the broker refuse
	for _, site := range []string{attacker.URL, strings.Replace(attacker.URL, "127.0.0.1", "localhost", 1)} {
		p.do(chromedp.Navigate(site))
		p.await(`window.over === true`)
		var read string
		p.do(chromedp.Evaluate(`window.read`, &read))
		if read != "" {
			t.Errorf("the page of %s read %q", site, read)
		}
	}
	if n := b.stored("orders"); n != 1 {
		t.Errorf("%d messages are stored", n)
	}
	for _, group := range []string{"default", "img", "script", "iframe", "embed", "events"} {
		if got := b.ask("GET", "/topics/orders/messages?group="+group, ""); got != "secret\n" {
			t.Errorf("group %s gets %q after the attack", group, got)
		}
	}
}

// payloads are run by a page that takes text for markup, wherever it puts them.
var payloads = []string{
	`<script>window.pwned=1;alert(1)</script>`, `<img src=x onerror="window.pwned=1;alert(2)">`, `"><svg onload="window.pwned=1">`,
	`' onmouseover='window.pwned=1' autofocus onfocus='window.pwned=1'`, `</pre></title></textarea><script>window.pwned=1</script>`,
	`javascript:window.pwned=1`, `{{.}}${window.pwned=1}`, `<a href="javascript:window.pwned=1" id=pwned>x</a>`, `<meta http-equiv=refresh content="0;url=//attacker.example">`,
}

// What messages hold is shown as text, wherever it comes from.
func TestMarkupIsShownAsText(t *testing.T) {
	b := start(t)
	p := open(b)
	for i, s := range payloads {
		query := url.Values{"key": {s}, "header": {fmt.Sprintf("h%d:%s", i, s), s + "x:1"}}
		if strings.Contains(s, ":") {
			query["header"] = query["header"][:1]
		}
		b.ask("POST", "/topics/hostile?"+query.Encode(), s)
	}
	for i, s := range payloads {
		topic := fmt.Sprintf("failing%d", i)
		b.publish(topic, s)
		b.bury(topic, "billing", s)
		p.visit("/ui/dead/" + topic + ".dlq")
		p.must(s)
		p.harmless(s)
	}
	p.visit("/ui/topics/hostile")
	p.must(payloads...)
	p.harmless("messages")
	p.do(chromedp.Click("#follow", chromedp.ByQuery))
	p.await(`document.getElementById('tailstate').textContent.includes('shown')`)
	for _, s := range payloads {
		b.ask("POST", "/topics/hostile?"+url.Values{"key": {s}, "header": {"h:" + s}}.Encode(), s)
	}
	p.await(fmt.Sprintf(`document.querySelectorAll('#live article').length === %d`, len(payloads)))
	p.must(payloads...)
	p.harmless("the live tail")
	for _, path := range []string{"/?match=", "/?after=", "/?done=", "/ui/groups?match=", "/ui/topics/hostile?in=json&find=x&name=", "/ui/topics/hostile?find=", "/ui/topics/hostile?done="} {
		for _, s := range payloads {
			p.lenient = true // the browser logs an answer of 400
			p.do(chromedp.Navigate("http://" + b.http + path + url.QueryEscape(s)))
			p.lenient = false
			p.harmless(path + s)
		}
	}
}

// A Kafka client may name itself and its group as it likes.
func TestMarkupInNamesOfKafkaGroupsIsShownAsText(t *testing.T) {
	b := start(t)
	b.publish("orders", "first order")
	p := open(b)
	for i, name := range payloads[:3] {
		ctx, leave := context.WithCancel(context.Background())
		member := exec.CommandContext(ctx, "kcat", "-u", "-b", b.kafka, "-X", "client.id="+name, "-X", "auto.offset.reset=earliest", "-G", name, "orders")
		out, err := member.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := member.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Errorf("group %d gets %q, %v", i, line, err)
		}
		for path, text := range map[string]string{"/ui/groups": "orders", "/ui/groups/" + url.PathEscape(name): "Members", "/ui/topics/orders": "orders", "/ui/health": "kafka"} {
			p.do(chromedp.Navigate("http://" + b.http + path))
			p.must(text)
			p.harmless(path)
			if strings.HasPrefix(path, "/ui/groups") { // others show it when it has a position
				p.must(name)
			}
		}
		leave()
		_ = member.Wait() // it was killed
	}
}

// harmless fails the test if a payload has run or has become part of the page.
func (p *tab) harmless(where string) {
	p.t.Helper()
	if n := p.evaluate(`(window.pwned ? 1 : 0) + document.querySelectorAll('#pwned, main script, main svg[onload], main meta, [onerror], [onfocus], [onmouseover], a[href^="javascript:"]').length`); n != 0 {
		p.t.Errorf("%s: markup has become part of the page", where)
	}
}
