package fault

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/batch"
	"mbus/test/brokertest"
)

// calm is what the bystanders alone may add to the broker's memory, in bytes.
const calm = 48 << 20

// A hostile input, and what a broker of the line protocol answers; "" for a
// close without a word, which is all that Kafka's protocol has for it.
type hostile struct{ name, port, sent, answer string }

// hostileLengths claim more than there is, more than there can be, or less than
// nothing.
func hostileLengths() []hostile {
	list := []hostile{
		{"a request line of 5000 bytes", "producers", strings.Repeat("x", 5000), "-BADREQUEST"},
		{"a request line of 5000 bytes", "consumers", strings.Repeat("x", 5000), "-BADREQUEST"},
		{"a message without end", "producers", "long\n" + strings.Repeat("x", 3<<20), "-TOOLARGE"},
		{"JSON without end", "producers", "long?format=json\n{\"payload\":\"" + strings.Repeat("x", 8<<20), "-TOOLARGE"},
		{"JSON that nests", "producers", "long?format=json\n" + strings.Repeat("[", 1<<20) + "\n", "-BADMESSAGE"},
		{"JSON that nests where it is ignored", "producers", "long?format=json\n{\"topic\":" + strings.Repeat("[", 1<<20) + "\n", "-BADMESSAGE"},
	}
	for _, n := range []string{"0", "-1", "9223372036854775808", "99999999999999999999999", "1e9", "0x10", ""} {
		list = append(list, hostile{"n=" + n, "consumers", "orders?n=" + n + "\n", "-BADREQUEST"},
			hostile{"window=" + n, "consumers", "orders?ack&window=" + n + "\n", "-BADREQUEST"})
	}
	for _, answer := range []string{"+9223372036854775807", "-9223372036854775807", "+18446744073709551616", "+-1", "++1", "-", "+" + strings.Repeat("1", 5000), "-1 " + strings.Repeat("r", 5000)} {
		list = append(list, hostile{"acknowledgement " + answer[:min(len(answer), 30)], "consumers", "orders?follow&ack\n" + answer + "\n", "-BADREQUEST"})
	}
	for _, n := range []int32{math.MinInt32, -1, 0, 48, 2 << 20, math.MaxInt32} {
		answer := "-BADMESSAGE"
		if n >= 2<<20 {
			answer = "-TOOLARGE"
		}
		header := make([]byte, batch.HeaderSize)
		binary.BigEndian.PutUint32(header[8:], uint32(n))
		header[16] = 2
		list = append(list, hostile{fmt.Sprintf("a batch of %d bytes", n), "producers", "orders?format=batch\n" + string(header), answer})
	}
	for _, n := range []int32{math.MinInt32, -1, 0, 7, 1<<20 + 1, math.MaxInt32} {
		list = append(list, hostile{fmt.Sprintf("a frame of %d bytes", n), "kafka", string(frameHead(n, 3, 0)), ""})
	}
	for _, key := range []int16{0, 1, 2, 3, 8, 9, 11, 14, 19, 22, 32, 47} { // a claimed array behind an empty client id
		for _, claimed := range []uint32{0x7fffffff, 0x03ffffff, 0xffffffff, 0x80000000} {
			body := binary.BigEndian.AppendUint32([]byte{0xff, 0xff}, claimed)
			body = append(body, make([]byte, 100)...)
			list = append(list, hostile{fmt.Sprintf("key %d, an array of %x", key, claimed), "kafka", string(append(frameHead(int32(8+len(body)), key, 3), body...)), "any"})
		}
	}
	return list
}

// frameHead begins a Kafka request: size, key, version and correlation id.
func frameHead(size int32, key, version int16) []byte {
	p := binary.BigEndian.AppendUint32(nil, uint32(size))
	p = binary.BigEndian.AppendUint16(p, uint16(key))
	p = binary.BigEndian.AppendUint16(p, uint16(version))
	return binary.BigEndian.AppendUint32(p, 1)
}

// send gives each input to its port, many times over, and checks the answer.
func (s *siege) send(t *testing.T, times int, list []hostile) {
	address := make(map[string]string)
	for _, p := range s.ports() {
		address[p.name] = p.address
	}
	sideBySide(times*len(list), 8, func(i int) {
		h := list[i%len(list)]
		answer, err := s.converse(address[h.port], []byte(h.sent))
		if err != nil {
			t.Errorf("%s: %v", h.name, err)
		}
		if !s.isDenied(h.port, answer) {
			h.check(t, answer)
		}
	})
}

func (h hostile) check(t *testing.T, answer string) {
	if h.answer == "any" {
		return
	}
	if h.port == "producers" && !lineAnswer.MatchString(answer) {
		t.Errorf("%s on the %s port is answered %.200q", h.name, h.port, answer)
	}
	if last := brokertest.LastLine(answer); !strings.HasPrefix(last, h.answer) || h.answer == "" && answer != "" {
		t.Errorf("%s on the %s port is answered %.200q, not %q", h.name, h.port, answer, h.answer)
	}
}

// F29: lengths that are negative, absurd, or claimed and never sent, on every
// port. Each is refused in words where the protocol has them, and costs nothing.
func TestF29HostileLengths(t *testing.T) { overEach(t, attackWithLengths) }

func attackWithLengths(t *testing.T, over transport) {
	s := over.besiege(t)
	s.Publish("orders", "first order")
	s.attack(t, calm+64<<20, func() { s.send(t, over.runs(1, 300), hostileLengths()) })
	s.end(t)
}

