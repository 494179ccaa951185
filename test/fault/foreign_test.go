package fault

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"mbus/internal/batch"
)

// F33: lines without an end, NUL, CR, invalid UTF-8, and connections closed in the
// middle. Bytes are kept as they came, what is not a whole line is not taken.
func TestF33Lines(t *testing.T) { overEach(t, attackWithLines) }

func attackWithLines(t *testing.T, over transport) {
	s := over.besiege(t)
	nasty := []string{"", "\r", "\x00", "\x00\r\x00", "a\rb\r", "\xff\xfe\xc0\x80", "\xed\xa0\x80", "\x1b[2J\x07", "+1", "-1 x", "@0", ".", "\u2028", strings.Repeat("\x00", 5000), strings.Repeat("\r", 5000)}
	list := []hostile{
		{"a request without LF", "producers", "orders", "-BADREQUEST"},
		{"a request without LF", "consumers", "orders", "-BADREQUEST"},
		{"NUL in a request", "producers", "ord\x00ers\nx\n", "-BADREQUEST"},
		{"CR in a request", "consumers", "ord\rers\n", "-BADREQUEST"},
		{"two CR", "producers", "orders\r\r\nx\n", "-BADREQUEST"},
		{"an empty request", "producers", "\n", "-BADREQUEST"},
		{"an empty request of CR", "consumers", "\r\n", "-BADREQUEST"},
		{"invalid UTF-8 in a request", "producers", "\xff\xfe\nx\n", "-BADREQUEST"},
		{"only NUL", "producers", strings.Repeat("\x00", 10_000), "-BADREQUEST"},
		{"an option of NUL", "consumers", "orders?group=%00\n", "-BADREQUEST"},
		{"half an escape", "consumers", "orders?group=%4\n", "-BADREQUEST"},
		{"nothing", "producers", "", ""},
		{"nothing", "consumers", "", ""},
		{"nothing", "kafka", "", ""},
		{"half a size", "kafka", "\x00\x00", ""},
		{"a message without LF", "producers", "cut\nwhole\nhalf", "-INCOMPLETE"},
		{"JSON of NUL", "producers", "json?format=json\n\x00\n", "-BADMESSAGE"},
		{"JSON of invalid UTF-8 in a key", "producers", "json?format=json\n{\"\xff\":1}\n", "-BADMESSAGE"},
		{"a lone CR as JSON", "producers", "json?format=json\n\r\n", "-BADMESSAGE"},
		{"an acknowledgement of NUL", "consumers", "orders?follow&ack\n+\x001\n", "-BADREQUEST"},
	}
	s.attack(t, calm+16<<20, func() {
		s.send(t, over.runs(5, 1000), list)
		if over.isStranger() {
			return
		}
		for i := range over.runs(3, 100) {
			topic := fmt.Sprintf("nasty%d", i)
			answer, err := s.converse(s.Producers(), []byte(topic+"\n"+strings.Join(nasty, "\n")+"\n"+"half"))
			if want := fmt.Sprintf("+%d\n-INCOMPLETE", len(nasty)); err != nil || !strings.Contains(answer, want) {
				t.Errorf("answered %q, %v", answer, err)
			}
			got := s.Drain(topic)
			if want := strings.Join(nasty, "\n") + "\n"; got != want {
				t.Errorf("what came is %q, not %q", got, want)
			}
		}
	})
	if got := s.Drain("cut"); !over.isStranger() && (strings.Contains(got, "half") || !strings.HasPrefix(got, "whole\n")) {
		t.Errorf("half a message was kept: %.100q", got)
	}
	s.end(t)
}

// F34: what other protocols say, on each port. It is refused in words where the
// port has them, and nothing of it becomes a message, a topic or a group.
func TestF34ForeignProtocols(t *testing.T) { overEach(t, attackWithForeignProtocols) }

