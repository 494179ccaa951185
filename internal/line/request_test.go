package line_test

import (
	"strings"
	"testing"
	"time"

	"mbus/internal/broker"
	"mbus/test/brokertest"
)

func TestRequestLineIsTaken(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "hello")
	name := strings.Repeat("n", 249)
	for _, request := range []string{
		"A-Z.0_9", "...", "GET", "x", name, "orders\r", "orders?format=lines", "orders?format=json",
		"orders?format=batch", "orders?keyed", "orders?keyed&format=lines", "orders?format=%6ason\r",
	} {
		if got := b.produce(request + "\n"); got != "+0\n" {
			t.Errorf("producer's %q: %q", request, got)
		}
	}
	padded := func(n int) string { return strings.Repeat("0", n) + "1" }
	for _, request := range []string{
		"orders?n=1&group=a", "orders?group=b&n=01", "orders?group=%63", "orders?group=d&format=lines",
		"orders?group=" + name, "orders?group=e&n=9223372036854775807",
		"orders?group=f&n=" + padded(4096-len("orders?group=f&n=1\n")),
		"orders?group=g&n=" + padded(4096-len("orders?group=g&n=1\r\n")) + "\r",
	} {
		b.mustDrain(request, "hello\n")
	}
}

func TestRequestLineIsRefused(t *testing.T) {
	b := start(t, setup{})
	b.publish("orders", "hello")
	topics := []string{
		"", ".", "..", "a/b", "a b", " orders", "orders ", "ä", "a\x00b", "orders\r\r", "a\rb", "#", "orders#",
		strings.Repeat("n", 250), "*1\r", "$4",
	}
	for _, request := range []string{"?", "?format=lines", "?topic", "?delete", "?reset&group=g", "?delete&topic=a&group=b", "?topics&group=g", "?topics&format=batch"} {
		b.dial(b.producers, request+"\n").mustRefuse("BADREQUEST", "this is the port for producers")
		b.dial(b.consumers, request+"\n").mustRefuse("BADREQUEST", "")
	}
	for _, topic := range topics {
		b.dial(b.producers, topic+"\n").mustRefuse("BADREQUEST", "topic name")
		b.dial(b.consumers, topic+"\n").mustRefuse("BADREQUEST", "topic name")
	}
	options := map[string]string{
		"":                          `option ""`,
		"&":                         `option ""`,
		"=":                         `option ""`,
		"format=lines&":             `option ""`,
		"fromat=json":               `"fromat": this port knows a`,
		"Format=json":               `"Format"`,
		"form%61t=json":             "unknown option",
		"format":                    "lines, json or batch",
		"format=":                   "lines, json or batch",
		"format=xml":                `"xml"`,
		"format=JSON":               `"JSON"`,
		"format=lines&format=lines": `"format" is given twice`,
		"keyed&keyed":               `"keyed" is given twice`,
		"keyed=yes":                 `"yes"`,
		"keyed&format=json":         "keyed",
		"format=batch&keyed":        "keyed",
		"format=%zz":                "%zz",
		"format=%":                  "%",
		"format=%0aX":               `\n`, // and the answer stays one line
		"acks=1?x=2":                `"acks"`,
	}
	for option, words := range options {
		b.dial(b.producers, "orders?"+option+"\n").mustRefuse("BADREQUEST", words)
		b.dial(b.consumers, "orders?"+option+"\n").mustRefuse("BADREQUEST", words)
	}
	for _, option := range []string{"group=a", "n=1", "follow", "ack&window=1"} { // of a consumer with the wrong port
		b.dial(b.producers, "orders?format=lines&"+option+"\n").mustRefuse("BADREQUEST", "is for consumers, and this is the port for producers")
	}
	for _, option := range []string{"delay=1s", "at=2030-01-01"} {
		b.dial(b.consumers, "orders?"+option+"\n").mustRefuse("BADREQUEST", "is for producers, and this is the port for consumers")
	}
	for _, option := range []string{
		"group=", "group", "group=a/b", "group=..", "group=%00", "group=" + strings.Repeat("n", 250), "group=a&group=b",
		"partition", "partition=", "partition=-1", "partition=+1", "partition=0,", "partition=,0", "partition=0-2", "partition=0&partition=1",
		"n=0", "n=-1", "n=", "n", "n=x", "n=1.5", "n=+1", "n=9223372036854775808", "n=1&n=2",
	} {
		name, _, _ := strings.Cut(option, "=")
		b.dial(b.consumers, "orders?"+option+"\n").mustRefuse("BADREQUEST", name)
	}
	b.mustDrain("orders", "hello\n")
}

func TestUnknownOptionNamesTheKnownOnes(t *testing.T) {
	b := start(t, setup{})
	b.dial(b.producers, "orders?x\n").mustEnd("-BADREQUEST unknown option \"x\": this port knows at, delay, first, format, id, keyed, new, producer\n")
	b.dial(b.consumers, "orders?x\n").mustEnd("-BADREQUEST unknown option \"x\": this port knows ack, ack-timeout, attempts, confirm, follow, format, from, group, id, keyed, n, ordered, partition, redrive, retry, start, to, window\n")
}

func TestRequestLineThatIsTooLongIsRefusedAtOnce(t *testing.T) {
	b := start(t, setup{})
	for name, text := range map[string]string{
		"with LF":    "orders?n=" + strings.Repeat("0", 4096-len("orders?n=1")) + "1\n",
		"without LF": strings.Repeat("x", 4096),
		"endless":    strings.Repeat("x", 100_000),
	} {
		t.Run(name, func(t *testing.T) {
			b.dial(b.producers, text).mustRefuse("BADREQUEST", "4096")
			b.dial(b.consumers, text).mustRefuse("BADREQUEST", "4096")
		})
	}
}

