package browser

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// counted is the broker behind a port that counts what browsers get from it, in bytes.
func (b *broker) counted() (at *broker, sent *atomic.Int64) {
	b.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { l.Close() })
	sent = new(atomic.Int64)
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", b.http)
			if err != nil {
				client.Close()
				continue
			}
			go func() {
				_, _ = io.Copy(server, client)
				server.Close()
			}()
			go func() {
				_, _ = io.Copy(io.MultiWriter(client, counter{sent}), server)
				client.Close()
			}()
		}
	}()
	c := *b
	c.http = l.Addr().String()
	return &c, sent
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

// The first view of 1,000 topics, with all that it loads and the first numbers, is at most 200 KB on the wire, and
// all files of the page are less than 150 KB.
func TestFirstViewIsSmall(t *testing.T) {
	b := start(t, "-fsync", "1s") // 1,000 topics are made in less time
	var publishers sync.WaitGroup
	for from := range 20 {
		publishers.Go(func() {
			for i := from; i < 1000; i += 20 {
				b.publish(fmt.Sprintf("plant-%04d.readings", i), `{"celsius":19.5}`)
			}
		})
	}
	publishers.Wait()
	at, sent := b.counted()
	p := open(at)
	begin := time.Now()
	p.visit("/")
	p.await(`document.getElementById('state').textContent === 'live'`)
	n := sent.Load()
	p.must("1000 topics", "plant-0000.readings", "plant-0999.readings")
	t.Logf("the first view of 1,000 topics takes %d bytes; it is painted after %d ms, loaded after %d ms, and live after %d ms",
		n, p.evaluate(`Math.round(performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? -1)`),
		p.evaluate(`Math.round(performance.getEntriesByType('navigation')[0].loadEventEnd)`), time.Since(begin).Milliseconds())
	if n > 200_000 {
		t.Errorf("the first view takes %d bytes", n)
	}
	if n := p.evaluate(`performance.getEntriesByType('resource').filter((r) => r.name.includes('/assets/')).reduce((sum, r) => sum + r.decodedBodySize, 0)`); n < 10_000 || n > 150_000 {
		t.Errorf("the assets have %d bytes", n)
	}
}

// The README shows the page.
func TestREADMEShowsThePage(t *testing.T) {
	if *update {
		paintREADME(t)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	picture, err := os.Stat("../../docs/page.png")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "](docs/page.png)") {
		t.Error("README.md does not show docs/page.png")
	}
	if picture.Size() > 150_000 {
		t.Errorf("docs/page.png has %d bytes", picture.Size())
	}
}

// paintREADME makes the screenshot of the README: a broker that has been busy for a while.
func paintREADME(t *testing.T) {
	b := start(t)
	p := open(b)
	topics := []string{"clicks", "invoices", "orders", "parcels", "payments", "readings"}
	for _, name := range topics {
		b.publish(name, "first")
		b.ask("GET", "/topics/"+name+"/messages?group=archive&n=1", "")
	}
	b.publish("orders", "second", "third")
	b.bury("orders", "billing", "no such customer")
	b.ask("POST", "/topics/invoices?delay=1h", "tomorrow")
	p.do(chromedp.EmulateViewport(1000, 430))
	p.visit("/")
	chance := rand.New(rand.NewPCG(1, 2))
	for second := range 62 {
		for i, name := range topics {
			wave := 1 + math.Sin(float64(second)/float64(4+3*i)+float64(i))
			if n := int(float64(5+40*i) * wave * (0.8 + 0.4*chance.Float64())); i != 1 || second%15 == 3 {
				b.publishLines(name, strings.Repeat(`{"celsius":19.5,"place":"cellar"}`+"\n", n+1))
			}
			if i%3 != 1 || second%9 == 0 {
				b.ask("GET", fmt.Sprintf("/topics/%s/messages?group=archive&n=%d", name, 20+40*i), "")
			}
		}
		time.Sleep(time.Second) // a sparkline has a point a second; only -update, which paints the picture, waits for it
	}
	p.do(chromedp.Evaluate(`document.querySelector('.broker').textContent = 'localhost:9992'`, nil)) // as in the text
	if err := os.WriteFile("../../docs/page.png", p.screenshot("readme"), 0o644); err != nil {
		t.Fatal(err)
	}
}
