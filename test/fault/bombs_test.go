package fault

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"

	"mbus/internal/batch"
	"mbus/internal/batch/batchtest"
	"mbus/internal/batch/codec"
)

// expanded is what a bomb that the broker takes expands to, in bytes: a little
// less than batch.DefaultMaxExpanded.
const expanded = 60 << 20

// bomb is a batch of records of 1 MiB of zeros that expands to size bytes or a
// little more.
func bomb(t testing.TB, c codec.Codec, size int) []byte {
	t.Helper()
	var b batch.Builder
	for value := make([]byte, 1<<20); len(b.Bytes()) < size; {
		b.Add(1000, nil, value)
	}
	b.Close(0)
	return batchtest.Compress(t, c, b.Bytes())
}

// crumbs is a batch of as many of the smallest records as expand to size bytes.
func crumbs(t testing.TB, c codec.Codec, size int) []byte {
	t.Helper()
	var b batch.Builder
	for len(b.Bytes()) < size {
		b.Add(0, nil, nil)
	}
	b.Close(0)
	return batchtest.Compress(t, c, b.Bytes())
}

// bombBound is what the broker may take for bombs, in bytes: each processor checks
// one, which may expand to the limit, and what was used just before may not have
// been collected yet. It does not depend on how many come.
func bombBound() int64 {
	return calm + int64(3*(runtime.GOMAXPROCS(0)+1))*batch.DefaultMaxExpanded
}

// F32: bombs that expand beyond the limit, in each codec, from many connections at
// once and on both ports: refused, for memory that does not grow with their number.
func TestF32BombsBeyondTheLimit(t *testing.T) { overEach(t, attackWithBombsBeyondTheLimit) }

func attackWithBombsBeyondTheLimit(t *testing.T, over transport) {
	s := over.besiege(t)
	s.Publish("bombs", "first")
	var bombs [][]byte
	for _, c := range batchtest.Codecs[1:] {
		size := runs(100, 200) << 20
		if c == codec.Snappy {
			size = 10 << 20 // all that it can make of a batch that is small enough
		}
		b := bomb(t, c, size)
		if c == codec.Snappy {
			b = sealed(b[:len(b)-1])
		}
		if len(b) > 1<<20+32<<10 {
			t.Fatalf("%v makes %d bytes", c, len(b))
		}
		bombs = append(bombs, b)
	}
	bombs = append(bombs, oneMessage(t, expanded)) // larger than a message may be
	n := over.runs(16, 2000)
	s.attack(t, bombBound(), func() {
		sideBySide(n, 16, func(i int) {
			b := bombs[i/2%len(bombs)]
			if i%2 == 0 {
				k := s.dialKafka(t)
				defer k.Close()
				if code := k.produce(t, "bombs", b); code <= 0 {
					t.Errorf("bomb %d: a Kafka client is answered with code %d", i, code)
				}
				return
			}
			answer, err := s.converse(s.Producers(), []byte("bombs?format=batch\n"+string(b)))
			if err != nil || !strings.HasPrefix(answer, "-TOOLARGE ") && !strings.HasPrefix(answer, "-BADMESSAGE ") && !s.isDenied("producers", answer) {
				t.Errorf("bomb %d: answered %q, %v", i, answer, err)
			}
		})
	})
	report(t, tally{Runs: n})
	if got := s.Drain("bombs"); got != "first\n" {
		t.Errorf("what is kept is %.100q", got)
	}
	s.end(t)
}

// F32: batches that expand to what the broker still takes, of one record and of
// millions, as they are, without their latest time, and with a producer id: each
// has the broker look at the records. They may be taken or refused, and are cheap
// however many come at once.
func TestF32BombsBelowTheLimit(t *testing.T) { overUsers(t, attackWithBombsBelowTheLimit) }

func attackWithBombsBelowTheLimit(t *testing.T, over transport) {
	for name, arm := range map[string]func([]byte) []byte{
		"of one large message":     func([]byte) []byte { return oneMessage(t, expanded) },
		"as it is":                 func(b []byte) []byte { return b },
		"without its latest time":  func(b []byte) []byte { return field(b, atLastTime, ^uint64(0)) },
		"with a producer id":       func(b []byte) []byte { return field(b, atProducer, 77<<16) },
		"of the smallest messages": nil,
	} {
		t.Run(name, func(t *testing.T) {
			s := over.besiege(t)
			s.Publish("bombs", "first")
			b := crumbs(t, codec.Zstd, expanded/8)
			if arm != nil {
				b = arm(bomb(t, codec.Zstd, expanded))
			}
			n := over.runs(8, 200)
			s.attack(t, bombBound(), func() {
				sideBySide(n, n, func(i int) {
					if i%2 == 0 {
						k := s.dialKafka(t)
						defer k.Close()
						k.produce(t, "bombs", b)
						return
					}
					answer, err := s.converse(s.Producers(), []byte("bombs?format=batch\n"+string(b)))
					if err != nil || !lineAnswer.MatchString(answer) {
						t.Errorf("answered %q, %v", answer, err)
					}
				})
			})
			report(t, tally{Runs: n})
			s.end(t)
		})
	}
}

// oneMessage is a batch of one message of so many zeros.
func oneMessage(t testing.TB, size int) []byte {
	t.Helper()
	var b batch.Builder
	b.Add(1000, nil, make([]byte, size))
	b.Close(0)
	return batchtest.Compress(t, codec.Zstd, b.Bytes())
}

// field sets a field of eight bytes of a batch.
func field(b []byte, at int, v uint64) []byte {
	b = bytes.Clone(b)
	binary.BigEndian.PutUint64(b[at:], v)
	return stamped(b)
}

// F32: readers of what was taken, who read it as lines, as JSON, and from the middle
// of a batch on, and then stop.
func TestF32BombsAreReadByMany(t *testing.T) { overUsers(t, attackByReadersOfBombs) }

func attackByReadersOfBombs(t *testing.T, over transport) {
	s := over.besiege(t)
	for topic, b := range map[string][]byte{"one": bomb(t, codec.Zstd, expanded), "many": crumbs(t, codec.Zstd, expanded/8)} {
		answer, err := s.converse(s.Producers(), []byte(topic+"?format=batch\n"+string(b)))
		if err != nil || !strings.HasPrefix(answer, "+") {
			t.Fatalf("%s: answered %q, %v", topic, answer, err)
		}
	}
	n := over.runs(24, 200)
	s.attack(t, bombBound(), func() {
		conns := make([]net.Conn, n)
		defer func() { hangUp(conns) }()
		sideBySide(n, n, func(i int) {
			options := []string{"format=lines&group=g%d\n", "format=json&group=g%d\n", "format=batch&from=1&n=%d000000\n"}[i/2%3]
			request := []string{"one?", "many?"}[i%2] + fmt.Sprintf(options, i+1)
			conn, err := s.dialFrom(i, s.Consumers())
			if err == nil {
				conns[i] = conn
				_, err = io.WriteString(conn, request)
			}
			if err == nil {
				_, err = conn.Read(make([]byte, 1))
			}
			if err != nil {
				t.Errorf("%q: %v", request, err)
			}
		})
		s.bystand(func() {}).mustKeep(t)
	})
	report(t, tally{Runs: n})
	s.end(t)
}
