package kafka_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/batch"
	"mbus/internal/broker"
	"mbus/internal/kafka"
	"mbus/test/brokertest"
)

func TestApiVersionsOfAnUnknownVersionIsAnsweredInVersionZero(t *testing.T) {
	c := start(t, setup{}).dial()
	p := frame(kmsg.NewPtrApiVersionsRequest(), 1)
	binary.BigEndian.PutUint16(p[6:], 99)
	p = append(p, "a body that nobody can read"...)
	binary.BigEndian.PutUint32(p, uint32(len(p)-4))
	if _, err := c.Write(p); err != nil {
		t.Fatal(err)
	}
	resp := c.receive(kmsg.NewPtrApiVersionsRequest()).(*kmsg.ApiVersionsResponse)
	if resp.ErrorCode != kerr.UnsupportedVersion.Code || len(resp.ApiKeys) != 1 || resp.ApiKeys[0].ApiKey != 18 || resp.ApiKeys[0].MaxVersion == 0 {
		t.Errorf("%+v", resp)
	}
	c.sent = 1
	req := kmsg.NewPtrApiVersionsRequest()
	req.Version, req.ClientSoftwareName, req.ClientSoftwareVersion = 4, "test", "1.0"
	if resp := ask[*kmsg.ApiVersionsResponse](c, req); resp.ErrorCode != 0 || len(resp.ApiKeys) < 20 {
		t.Errorf("%+v", resp)
	}
	req.ClientSoftwareName = "a/b"
	if resp := ask[*kmsg.ApiVersionsResponse](c, req); resp.ErrorCode != kerr.InvalidRequest.Code {
		t.Errorf("%+v", resp)
	}
}

// raw is a frame with that content.
func raw(p ...byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(p))), p...)
}

func TestWhatIsNoRequestClosesTheConnectionAndSaysWhy(t *testing.T) {
	b := start(t, setup{})
	truncated := frame(kmsg.NewPtrProduceRequest(), 1)
	for name, test := range map[string]struct {
		sent []byte
		says string
	}{
		"TLS":                     {[]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on"), "is this a Kafka client"},
		"a frame that is short":   {[]byte{0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0}, "of 2 bytes"},
		"a negative size":         {[]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0}, "of -1 bytes"},
		"too large":               {[]byte{0, 0x10, 0, 1, 0, 3, 0, 0, 0, 0, 0, 1}, "of 1048577 bytes"},
		"too large to produce":    {[]byte{6, 0x40, 0, 1, 0, 0, 0, 3, 0, 0, 0, 1}, "of 104857601 bytes"},
		"an unknown key":          {raw(0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff), "is not known here"},
		"a negative key":          {raw(0xff, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff), "is not known here"},
		"an unknown version":      {raw(0, 3, 0, 99, 0, 0, 0, 1, 0xff, 0xff), "version 99 is not supported"},
		"a negative version":      {raw(0, 3, 0xff, 0xff, 0, 0, 0, 1, 0xff, 0xff), "version -1 is not supported"},
		"no client id":            {raw(0, 3, 0, 1, 0, 0, 0, 1), "ends in its header"},
		"half a client id":        {raw(0, 3, 0, 1, 0, 0, 0, 1, 0, 9, 'a'), "ends in its header"},
		"a client id of -2":       {raw(0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xfe), "ends in its header"},
		"no body":                 {raw(0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff), "not laid out"},
		"a count beyond the body": {raw(0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff), "not laid out"},
		"endless tags":            {raw(0, 3, 0, 12, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f), "ends in its header"},
		"half of a request":       {raw(truncated[4 : len(truncated)-6]...), "not laid out"},
	} {
		c := b.dial()
		if _, err := c.Write(test.sent); err != nil {
			t.Fatal(err)
		}
		c.mustBeClosed()
		await(t, name+" is logged: "+test.says, func() bool { return b.book.Lines("closing", "level=DEBUG", test.says) != nil })
	}
}

