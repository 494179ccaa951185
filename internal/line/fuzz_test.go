package line_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"mbus/internal/batch/batchtest"
	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/group"
)

// startForFuzzing runs a bus for all inputs of a fuzz target; on gives it to
// the test of one.
func startForFuzzing(f *testing.F) (on func(*testing.T) *bus) {
	b := start(f, setup{
		log: commitlog.Options{SyncEvery: time.Hour},
		limits: func(l *broker.Limits) {
			l.MaxMessage = 10_000
			l.ResetTime, l.CloseTime, l.SettleTime = time.Millisecond, moment, moment
		},
	})
	b.publish("orders", numbered(100, 20)...)
	b.publish("orders?keyed", "k\tv")
	return func(t *testing.T) *bus {
		return &bus{t: t, setup: b.setup, broker: b.broker, server: b.server, producers: b.producers, consumers: b.consumers, book: b.book}
	}
}

// mustServe fails the test unless others are served as ever.
func (b *bus) mustServe() {
	b.t.Helper()
	if got := b.produce("others\nhello\n"); got != "+1\n" {
		b.t.Fatalf("another publisher is answered %q", got)
	}
	if got := b.drain("others"); !strings.HasSuffix(got, "hello\n") {
		b.t.Fatalf("another consumer gets %q", got)
	}
	if panics := b.book.Lines("panic"); len(panics) > 0 {
		b.t.Fatalf("%q", panics)
	}
}

// converse sends all and reads until the broker closes, in good order or not.
func (c *client) converse(sent []byte) string {
	go func() {
		c.Write(sent) // fails when the broker has seen enough
		c.CloseWrite()
	}()
	answer, _ := io.ReadAll(c.r)
	c.Close()
	return string(answer)
}

var answers = regexp.MustCompile(`^(\+[0-9]+\n)*(-[A-Z]+ [^\r\n]*\n|HTTP/1.1 400 Bad Request\r\n[^\n]*\r\n[^\n]*\r\n[^\n]*\r\n\r\n[^\n]*\n)?$`)

var requests = []string{
	"orders", "orders\r", "", "\r", "orders?format=json", "orders?format=batch&keyed", "orders?n=5&group=a%2Db", "orders?%", "__x",
	"GET / HTTP/1.1", "\x16\x03\x01", "SSH-2.0-x", "*1\r", strings.Repeat("x", 4095), "orders?n=" + strings.Repeat("0", 5000),
	"orders?format=json&group=b\r", "orders?ack&group=a", "orders?ack&format=batch&group=b&retry=1h&attempts=1&window=2", "orders?format=batch&n=3", "__consumer_offsets?format=json", "orders?keyed&n=7", "orders\nfirst",
	"orders?producer=7&first=3", "orders?keyed&producer=9223372036854775807&new", "orders?format=batch&producer=1&first=9223372036854775807", "\x00\x00\x00\x18",
	"orders?id=01234567-89ab-4cde-8f01-23456789abcd", "orders?follow&id=0123456789ab4cde8f0123456789abcd", "?delete&topic=orders&id=-",
}

func FuzzRequestLine(f *testing.F) {
	on := startForFuzzing(f)
	for _, r := range requests {
		f.Add([]byte(r))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		b := on(t)
		sent := append(bytes.Clone(line), '\n')
		got := b.dial(b.producers, "").converse(sent)
		if !answers.MatchString(got) {
			t.Errorf("a producer is answered %q", got)
		}
		got = b.dial(b.consumers, "").converse(sent)
		if strings.HasPrefix(got, "-") && strings.Count(got, "\n") != 1 {
			t.Errorf("a consumer is answered %q", got)
		}
		b.mustServe()
	})
}

