package fault

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"flag"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var hostileFor = flag.Duration("hostile", 10*time.Minute, "with -long, how long hostile connections come")

// hostilePace is the number of hostile connections a second, each to one of the ports.
const hostilePace = 5000

// keptRate is the part of their rate that working clients keep meanwhile.
const keptRate = 0.7

// Injected: up to 5,000 connections a second on all ports with TLS, 4,000 at a time: handshakes that are begun and left,
// garbage before, in and behind them, wrong passwords in each protocol. Expected: working clients lose nothing; memory
// stays bounded; a user that has not logged in before gets in from an address that attacks. The long run also
// measures that working clients keep 0.7 of their rate: f50_rates_test.go.
func TestF50HostileConnections(t *testing.T) {
	if *long {
		measureHostile(t)
		return
	}
	s := stranger.besiege(t)
	h := newHostiles(append(s.ports(), s.httpPort()))
	s.attack(t, hostileMemory, func() {
		h.send(2000, hostilePace)
		s.mustGetIn(t)
	})
	h.gone.Wait()
	report(t, tally{Runs: 2000})
	s.end(t)
}

// hostileMemory is what the broker may take for hostile connections, in bytes: there are thousands at a time, because
// the answers to wrong passwords take seconds.
const hostileMemory = calm + 4000*(memoryOfTLS+24<<10)

// mustGetIn logs in as users whose passwords nobody has used before, from an address that attacks. A broker that is full may
// refuse some tries.
func (s *siege) mustGetIn(t *testing.T) {
	t.Helper()
	for _, name := range lateFriends {
		tries := 0
		for ; tries < 20; tries++ {
			conn, err := s.dialFrom(0, s.Producers())
			if err != nil {
				continue
			}
			c, err := newLineConn(conn, "AUTH "+name+" "+friendPassword+"\nlate\nmessage")
			if err == nil {
				answer, _ := c.line()
				c.Close()
				if answer == "+1" {
					break
				}
			}
		}
		if tries == 20 {
			t.Errorf("user %q does not get in, with the right password", name)
		}
	}
}

// hostiles are hostile clients. They check no certificate.
type hostiles struct {
	ports   []port
	config  *tls.Config
	hello   []byte // a ClientHello
	gone    sync.WaitGroup
	places  chan struct{} // has an element for each of them
	refused atomic.Int64
	stop    atomic.Bool // ends send
}

func newHostiles(ports []port) *hostiles {
	return &hostiles{ports: ports, config: &tls.Config{InsecureSkipVerify: true}, hello: clientHello(), places: make(chan struct{}, 4000)}
}

// clientHello is what a client begins a handshake with.
func clientHello() []byte {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	go tls.Client(ours, &tls.Config{ServerName: "127.0.0.1"}).Handshake() // ends with the pipe
	p := make([]byte, 16<<10)
	n, err := theirs.Read(p)
	if err != nil {
		panic(err) // it is a pipe
	}
	return p[:n]
}

// send begins n connections, so many a second or, if all places are taken, fewer, and says how many there were before stop.
func (h *hostiles) send(n, pace int) (sent int) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	begun := time.Now()
	for ; sent < n && !h.stop.Load(); <-tick.C {
		for due := int(time.Since(begun).Seconds() * float64(pace)); sent < min(due, n); sent++ {
			h.places <- struct{}{}
			number := sent
			h.gone.Go(func() {
				defer func() { <-h.places }()
				h.attack(kindOf(number/len(h.ports)), number)
			})
		}
	}
	return sent
}

// hostilePatience is how long a hostile client waits: one that waits longer makes way for others later.
const hostilePatience = time.Second

// A hostileKind is something that hostile clients do, and how many of hostileWeights do it.
type hostileKind struct {
	name   string
	weight int
	do     func(h *hostiles, tcp *net.TCPConn, p port, number int)
}