func TestClientThatLeavesWithoutARequest(t *testing.T) {
	b := start(t, setup{})
	for _, port := range []string{b.producers, b.consumers} {
		b.dial(port, "").finish().mustEnd("")
		b.dial(port, "orders").finish().mustRefuse("BADREQUEST", "LF")
		b.dial(port, "orders").reset()
	}
	if _, err := b.broker.Topic("orders"); err == nil {
		t.Error("a topic was made of half a request")
	}
}

func TestRequestThatDoesNotComeTimesOut(t *testing.T) {
	brokertest.Slow(t)
	b := start(t, setup{limits: func(l *broker.Limits) { l.RequestTime = 100 * time.Millisecond }})
	for _, port := range []string{b.producers, b.consumers} {
		b.dial(port, "").mustRefuse("TIMEOUT")
		b.dial(port, "orders?form").mustRefuse("TIMEOUT")
		drip := b.dial(port, "")
		stop := make(chan struct{})
		go func() { // as slow as can be, it must not win time
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for range 1000 {
				drip.Write([]byte("x"))
				select {
				case <-tick.C:
				case <-stop:
					return
				}
			}
		}()
		drip.mustRefuse("TIMEOUT")
		close(stop)
	}
	answered := ""
	for attempts := 0; answered == "" || strings.HasPrefix(answered, "-TIMEOUT "); attempts++ {
		if attempts == 50 {
			t.Fatal("no request was in time, or the time is not for the request alone")
		}
		slow := b.dial(b.producers, "orders\n") // in time, most often
		for range 2 {                           // the second one's time begins when that of the slow one must be over
			b.dial(b.producers, "").mustRefuse("TIMEOUT")
		}
		slow.Write([]byte("first\n")) // if it fails, so does reading
		answered, _ = slow.r.ReadString('\n')
	}
	if answered != "+1\n" {
		t.Errorf("answered %q", answered)
	}
}

func TestOtherProtocolsAreRefusedAtOnceAndNothingBehindIsLookedAt(t *testing.T) {
	b := start(t, setup{})
	clientHello := "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
	for text, name := range map[string]string{
		"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n":                                  "HTTP",
		"POST /orders HTTP/1.1\r\nContent-Length: 20\r\n\r\norders\nfirst\nsecond\n": "HTTP",
		"PUT /orders HTTP/1.0\n\norders\nfirst\n":                                    "HTTP",
		"OPTIONS * HTTP/1.1": "HTTP",
		"CONNECT localhost:9990 HTTP/1.1\r\n\r\norders\nfirst\n": "HTTP",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":                       "HTTP",
		"HEAD /":                                                 "HTTP",
		"\x16":                                                   "TLS",
		clientHello:                                              "TLS",
		clientHello + "\norders\nfirst\n":                        "TLS",
		"SSH-2.0-OpenSSH_9.6\r\n":                                "SSH",
		"SSH-2.0-OpenSSH_9.6":                                    "SSH",
		"*1\r\n$4\r\nPING\r\n":                                   "topic name",
		"EHLO localhost\r\n":                                     "topic name",
		"\x80\x2e\x01\x00\x02\n":                                 "topic name",
		"\x00\x00\x00\x18\x00\x12\x00\x03\x00\x00\x00\x01\x00\x0bsome-client\n\norders\nx": "Kafka",
	} {
		for _, port := range []string{b.producers, b.consumers} {
			c := b.dial(port, text)
			if name == "HTTP" { // in its own words
				c.mustEnd("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 39\r\nConnection: close\r\n\r\n" +
					"this is mbus's line protocol, not HTTP\n")
				continue
			}
			c.mustRefuse("BADREQUEST", name)
		}
	}
	if _, err := b.broker.Topic("orders"); err == nil {
		t.Error("something was published")
	}
}

func TestInternalTopicsAreReadNotWritten(t *testing.T) {
	b := start(t, setup{})
	for _, name := range []string{"__consumer_offsets", "__mbus_mine"} {
		b.dial(b.producers, name+"\nmessage\n").mustRefuse("BADREQUEST", "__")
		b.mustDrain(name, "")
	}
	for _, name := range []string{"_mine", "__mine"} {
		b.publish(name, "message")
		b.mustDrain(name, "message\n")
	}
	await(t, "positions can be read", func() bool { return b.drain("__consumer_offsets?format=json&group=reader") != "" })
}

// Some editors put it before a text, where nobody sees it.
func TestAByteOrderMarkIsNamed(t *testing.T) {
	b := start(t, setup{})
	const mark = "\xef\xbb\xbf"
	b.dial(b.producers, mark+"orders\nm\n").mustRefuse("BADREQUEST", "byte order mark")
	b.dial(b.consumers, mark+"orders\n").mustRefuse("BADREQUEST", "byte order mark")
	b.dial(b.consumers, mark+"?topics\n").mustRefuse("BADREQUEST", "byte order mark")
	b.dial(b.producers, "orders?format=json\n"+mark+`{"payload":"m"}`+"\n").mustRefuse("BADMESSAGE", "message 1 ", "byte order mark")
	b.dial(b.producers, "blank?format=json\n"+`{"payload":"m"}`+"\n\n").mustSay("+1")
	b.produce("lines\n" + mark + "m\n") // any bytes are a message
	b.mustDrain("lines", mark+"m\n")
}
