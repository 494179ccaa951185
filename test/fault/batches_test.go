package fault

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/batch/codec"
)

// Where fields stand in a record batch, see FORMAT.md.
const (
	atLength    = 8
	atMagic     = 16
	atCRC       = 17
	atFlags     = 21
	atLastDelta = 23
	atFirstTime = 27
	atLastTime  = 35
	atProducer  = 43
	atCount     = 57
)

// sealed makes length and CRC right.
func sealed(b []byte) []byte {
	binary.BigEndian.PutUint32(b[atLength:], uint32(len(b)-12))
	return stamped(b)
}

// stamped makes the CRC right.
func stamped(b []byte) []byte {
	binary.BigEndian.PutUint32(b[atCRC:], crc32.Checksum(b[atFlags:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// soundBatch has n records with keys, headers and nulls.
func soundBatch(n int) []byte {
	var b batch.Builder
	for i := range n {
		switch i % 3 {
		case 0:
			b.Add(int64(1000+i), nil, []byte("value"))
		case 1:
			b.Add(int64(1000-i), []byte("key"), nil, batch.Header{Key: "header", Value: []byte("of it")})
		case 2:
			b.Add(int64(1000), []byte{}, bytes.Repeat([]byte("x"), 10*i), batch.Header{Key: ""}, batch.Header{Key: "h"})
		}
	}
	b.Close(0)
	return b.Bytes()
}

// wrongBatches each lie about one thing. All have a right CRC but those that are
// about it.
func wrongBatches(t testing.TB) map[string][]byte {
	list := make(map[string][]byte)
	put := func(name string, b []byte, at int, field ...byte) {
		b = bytes.Clone(b)
		copy(b[at:], field)
		list[name] = stamped(b)
	}
	for _, c := range batchtest.Codecs {
		b := batchtest.Compress(t, c, soundBatch(7))
		on := func(name string) string { return c.String() + ", " + name }
		for _, n := range []uint32{0, 6, 8, 0x7fffffff, 0x80000000, 0xffffffff} {
			put(on(fmt.Sprintf("count %x", n)), b, atCount, binary.BigEndian.AppendUint32(nil, n)...)
			if n != 6 {
				put(on(fmt.Sprintf("last offset delta %x", n)), b, atLastDelta, binary.BigEndian.AppendUint32(nil, n)...)
			}
		}
		for _, other := range []byte{5, 6, 7} {
			put(on(fmt.Sprintf("codec %d", other)), b, atFlags+1, other)
		}
		put(on("another codec"), b, atFlags+1, byte(c+1)%5)
		put(on("a control batch"), b, atFlags+1, byte(c)|0x20)
		for _, magic := range []byte{0, 1, 3, 255} {
			put(on(fmt.Sprintf("magic %d", magic)), b, atMagic, magic)
		}
		list[on("a flipped CRC")] = bytes.Clone(b)
		list[on("a flipped CRC")][atCRC] ^= 1
		list[on("cut records")] = sealed(bytes.Clone(b[:len(b)-3]))
		list[on("bytes behind the records")] = sealed(append(bytes.Clone(b), 0, 0, 0))
		if c != codec.None {
			list[on("no compressed bytes")] = sealed(bytes.Clone(b[:batch.HeaderSize]))
		}
		for name, records := range wrongRecords() {
			header := soundBatch(1)[:batch.HeaderSize]
			list[on(name)] = batchtest.Compress(t, c, sealed(append(bytes.Clone(header), records...)))
		}
	}
	return list
}

// wrongRecords are records sections for one record.
func wrongRecords() map[string][]byte {
	record := func(body ...byte) []byte { return append(binary.AppendVarint(nil, int64(len(body))), body...) }
	huge := binary.AppendVarint(nil, 1<<31-1)
	eleven := append(bytes.Repeat([]byte{0x80}, 10), 1)
	return map[string][]byte{
		"a record of negative length":    append([]byte{1}, make([]byte, 20)...),
		"a record of huge length":        append(bytes.Clone(huge), make([]byte, 20)...),
		"a length without end":           bytes.Repeat([]byte{0x80}, 30),
		"a length of eleven bytes":       append(bytes.Clone(eleven), make([]byte, 20)...),
		"an empty record":                record(),
		"a key of huge length":           record(append([]byte{0, 0, 0}, huge...)...),
		"a value of huge length":         record(append([]byte{0, 0, 0, 1}, huge...)...),
		"a huge number of headers":       record(append([]byte{0, 0, 0, 1, 1}, huge...)...),
		"a negative number of headers":   record(0, 0, 0, 1, 1, 1),
		"a header without a key":         record(0, 0, 0, 1, 1, 2, 1, 1),
		"a header of huge length":        record(append([]byte{0, 0, 0, 1, 1, 2}, huge...)...),
		"an offset delta that is not 0":  record(0, 0, 2, 1, 1, 0),
		"a negative offset delta":        record(0, 0, 1, 1, 1, 0),
		"a timestamp without end":        record(append([]byte{0}, bytes.Repeat([]byte{0xff}, 20)...)...),
		"bytes behind the last header":   record(0, 0, 0, 1, 1, 0, 9, 9),
		"a record that ends in its key":  record(0, 0, 0, 20, 'k'),
		"zeros":                          make([]byte, 50),
		"all ones":                       bytes.Repeat([]byte{0xff}, 50),
		"a record in place of its value": record(0, 0, 0, 1, 40),
	}
}

// F31: record batches that lie, on both ports. Each is refused in words, nothing of
// it is kept, and what came before it on the connection is.
func TestF31WrongBatches(t *testing.T) { overEach(t, attackWithWrongBatches) }

func attackWithWrongBatches(t *testing.T, over transport) {
	s := over.besiege(t)
	s.Publish("wrong", "first")
	wrong := wrongBatches(t)
	var runs int
	s.attack(t, calm, func() {
		k := s.dialKafka(t)
		defer k.Close()
		for name, b := range wrong {
			runs++
			answer, err := s.converse(s.Producers(), []byte("wrong?format=batch\n"+string(b)))
			if err != nil || !strings.HasPrefix(answer, "-BADMESSAGE ") && !strings.HasPrefix(answer, "-INCOMPLETE ") && !s.isDenied("producers", answer) {
				t.Errorf("%s: answered %q, %v", name, answer, err)
			}
			if code := k.produce(t, "wrong", b); code <= 0 {
				t.Errorf("%s: a Kafka client is answered with code %d", name, code)
			}
		}
		sound := string(soundBatch(3))
		answer, err := s.converse(s.Producers(), []byte("kept?format=batch\n"+sound+string(wrong["none, a flipped CRC"])+sound))
		if err != nil || !strings.HasPrefix(answer, "+3\n-BADMESSAGE ") && !s.isDenied("producers", answer) {
			t.Errorf("one in the middle: answered %q, %v", answer, err)
		}
	})
	report(t, tally{Runs: 2 * runs})
	if got := s.Drain("wrong"); got != "first\n" {
		t.Errorf("what is kept is %.200q", got)
	}
	s.end(t)
}

// A kafkaConn is a connection that is spoken to request by request.
type kafkaConn struct {
	net.Conn
	number     int32
	isStranger bool
}

func dialKafka(t testing.TB, address string) *kafkaConn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return &kafkaConn{Conn: conn}
}

// ask sends a request and reads its answer.
func (k *kafkaConn) ask(req kmsg.Request) (kmsg.Response, error) {
	k.SetDeadline(time.Now().Add(patience))
	k.number++
	if _, err := k.Write(kmsg.NewRequestFormatter().AppendRequest(nil, req, k.number)); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(k, size[:]); err != nil {
		return nil, err
	}
	p := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(k, p); err != nil {
		return nil, err
	}
	resp := req.ResponseKind()
	return resp, resp.ReadFrom(p[4:])
}

// produce publishes a batch and gives the error code, -1 for a lost connection.
func (k *kafkaConn) produce(t testing.TB, topic string, b []byte) int16 {
	t.Helper()
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = 8, -1, 10_000
	part := kmsg.NewProduceRequestTopicPartition()
	part.Records = b
	of := kmsg.NewProduceRequestTopic()
	of.Topic, of.Partitions = topic, append(of.Partitions, part)
	req.Topics = append(req.Topics, of)
	resp, err := k.ask(req)
	if err != nil && k.isStranger {
		return kerr.SaslAuthenticationFailed.Code // as the close means
	}
	if err != nil {
		t.Errorf("produce: %v", err)
		return -1
	}
	return resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode
}

// F31: batches with random bytes changed and a right CRC, in each codec, on both
// ports. What is acknowledged can be read, by both protocols; nothing else is there.
func TestF31MutatedBatches(t *testing.T) { overUsers(t, attackWithMutatedBatches) }

func attackWithMutatedBatches(t *testing.T, over transport) {
	s := over.besiege(t)
	s.Publish("mutated", "first")
	var seeds [][]byte
	for _, c := range batchtest.Codecs {
		seeds = append(seeds, batchtest.Compress(t, c, soundBatch(5)), batchtest.Compress(t, c, soundBatch(40)))
	}
	var acked atomic.Int64
	acked.Add(1)
	n := over.runs(2000, 100_000)
	s.attack(t, calm+64<<20, func() {
		sideBySide(8, 8, func(worker int) {
			k := s.dialKafka(t)
			defer k.Close()
			for i := range n / 8 {
				r := rand.New(rand.NewPCG(uint64(worker), uint64(i)))
				b := mutated(r, seeds[i%len(seeds)])
				messages := int64(batch.Batch(b).Count())
				if i%2 == 0 {
					if k.produce(t, "mutated", b) == 0 {
						acked.Add(messages)
					}
					continue
				}
				answer, err := s.converse(s.Producers(), []byte("mutated?format=batch\n"+string(b)))
				if err != nil || !lineAnswer.MatchString(answer) {
					t.Errorf("answered %q, %v", answer, err)
				}
				if line, _, _ := strings.Cut(answer, "\n"); strings.HasPrefix(line, "+") {
					if told, _ := count(line); int64(told) != messages && told != 0 {
						t.Errorf("a batch of %d messages is answered %q", messages, answer)
					} else {
						acked.Add(int64(told))
					}
				}
			}
		})
	})
	want := int(acked.Load())
	report(t, tally{Runs: n})
	lines := s.Drain("mutated?format=json&from=beginning")
	if got := strings.Count(lines, "\n"); got != want {
		t.Errorf("%d messages are acknowledged, %d come as lines, the last %.200q", want, got, lines[max(0, len(lines)-200):])
	}
	if got := s.readKafka(t, "mutated", want); got != want {
		t.Errorf("%d messages are acknowledged, %d come to a Kafka client", want, got)
	}
	s.end(t)
}

// mutated changes a byte or a few of a batch, most often behind its header.
func mutated(r *rand.Rand, b []byte) []byte {
	b = bytes.Clone(b)
	for range 1 + r.IntN(3) {
		at := atFlags + r.IntN(len(b)-atFlags)
		if r.IntN(4) > 0 {
			at = batch.HeaderSize + r.IntN(len(b)-batch.HeaderSize)
		}
		b[at] = []byte{byte(r.IntN(256)), b[at] ^ 1<<r.IntN(8), 0, 1, 0x7f, 0x80, 0xff}[r.IntN(7)]
	}
	return stamped(b)
}

// readKafka counts the records of a topic that a Kafka client gets.
func (s *siege) readKafka(t *testing.T, topic string, want int) (got int) {
	t.Helper()
	cl, err := kgo.NewClient(append(s.friendOfKafka(), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for got < want {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Errorf("after %d records: %v", got, err)
			return got
		}
		got += fetches.NumRecords()
	}
	return got
}