// A program with the wrong port must not wait, nor wonder.
func TestALineOfTextGetsTheOtherPorts(t *testing.T) {
	b := start(t, setup{})
	for _, text := range []string{"?topics\n", "orders\n", "orders?format=batch\n", "GET / HTTP/1.1\r\n\r\n", "jobs\nfirst\nsecond\n", "jobs?format=batch\n\x00\x00\xff\x1b"} {
		c := b.dial()
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		if strings.Contains(text, "HTTP/") { // in its own words
			if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 400 ") || !strings.Contains(string(got), "\r\n\r\nthis is the port for Kafka clients") {
				t.Errorf("%q: %q, %v", text, got, err)
			}
			continue
		}
		if err != nil || !strings.HasPrefix(string(got), "-BADREQUEST this is the port for Kafka clients: ") || strings.Count(string(got), "\n") != 1 {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, binary := range [][]byte{{0xff, 0xff, 0xff, 0xff}, []byte("\x16\x03\x01\x02"), {0x7f, 0x7f, 0x7f, 0x7f}} {
		c := b.dial()
		c.Write(binary)
		c.mustBeClosed()
	}
}

// A scan of ports is no warning; a client that has spoken before needs help.
func TestWhatAClientIsClosedForIsAWarning(t *testing.T) {
	b := start(t, setup{})
	c := b.dial()
	ask[*kmsg.MetadataResponse](c, metadataFor(1))
	c.Write(raw(0, 3, 0, 99, 0, 0, 0, 1, 0xff, 0xff))
	c.mustBeClosed()
	await(t, "it is logged", func() bool { return b.book.Lines("closing", "level=WARN", "version 99 is not supported") != nil })
}

func TestARequestThatStopsInTheMiddleIsNotWaitedForWithoutEnd(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.RequestTime = 500 * time.Millisecond }})
	var c *client
	await(t, "a client is in time with its handshake and its first request", func() bool {
		c = b.dial()
		c.sent++
		if _, err := c.Write(frame(metadataFor(1), c.sent)); err != nil {
			return false
		}
		_, err := c.tryReceive(metadataFor(1))
		return err == nil
	})
	for range 2 { // the second one's time begins when one of c would be over
		halfway := b.dial()
		halfway.Write(frame(metadataFor(1), 1)[:9])
		halfway.mustBeClosed()
	}
	ask[*kmsg.MetadataResponse](c, metadataFor(1)) // between requests there is no bound
	c.Write(frame(metadataFor(1), 3)[:9])
	c.mustBeClosed()
}

func TestARequestMayComeByteByByte(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.dial()
	req := produceRequest(write{"orders", 0, messages(3)})
	c.sent++
	for _, one := range frame(req, 1) {
		if _, err := c.Write([]byte{one}); err != nil {
			t.Fatal(err)
		}
	}
	if p := produced(c.receive(req).(*kmsg.ProduceResponse)); p.ErrorCode != 0 {
		t.Errorf("%+v", p)
	}
}

func TestLargeAndSmallRequestsMayFollowOnEachOther(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.MaxMessage = 8 << 20 }})
	b.topic("orders", 1)
	c := b.dial()
	var reqs []kmsg.Request
	var all []byte
	for i, size := range []int{0, 5 << 20, 10, 5000, 70_000, 0, 1 << 20, 4000, 3 << 20} {
		var builder batch.Builder
		builder.Add(1, nil, bytes.Repeat([]byte{byte(i)}, size))
		builder.Close(0)
		reqs = append(reqs, produceRequest(write{"orders", 0, builder.Bytes()}), metadataFor(1, "orders"))
	}
	for i, req := range reqs {
		all = append(all, frame(req, int32(i+1))...)
	}
	go c.Write(all)
	offset := int64(0)
	for _, req := range reqs {
		resp, ok := c.receive(req).(*kmsg.ProduceResponse)
		if !ok {
			continue
		}
		if p := produced(resp); p.ErrorCode != 0 || p.BaseOffset != offset {
			t.Fatalf("%+v, want offset %d", p, offset)
		}
		offset++
	}
	await(t, "the budget is given back", func() bool { return b.broker.Budget.Take(int(b.broker.Limits.MaxInFlight)) })
}

func TestOneConnectionTooManyIsClosed(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.MaxConnections = 2 }})
	first, second := b.dial(), b.dial()
	ask[*kmsg.MetadataResponse](first, metadataFor(1))
	ask[*kmsg.MetadataResponse](second, metadataFor(1))
	b.dial().mustBeClosed()
	first.Close()
	await(t, "there is room again", func() bool {
		c := b.dial()
		defer c.Close()
		c.sent++
		if _, err := c.Write(frame(metadataFor(1), c.sent)); err != nil {
			return false
		}
		_, err := c.tryReceive(metadataFor(1))
		return err == nil
	})
}