func attackWithForeignProtocols(t *testing.T, over transport) {
	s := over.besiege(t)
	before := s.Drain("?topics")
	s.attack(t, calm, func() {
		for range over.runs(5, 500) {
			for _, p := range s.ports() {
				for _, f := range foreignBytes(p.address) {
					answer, err := s.converse(p.address, []byte(f.sent))
					if err != nil {
						t.Errorf("%s on the %s port: %v", f.name, p.name, err)
					}
					if !s.isDenied(p.name, answer) {
						f.mustBeRefused(t, p.name, answer)
					}
				}
				s.foreignClients(t, p.address)
			}
		}
	})
	mustHaveNoMore(t, before, s.Drain("?topics"))
	if got := s.Drain("?groups&group=browser"); !strings.HasPrefix(got, "-GONE") {
		t.Errorf("there is a group: %q", got)
	}
	s.end(t)
}

// mustBeRefused checks an answer: in HTTP to what is HTTP, else in the words of the line
// protocol; the port for Kafka clients may close without a word.
func (h hostile) mustBeRefused(t *testing.T, port, answer string) {
	t.Helper()
	inHTTP := strings.HasPrefix(answer, "HTTP/1.1 400 Bad Request\r\n")
	inWords := strings.HasPrefix(answer, "-BADREQUEST ") && strings.Count(answer, "\n") == 1
	isHTTP := port != "kafka" && strings.Contains(h.sent, " HTTP/1.1\r\n")
	if isHTTP && !inHTTP || !inHTTP && !inWords && (port != "kafka" || answer != "") {
		t.Errorf("%s on the %s port is answered %.200q", h.name, port, answer)
	}
}

// mustHaveNoMore compares two answers to ?topics: there may be the bystanders'
// topics and no others beyond those before.
func mustHaveNoMore(t *testing.T, before, after string) {
	t.Helper()
	for line := range strings.Lines(after) {
		name, _, _ := strings.Cut(line, "\t")
		known := strings.Contains(before, "\n"+name+"\t") || strings.HasPrefix(before, name+"\t")
		if !known && !strings.HasPrefix(name, "lines") && !strings.HasPrefix(name, "kafka") {
			t.Errorf("there is a topic %q", name)
		}
	}
}

// foreignBytes are openings of conversations in other protocols, and what a
// browser's fetch() sends. Where there is a body it would be a valid request.
func foreignBytes(host string) []hostile {
	fetch := func(method, target, contentType, body string) string {
		return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nConnection: keep-alive\r\nContent-Length: %d\r\n"+
			"sec-ch-ua-platform: \"Linux\"\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nContent-Type: %s\r\nAccept: */*\r\n"+
			"Origin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: empty\r\n"+
			"Referer: https://evil.example/\r\n\r\n%s", method, target, host, len(body), contentType, body)
	}
	body := "browser\na message\nanother message\n"
	consume := "orders?group=browser\n"
	frame := string(append(frameHead(10, 18, 0), 0xff, 0xff))
	return []hostile{
		{name: "fetch GET", sent: fetch("GET", "/browser", "", "")},
		{name: "fetch GET of a long path", sent: fetch("GET", "/"+strings.Repeat("x", 8000), "", "")},
		{name: "cross-origin POST of text", sent: fetch("POST", "/", "text/plain;charset=UTF-8", body)},
		{name: "cross-origin POST of a request to consume", sent: fetch("POST", "/browser", "text/plain;charset=UTF-8", consume)},
		{name: "cross-origin POST of a Kafka frame", sent: fetch("POST", "/", "application/octet-stream", frame)},
		{name: "a form", sent: fetch("POST", "/", "multipart/form-data; boundary=x", "--x\r\n\r\n"+body+"--x--\r\n")},
		{name: "a beacon of administration", sent: fetch("POST", "/", "text/plain", "?delete&topic=orders&execute\n")},
		{name: "preflight", sent: fetch("OPTIONS", "/", "", "")},
		{name: "PUT", sent: fetch("PUT", "/browser", "text/plain", body)},
		{name: "an unusual method", sent: fetch("BREW", "/", "text/plain", body)},
		{name: "HTTP/2", sent: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"},
		{name: "HTTP/1.0", sent: "HEAD / HTTP/1.0\n\n"},
		{name: "HTTP/0.9", sent: "GET /\r\n"},
		{name: "headers only", sent: "Host: localhost\r\n" + body},
		{name: "WebSocket", sent: strings.Replace(fetch("GET", "/", "", ""), "Connection: keep-alive", "Connection: Upgrade\r\nUpgrade: websocket", 1)},
		{name: "TLS", sent: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + body},
		{name: "TLS with a request in the server's name", sent: "\x16\x03\x01\x00\x40\x01\x00\x00\x3c\n" + body},
		{name: "SSH", sent: "SSH-2.0-OpenSSH_9.9\r\n" + body},
		{name: "Redis", sent: "*3\r\n$3\r\nSET\r\n$7\r\nbrowser\r\n$1\r\nx\r\n"},
		{name: "Redis inline", sent: "SET browser x\r\n" + body},
		{name: "SMTP", sent: "EHLO localhost\r\n" + body},
		{name: "PostgreSQL", sent: "\x00\x00\x00\x08\x04\xd2\x16\x2f"},
		{name: "MQTT", sent: "\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04brow"},
		{name: "AMQP", sent: "AMQP\x00\x00\x09\x01"},
		{name: "STUN", sent: "\x00\x01\x00\x00\x21\x12\xa4\x42" + strings.Repeat("\n", 12)},
		{name: "SOCKS", sent: "\x05\x01\x00"},
		{name: "RDP", sent: "\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00"},
	}
}

