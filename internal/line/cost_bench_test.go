package line_test

import (
	"bufio"
	"io"
	"net"
	"strconv"
	"testing"
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