// F29: connections that claim all they may, or begin a message, and send no more:
// they hold memory in proportion to what they sent, and others, whose messages
// need more than a connection's first buffer, go on.
func TestF29ClaimsThatWait(t *testing.T) { overEach(t, attackWithClaimsThatWait) }

func attackWithClaimsThatWait(t *testing.T, over transport) {
	n := over.runs(300, 2000)
	header := make([]byte, batch.HeaderSize)
	binary.BigEndian.PutUint32(header[8:], 1<<20)
	header[16] = 2
	begun := strings.Repeat("x", 5000)
	for _, c := range []struct{ name, port, sent string }{
		{"a batch", "producers", "orders?format=batch\n" + string(header)},
		{"a line", "producers", "orders\n" + begun},
		{"JSON", "producers", "orders?format=json\n{\"payload\":\"" + begun},
		{"a frame", "kafka", string(append(frameHead(16<<20-1, 0, 3), begun...))},
		{"a consumer's request", "consumers", "orders?follow&group="},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := over.besiege(t)
			s.attack(t, calm+over.memory(int64(n), 24<<10+4*int64(len(c.sent))), func() {
				conns := s.crowd(t, n, c.port, c.sent)
				defer hangUp(conns)
				if !over.isStranger() {
					s.mustHold(t, n)
				}
				s.bystand(func() {}).mustKeep(t)
			})
			s.end(t)
		})
	}
}

// F29: requests of 100 MiB, of which the first batch comes and a part of the second: what
// has come is stored, the rest holds as much memory as a batch, and others go on.
func TestF29RequestsOf100MiB(t *testing.T) { overUsers(t, attackWithRequestsOf100MiB) }

func attackWithRequestsOf100MiB(t *testing.T, over transport) {
	n := over.runs(20, 40)
	s := over.besiege(t)
	var builder batch.Builder
	builder.Add(1, nil, make([]byte, 1<<20))
	builder.Close(0)
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = 8, -1, 10_000
	of := kmsg.NewProduceRequestTopic()
	of.Topic = "large"
	for range 2 {
		part := kmsg.NewProduceRequestTopicPartition()
		part.Records = builder.Bytes()
		of.Partitions = append(of.Partitions, part)
	}
	req.Topics = append(req.Topics, of)
	frame := kmsg.NewRequestFormatter().AppendRequest(nil, req, 1)
	binary.BigEndian.PutUint32(frame, 100<<20)
	s.Publish("large", "the first")
	s.attack(t, calm+over.memory(int64(n), 10<<20), func() {
		conns := s.crowd(t, n, "kafka", string(frame[:len(frame)-1000]))
		defer hangUp(conns)
		s.mustHold(t, n)
		s.bystand(func() {}).mustKeep(t)
		eventually(t, "what has come is stored", func() bool { return s.end100(t) == int64(1+n) })
	})
	s.end(t)
}

// end100 is where the topic of large requests ends.
func (s *siege) end100(t *testing.T) int64 {
	t.Helper()
	k := s.dialKafka(t)
	defer k.Close()
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID = 4, -1
	of := kmsg.NewListOffsetsRequestTopic()
	part := kmsg.NewListOffsetsRequestTopicPartition()
	part.Timestamp = -1
	of.Topic, of.Partitions = "large", append(of.Partitions, part)
	req.Topics = append(req.Topics, of)
	resp, err := k.ask(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0].Offset
}

// crowd opens so many connections to a port and sends the same on each.
func (s *siege) crowd(t *testing.T, n int, port, sent string) []net.Conn {
	t.Helper()
	var address string
	for _, p := range append(s.ports(), s.httpPort()) {
		if p.name == port {
			address = p.address
		}
	}
	conns := make([]net.Conn, n)
	sideBySide(n, 8, func(i int) {
		conn, err := s.dialFrom(i, address)
		if err == nil {
			conns[i] = conn
			if _, err = io.WriteString(conn, sent); s.over.isStranger() {
				err = nil // it may have been refused already
			}
		}
		if err != nil && !(s.full && s.over.secure) { // over TLS a refusal may come in the handshake
			t.Error(err)
		}
	})
	return conns
}

func hangUp(conns []net.Conn) {
	for _, c := range conns {
		if c != nil {
			c.Close()
		}
	}
}

// mustHold waits until the broker has n connections more than before.
func (s *siege) mustHold(t *testing.T, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("the broker has %d connections", n), func() bool { return s.openFiles() >= s.files+n })
}

// F29: clients that send a byte at a time, on every port, and never end.
func TestF29SlowDrips(t *testing.T) { overEach(t, attackWithDrips) }

func attackWithDrips(t *testing.T, over transport) {
	s := over.besiege(t)
	each := over.runs(100, 1000)
	s.attack(t, calm+over.memory(3*int64(each), 24<<10), func() {
		var all []net.Conn
		for _, p := range s.ports() {
			all = append(all, s.crowd(t, each, p.name, "")...)
		}
		defer hangUp(all)
		texts := []string{"drips\na message that takes its ti", "drips?follow&group=slow&", string(append(frameHead(500, 3, 1), make([]byte, 60)...))}
		deadline := time.Now().Add(patience)
		for at := range len(texts[1]) {
			for i, conn := range all {
				conn.SetDeadline(deadline)
				if _, err := io.WriteString(conn, texts[i/each][at:at+1]); err != nil && !over.isStranger() {
					t.Fatalf("connection %d, byte %d: %v", i, at, err)
				}
			}
			s.bystand(func() {}).mustKeep(t)
		}
	})
	s.end(t)
}