// foreignClients are real ones.
func (s *siege) foreignClients(t *testing.T, address string) {
	t.Helper()
	conn, err := s.dialFrom(0, address)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if err := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).Handshake(); err == nil {
		t.Error("a TLS handshake succeeded")
	}
	dial := func(_ context.Context, _, address string) (net.Conn, error) { return s.dialFrom(0, address) }
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}}
	if resp, err := client.Post("http://"+address+"/browser", "text/plain", strings.NewReader("browser\na message\n")); err == nil {
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("HTTP was answered %s", resp.Status)
		}
	}
}

// F29 and F34: random bytes behind each kind of beginning, on every port.
func TestF34RandomBytes(t *testing.T) { overEach(t, attackWithRandomBytes) }

func attackWithRandomBytes(t *testing.T, over transport) {
	s := over.besiege(t)
	begin := [][]string{
		{"", "noise\n", "noise?format=json\n", "noise?format=batch\n", "noise?keyed\n", "noise?delay=1h\n"},
		{"", "noise?", "noise?follow&ack\n", "?"},
		{"", string(frameHead(4000, 0, 9)), string(frameHead(4000, 1, 12)), string(frameHead(4000, 19, 7)), string(frameHead(4000, 11, 9))},
	}
	n := over.runs(300, 100_000)
	s.attack(t, calm+64<<20, func() {
		sideBySide(n, 8, func(i int) {
			r := rand.New(rand.NewPCG(34, uint64(i)))
			which := i % 3
			text := []byte(begin[which][r.IntN(len(begin[which]))])
			noise := make([]byte, r.IntN(8000))
			for i := range noise {
				noise[i] = byte(r.IntN(256))
			}
			if text = append(text, noise...); bytes.HasPrefix(text, []byte("noise?format=batch\n")) && len(noise) > batch.HeaderSize {
				copy(noise[8:], []byte{0, 0, 1, 0}) // a length that gets past the first check
				noise[16] = 2
				text = append(text[:len(text)-len(noise)], noise...)
			}
			if _, err := s.converse(s.ports()[which].address, text); err != nil {
				t.Errorf("%.40q: %v", text, err)
			}
		})
	})
	s.end(t)
}
