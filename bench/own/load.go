package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"mbus/bench/machine"
	"mbus/internal/batch"
)

// A payload is messages ready to be sent, over and over.
type payload struct {
	format string
	bytes  []byte
	count  int
	size   int // of a message
}

const payloadBytes = 256 << 10

// linesOf makes a payload of lines with size bytes each before the LF.
func linesOf(size int) payload {
	p := payload{format: "lines", size: size}
	for len(p.bytes) < payloadBytes {
		p.bytes = append(append(p.bytes, message(size, p.count)...), '\n')
		p.count++
	}
	return p
}

// batchesOf makes the same messages in record batches of about 64 KiB.
func batchesOf(size int) payload {
	p := payload{format: "batch", size: size}
	var b batch.Builder
	for n := 0; n < payloadBytes; n += size {
		b.Add(0, nil, message(size, p.count))
		p.count++
		if b.OpenSize() > 64<<10 {
			b.Close(0)
		}
	}
	b.Close(0)
	p.bytes = b.Bytes()
	return p
}

func message(size, n int) []byte {
	m := bytes.Repeat([]byte{byte('a' + n%26)}, size)
	copy(m, strconv.Itoa(n))
	return m
}

// A stream is a connection over TCP or TLS.
type stream interface {
	net.Conn
	CloseWrite() error
}

// A dialer connects to a port of the broker.
type dialer func() (stream, error)

func plainly(address string) dialer {
	return func() (stream, error) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return nil, err
		}
		return conn.(*net.TCPConn), nil
	}
}

// publish sends at least total messages over so many connections at once, and
// returns how many there were when all are acknowledged.
func publish(address, topic string, p payload, connections, total int) (int, error) {
	return publishOver(plainly(address), topic, p, connections, total)
}

func publishOver(dial dialer, topic string, p payload, connections, total int) (int, error) {
	times := max(1, total/p.count/connections)
	failed := make(chan error, connections)
	for range connections {
		go func() { failed <- p.send(dial, topic, times) }()
	}
	var errs []error
	for range connections {
		errs = append(errs, <-failed)
	}
	return times * p.count * connections, errors.Join(errs...)
}

func (p payload) send(dial dialer, topic string, times int) error {
	conn, err := request(dial, topic+"?format="+p.format)
	if err != nil {
		return err
	}
	defer conn.Close()
	written := make(chan error, 1)
	go func() {
		err := machine.WriteRepeatedly(conn, p.bytes, times*len(p.bytes))
		written <- errors.Join(err, conn.CloseWrite())
	}()
	last := ""
	answers := bufio.NewScanner(conn)
	for answers.Scan() {
		last = answers.Text()
	}
	if want := "+" + strconv.Itoa(times*p.count); last != want {
		return fmt.Errorf("the broker answered %q, not %s (%v)", last, want, answers.Err())
	}
	return <-written
}

func request(dial dialer, line string) (stream, error) {
	conn, err := dial()
	if err != nil {
		return nil, err
	}
	_, err = io.WriteString(conn, line+"\n")
	return conn, err
}

// publishSingly has each connection send one message at a time and wait for its
// acknowledgement before the next, and returns how many were acknowledged.
func publishSingly(address, topic string, size, connections int, during time.Duration) (int, error) {
	var total atomic.Int64
	end := time.Now().Add(during)
	failed := make(chan error, connections)
	for range connections {
		go func() {
			n, err := oneByOne(address, topic, size, func(n int) bool { return n == 0 || time.Now().Before(end) })
			total.Add(int64(n))
			failed <- err
		}()
	}
	var errs []error
	for range connections {
		errs = append(errs, <-failed)
	}
	return int(total.Load()), errors.Join(errs...)
}

// oneByOne sends messages while more says so, with the number of those
// acknowledged.
func oneByOne(address, topic string, size int, more func(n int) bool) (int, error) {
	conn, err := request(plainly(address), topic)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	line := append(message(size, 0), '\n')
	answers := bufio.NewReader(conn)
	n := 0
	for ; more(n); n++ {
		if _, err := conn.Write(line); err != nil {
			return n, err
		}
		answer, err := answers.ReadString('\n')
		if err != nil {
			return n, err
		}
		if answer != "+"+strconv.Itoa(n+1)+"\n" {
			return n, fmt.Errorf("the broker answered %q to message %d", answer, n+1)
		}
	}
	return n, nil
}

// drain reads the topic's messages as they come and throws them away. It
// returns the bytes that came.
func drain(address, line string) (int, error) { return drainOver(plainly(address), line) }

func drainOver(dial dialer, line string) (int, error) {
	conn, err := request(dial, line)
	if err != nil {
		return 0, err
	}
	n, err := machine.Discard(conn)
	return n, errors.Join(err, conn.Close())
}