func FuzzProducerConnection(f *testing.F) {
	on := startForFuzzing(f)
	requests := []string{"fuzz", "fuzz?keyed", "fuzz?format=json", "fuzz?format=batch"}
	for i, bodies := range [][]string{
		{"", "\n", "first\nsecond\n", "no LF", "\r\n\x00\xff\n", strings.Repeat("x", 10_000) + "\n", strings.Repeat("x", 10_001) + "\n"},
		{"k\tv\n", "no tab\n", "\t\n", "a\tb\tc\nno tab\n"},
		{"{}\n", `{"payload":"x","key":null,"ts":-1}` + "\n{}\n", "{\n", `{"headers_base64":["k",null]}` + "\n", "null\n"},
		{text(newBatch("first", "second"), newBatch("third")), text(newBatch("first"))[:70], text(batchtest.Edit(newBatch("first"), batchtest.PosCount+3, 2))},
	} {
		for _, body := range bodies {
			f.Add(uint8(i), []byte(body))
		}
	}
	for _, codec := range batchtest.Codecs[1:] {
		f.Add(uint8(3), []byte(text(batchtest.Compress(f, codec, newBatch(numbered(20, 20)...)))))
	}
	f.Fuzz(func(t *testing.T, request uint8, body []byte) {
		b := on(t)
		r := requests[int(request)%len(requests)]
		end := int64(0)
		if topic, err := b.broker.Topic("fuzz"); err == nil {
			_, end = topic.Partitions()[0].Offsets()
		}
		got := b.dial(b.producers, r+"\n").converse(body)
		if !answers.MatchString(got) {
			t.Fatalf("answered %q", got)
		}
		told := 0
		for line := range strings.Lines(got) {
			fmt.Sscanf(line, "+%d\n", &told) // of errors nothing is taken
		}
		stored := b.drain(fmt.Sprintf("fuzz?format=json&from=0:%d", end))
		if n := strings.Count(stored, "\n"); n != told {
			t.Fatalf("answered %q, stored are %d messages", got, n)
		}
		lines := strings.SplitAfter(string(body), "\n")
		for i, line := range strings.SplitAfter(stored, "\n")[:told] {
			if !json.Valid([]byte(line)) {
				t.Errorf("message %d is given as %q", i, line)
			}
			if r == "fuzz" && !holds(t, line, strings.TrimSuffix(lines[i], "\n")) {
				t.Errorf("message %d, %q, is stored as %s", i, lines[i], line)
			}
		}
		b.mustServe()
	})
}

// holds says whether a line of JSON has this payload.
func holds(t *testing.T, line, payload string) bool {
	var m struct {
		Payload string
		Base64  []byte `json:"payload_base64"`
	}
	if err := json.Unmarshal([]byte(line), &m); err != nil {
		t.Error(err)
	}
	return m.Payload+string(m.Base64) == payload
}

func FuzzConsumerRequest(f *testing.F) {
	on := startForFuzzing(f)
	for i, r := range requests {
		f.Add([]byte(r+"\nand more"), uint8(i))
	}
	f.Fuzz(func(t *testing.T, sent []byte, how uint8) {
		b := on(t)
		switch c := b.dial(b.consumers, ""); how % 3 {
		case 0:
			got := c.converse(sent)
			if bytes.Contains(sent, []byte("?format=batch\n")) && got != "" && got[0] == '@' {
				readStream(t, got)
			}
		case 1:
			c.Write(sent)
			c.reset()
		case 2:
			c.Write(sent)
			c.finish()
			c.Close()
		}
		b.mustServe()
		for _, name := range []string{group.Default, "a", "b"} { // a group that held messages gives them back
			p := b.position(name, "orders", 0)
			await(t, "nobody holds anything", func() bool {
				p.Free(1<<40, time.Now().AddDate(200, 0, 0)) // when what has failed is free again
				return p.LeaseEnded(nil, 1<<40) == nil
			})
			p.Close()
		}
	})
}

// FuzzAcknowledgements says anything to a follower's connection that waits for
// acknowledgements.
func FuzzAcknowledgements(f *testing.F) {
	on := startForFuzzing(f)
	for _, said := range []string{
		"+3\n", "-1 broken\n+2\n", "+0\n", "-0\n", "+101\n", "+-1\n", "-9223372036854775808 x\n", "+1 \n", "\r\n", "+1\r\n-1", "\x00\n",
		"=2-4\n+0\n", "=5\n=1-2\n+4\n", "=1-9\n", "=3-2\n", "-1 retry=1ms x\n+0\n", "-2 dead x\n-2 dead\n", "-1 retry=soon\n", "=1\n=1\n-1\n+1\n",
	} {
		f.Add([]byte(said))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		b := on(t)
		c := b.dial(b.consumers, "orders?ack&follow&format=json&n=5&group=fuzz&attempts=0&retry=1ms&confirm\n")
		if got := c.converse(said); strings.Count(got, "\n-") > 1 {
			t.Errorf("answered %q", got)
		}
		b.mustServe()
	})
}
