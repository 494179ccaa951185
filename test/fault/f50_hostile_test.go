package fault

import (
	"crypto/tls"
	"encoding/base64"
	"flag"
	"fmt"
	"net"
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
	f, err := newFlood(append(s.ports(), s.httpPort()))
	if err != nil {
		t.Fatal(err)
	}
	s.attack(t, hostileMemory, func() {
		f.run(2000, hostilePace, kindOf)
		s.mustGetIn(t)
	})
	report(t, tally{Runs: f.sum()})
	t.Log(f)
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

// clientHello is what a client of package tls begins a handshake with.
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

func addressOf(address string) *net.TCPAddr {
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		panic(err) // it is the broker's
	}
	return a
}

// guess tries a wrong password in the protocol of a port.
func guess(port string, number int) []byte {
	password := fmt.Sprint("guess", number)
	switch port {
	case "http":
		credentials := base64.StdEncoding.EncodeToString([]byte(friend + ":" + password))
		return fmt.Appendf(nil, "GET /topics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Basic %s\r\n\r\n", credentials)
	case "kafka":
		return guessKafka(password, number)
	}
	return fmt.Appendf(nil, "AUTH %s %s\norders\nmessage\n", friend, password)
}

// guessKafka tries a wrong password by PLAIN, or begins SCRAM and ends with a wrong proof.
func guessKafka(password string, number int) []byte {
	handshake := kmsg.NewPtrSASLHandshakeRequest()
	handshake.Version, handshake.Mechanism = 1, "PLAIN"
	messages := []string{"\x00" + friend + "\x00" + password}
	if number%8 < 4 {
		handshake.Mechanism = "SCRAM-SHA-256"
		messages = []string{"n,,n=" + friend + ",r=nonce", "c=biws,r=nonce,p=" + base64.StdEncoding.EncodeToString(make([]byte, 32))}
	}
	var to kmsg.RequestFormatter
	p := to.AppendRequest(nil, handshake, 1)
	for i, message := range messages {
		req := kmsg.NewPtrSASLAuthenticateRequest()
		req.Version, req.SASLAuthBytes = 1, []byte(message)
		p = to.AppendRequest(p, req, int32(2+i))
	}
	return p
}
