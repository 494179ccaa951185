package line_test

import (
	"bufio"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"mbus/internal/batch/batchtest"
	"mbus/internal/batch/codec"
)

// A worker answers each message when it has come, and tells of it.
func answerEach(conn *net.TCPConn, handled chan<- struct{}) {
	r := bufio.NewReaderSize(conn, 256)
	var answer []byte
	for n := int64(1); ; n++ {
		if _, err := r.ReadSlice('\n'); err != nil {
			return
		}
		answer = append(strconv.AppendInt(append(answer[:0], '+'), n, 10), '\n')
		if _, err := conn.Write(answer); err != nil {
			return
		}
		handled <- struct{}{}
	}
}

// Workers wait for a message that one of them gets.
func BenchmarkIdleWorkers(b *testing.B) {
	for _, workers := range []int{1, 1000} {
		b.Run(strconv.Itoa(workers), func(b *testing.B) {
			bus := startQuick(b)
			bus.publish("orders", "first")
			bus.drain("orders")
			handled := make(chan struct{}, workers)
			for range workers {
				go answerEach(bus.connect(bus.consumers, "orders?follow&ack&window=1"), handled)
			}
			await(b, "all are there", func() bool { return len(bus.broker.Members("default")) == workers })
			producer := bus.connect(bus.producers, "orders")
			go io.Copy(io.Discard, producer)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				if _, err := io.WriteString(producer, lineOf100); err != nil {
					b.Fatal(err)
				}
				<-handled
			}
		})
	}
}

// A worker takes messages of batches of a megabyte one at a time.
func BenchmarkWindowOfOne(b *testing.B) {
	for _, c := range []codec.Codec{codec.None, codec.Zstd} {
		b.Run(c.String(), func(b *testing.B) {
			bus := startQuick(b)
			whole := batchtest.Compress(b, c, newBatch(numbered(10_000, 80)...))
			for n := 0; n < b.N; n += whole.Count() {
				producer := bus.connect(bus.producers, "orders?format=batch")
				producer.Write(whole)
				producer.CloseWrite()
				io.Copy(io.Discard, producer)
			}
			handled := make(chan struct{}, 1)
			b.ReportAllocs()
			b.ResetTimer()
			go answerEach(bus.connect(bus.consumers, "orders?follow&ack&window=1"), handled)
			for range b.N {
				<-handled
			}
		})
	}
}

// A worker acknowledges one message after the other while a thousand wait for another
// attempt. disk-B/op is what the positions take there, for each message.
func BenchmarkBackOff(b *testing.B) {
	const failed = 1000
	for _, parked := range []int{0, failed} {
		b.Run(strconv.Itoa(parked), func(b *testing.B) {
			bus := startQuick(b)
			bus.publish("orders", numbered(2*parked+b.N, 10)...)
			conn := bus.connect(bus.consumers, "orders?follow&ack&window=1&retry=1h&attempts=0")
			r := bufio.NewReader(conn)
			one := func(n int, sign byte) {
				if _, err := r.ReadSlice('\n'); err != nil {
					b.Fatal(err)
				}
				if _, err := conn.Write(append(strconv.AppendInt([]byte{sign}, int64(n), 10), '\n')); err != nil {
					b.Fatal(err)
				}
			}
			for n := range 2 * parked {
				one(n+1, "+-"[n%2])
			}
			before := bus.positionBytes()
			b.ReportAllocs()
			b.ResetTimer()
			for n := range b.N {
				one(2*parked+n+1, '+')
			}
			b.StopTimer()
			if err := bus.broker.AwaitPositions(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(bus.positionBytes()-before)/float64(b.N), "disk-B/op")
		})
	}
}

// positionBytes is how many bytes the positions log has on the disk.
func (b *bus) positionBytes() (n int64) {
	b.t.Helper()
	files, err := filepath.Glob(filepath.Join(b.setup.dir, "topics", "__consumer_offsets", "*", "*.log"))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			b.t.Fatal(err)
		}
		n += info.Size()
	}
	return n
}