func TestARequestThatCanNeverHaveItsMemoryClosesItsConnectionOnly(t *testing.T) {
	b := start(t, setup{limits: func(l *broker.Limits) { l.MaxInFlight = 100_000 }})
	b.topic("orders", 1)
	var builder batch.Builder
	builder.Add(1, nil, make([]byte, 200_000))
	builder.Close(0)
	c := b.dial()
	c.Write(frame(produceRequest(write{"orders", 0, builder.Bytes()}), 1)) // may fail
	c.mustBeClosed()
	await(t, "the reason is logged", func() bool { return b.book.Lines("closing", "more than half of the memory of all requests") != nil })
	if base := b.dial().publish("orders", 0, messages(1)); base != 0 {
		t.Errorf("offset %d", base)
	}
}

// The memory that a hostile frame may take, beside what every connection does.
const hostileFactor = 4

func TestHostileFramesCostLittleMemory(t *testing.T) {
	brokertest.Slow(t)
	b := start(t, setup{})
	b.topic("t", 1)
	for name, p := range hostileFrames() {
		t.Run(name, func(t *testing.T) {
			nc, err := net.Dial("tcp", b.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			nc.SetDeadline(time.Now().Add(patience))
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			if _, err := nc.Write(p); err == nil {
				nc.(*net.TCPConn).CloseWrite()
				io.Copy(io.Discard, nc)
			}
			await(t, "the connection has ended", func() bool { return len(b.server.Connections()) == 0 })
			runtime.ReadMemStats(&after)
			took := int(after.TotalAlloc - before.TotalAlloc)
			if limit := hostileFactor*len(p) + 4<<20; took > limit {
				t.Errorf("a frame of %d bytes took %d, more than %d", len(p), took, limit)
			}
		})
	}
}

// hostileFrames are requests whose counts claim as much as they can, and requests
// of as many small things as fit.
func hostileFrames() map[string][]byte {
	frames := make(map[string][]byte)
	for key, served := range kafka.Versions() {
		for _, version := range slices.Compact(slices.Sorted(slices.Values([]int16{0, served[0], min(4, served[1]), served[1]}))) {
			for _, fill := range []byte{0, 1} {
				p := make([]byte, 4, 1<<20)
				p = binary.BigEndian.AppendUint16(p, uint16(key))
				p = binary.BigEndian.AppendUint16(p, uint16(version))
				p = append(p, 0, 0, 0, 1, 0xff, 0xff)
				if r := kmsg.RequestForKey(key); r != nil {
					if r.SetVersion(version); r.IsFlexible() {
						p = append(p, 0)
					}
				}
				for _, lead := range []int{0, 3, 10} {
					q := append(bytes.Clone(p), make([]byte, lead)...)
					q = append(q, 0, 0x03, 0xff, 0xff)
					q = append(q, bytes.Repeat([]byte{0, 0, 0, fill}, 200_000)...)
					binary.BigEndian.PutUint32(q, uint32(len(q)-4))
					frames[fmt.Sprintf("key %d, version %d, %d before, filled with %d", key, version, lead, fill)] = q
				}
			}
		}
	}
	many := metadataFor(1)
	for range 300_000 {
		many.Topics = append(many.Topics, kmsg.MetadataRequestTopic{Topic: kmsg.StringPtr("t")})
	}
	frames["a topic many times"] = frame(many, 1)
	claimed := binary.BigEndian.AppendUint32(nil, 16<<20)
	frames["a size that is claimed only"] = append(claimed, 0, 0, 0, 3, 0, 0, 0, 1)
	return frames
}

// fuzzed runs bytes as all that a connection brings.
func fuzzed(t testing.TB, b *bus, p []byte) {
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(patience))
	go func() {
		nc.Write(p)
		nc.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(io.Discard, nc)
	await(t, "the connection has ended", func() bool { return len(b.server.Connections()) == 0 })
	if panics := b.book.Lines("panic"); len(panics) > 0 {
		t.Fatalf("%q", panics)
	}
}

func FuzzConnection(f *testing.F) {
	b := start(f, setup{})
	b.topic("orders", 1)
	both := append(frame(produceRequest(write{"orders", 0, messages(2)}), 1), frame(fetchRequest(11, read{"orders", 0, 0}), 2)...)
	f.Add(both)
	f.Add(both[:len(both)-5])
	f.Add(frame(newTopic("new", 1, "retention.ms", "1"), 1))
	f.Add(frame(metadataFor(12, "orders", "new"), 1))
	f.Fuzz(func(t *testing.T, p []byte) { fuzzed(t, b, p) })
}