var hostileKinds = []hostileKind{
	{"a ClientHello and a reset", 3, func(h *hostiles, tcp *net.TCPConn, _ port, _ int) {
		tcp.Write(h.hello)
		tcp.SetLinger(0)
	}},
	{"a handshake up to the answer", 3, func(h *hostiles, tcp *net.TCPConn, _ port, _ int) {
		tcp.Write(h.hello)
		tcp.Read(make([]byte, 1))
		tcp.SetLinger(0)
	}},
	{"half a ClientHello", 1, func(h *hostiles, tcp *net.TCPConn, _ port, _ int) { tcp.Write(h.hello[:len(h.hello)/2]) }},
	{"garbage in a record", 1, func(_ *hostiles, tcp *net.TCPConn, _ port, _ int) {
		tcp.Write([]byte("\x16\x03\x01\x40\x00" + strings.Repeat("garbage", 100)))
	}},
	{"garbage", 1, func(_ *hostiles, tcp *net.TCPConn, _ port, _ int) { tcp.Write([]byte(strings.Repeat("\xff\x00", 100))) }},
	{"nothing", 3, func(_ *hostiles, tcp *net.TCPConn, _ port, _ int) { tcp.SetLinger(0) }},
	{"a handshake and a close", 1, func(h *hostiles, tcp *net.TCPConn, _ port, _ int) {
		if conn, err := secured(tcp, nil, h.config); err == nil {
			conn.Close()
		}
	}},
	{"a wrong password", 3, (*hostiles).guess},
}

// hostileWeights is the sum of the weights.
const hostileWeights = 16

// kindOf is what the client of a number does.
func kindOf(number int) hostileKind {
	number %= hostileWeights
	for _, k := range hostileKinds {
		if number -= k.weight; number < 0 {
			return k
		}
	}
	panic("the weights have another sum")
}

// attack is one connection.
func (h *hostiles) attack(kind hostileKind, number int) {
	p := h.ports[number%len(h.ports)]
	tcp, err := net.DialTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+number%50))}, addressOf(p.address))
	if err != nil {
		h.refused.Add(1)
		return
	}
	defer tcp.Close()
	tcp.SetDeadline(time.Now().Add(hostilePatience))
	kind.do(h, tcp, p, number)
}

func addressOf(address string) *net.TCPAddr {
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		panic(err) // it is the broker's
	}
	return a
}

// guess tries a wrong password, or garbage over TLS.
func (h *hostiles) guess(tcp *net.TCPConn, p port, number int) {
	conn, err := secured(tcp, nil, h.config)
	if err != nil {
		h.refused.Add(1)
		return
	}
	defer conn.Close()
	password := fmt.Sprint("guess", number)
	switch p.name {
	case "http":
		credentials := base64.StdEncoding.EncodeToString([]byte(friend + ":" + password))
		io.WriteString(conn, "GET /topics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic "+credentials+"\r\n\r\n")
	case "kafka":
		h.guessKafka(&kafkaConn{Conn: conn}, password, number)
		return
	default:
		io.WriteString(conn, "AUTH "+friend+" "+password+"\norders\nmessage\n")
	}
	bufio.NewReader(conn).ReadString('\n')
}

// guessKafka tries a wrong password by PLAIN, or half of SCRAM and a wrong proof.
func (h *hostiles) guessKafka(k *kafkaConn, password string, number int) {
	handshake := kmsg.NewPtrSASLHandshakeRequest()
	handshake.Version, handshake.Mechanism = 1, "PLAIN"
	message := "\x00" + friend + "\x00" + password
	if number%8 < 4 {
		handshake.Mechanism, message = "SCRAM-SHA-256", "n,,n="+friend+",r=nonce"
	}
	if _, err := k.ask(handshake); err != nil {
		return
	}
	for range 2 {
		req := kmsg.NewPtrSASLAuthenticateRequest()
		req.Version, req.SASLAuthBytes = 1, []byte(message)
		resp, err := k.ask(req)
		if err != nil || handshake.Mechanism == "PLAIN" {
			return
		}
		nonce, _, _ := strings.Cut(string(resp.(*kmsg.SASLAuthenticateResponse).SASLAuthBytes), ",")
		message = "c=biws," + nonce + ",p=" + base64.StdEncoding.EncodeToString(make([]byte, 32))
	}
}
