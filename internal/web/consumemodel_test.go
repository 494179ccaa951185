package web

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"

	"mbus/internal/broker"
)

// Clients read to the end, or do not, in all ways at the same time. Each message is in an answer
// that was read to its end.
func TestClientsThatEndInAnyWayLoseNothing(t *testing.T) {
	r := newRig(t, Options{})
	r.limit(func(l *broker.Limits) { l.SettleTime, l.ResetTime = moment, moment })
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	messages := numbered(400, 5)
	r.publish("orders", messages...)
	var mu sync.Mutex // guards read
	read := make(map[string]int)
	note := func(body string) {
		mu.Lock()
		defer mu.Unlock()
		for line := range strings.Lines(body) {
			read[strings.TrimSpace(line)]++
		}
	}
	var clients sync.WaitGroup
	for worker := range 4 {
		random := rand.New(rand.NewPCG(seed, uint64(worker)))
		clients.Go(func() {
			for range 25 {
				c := r.get(fmt.Sprintf("orders/messages?n=%d", 1+random.IntN(9)))
				end(c, random, note)
			}
		})
	}
	clients.Wait()
	r.awaitAlone("default")
	if n := r.committed("default", "orders"); n == 0 || n == 400 {
		t.Errorf("%d of 400 were consumed, which shows little", n)
	}
	note(r.drain("orders"))
	r.awaitAlone("default")
	if got := r.drain("orders"); got != "" {
		t.Errorf("the last one gets %q", got)
	}
	for _, m := range messages {
		if read[m] == 0 {
			t.Errorf("message %s was consumed, and no client has read it", m)
		}
	}
}

// end has a client end in one way or another. note is called with an answer that was read to its end.
func end(c *client, random *rand.Rand, note func(body string)) {
	defer c.Close()
	switch random.IntN(5) {
	case 0:
		c.reset()
		return
	case 1: // in the middle, unless there is no message
		var head []byte
		for p := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); head = append(head, p...) {
			if _, err := c.Read(p); err != nil {
				c.Errorf("%v after %q", err, head)
				return
			}
		}
		if random.IntN(2) == 0 {
			c.reset()
		}
		return
	case 2:
		c.CloseWrite()
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.Error(err)
		return
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		c.Errorf("%d %v after %q", resp.StatusCode, err, body)
		return
	}
	note(string(body))
	if random.IntN(4) == 0 {
		c.reset() // its messages come again
	}
}
