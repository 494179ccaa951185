package fault

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"mbus/test/brokertest"
)

// A reader keeps what its consumer has been shown. It is for one goroutine at a
// time.
type reader struct {
	topic, group string
	login        string // comes before each request; "" for no user
	got          map[string]bool
}

func newReader(topic, group string) *reader {
	return &reader{topic: topic, group: group, got: make(map[string]bool)}
}

// lines asks for request and gives each whole line of the answer to each, until
// the connection ends. It reports whether there was one.
func (r *reader) lines(address, request string, each func(conn net.Conn, in *bufio.Reader, line string)) bool {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return false
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	io.WriteString(conn, r.login+request+"\n") // if it fails, so does reading
	for in := bufio.NewReaderSize(conn, 64<<10); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			return true
		}
		each(conn, in, strings.TrimSuffix(line, "\n"))
	}
}

// see notes a line, unless it is an error: messages begin with their topic's name.
func (r *reader) see(line string) {
	if !strings.HasPrefix(line, "-") {
		r.got[line] = true
	}
}

// drainOn drains the group over and over until the broker is gone.
func (r *reader) drainOn(address string) {
	for r.lines(address, r.topic+"?group="+r.group, func(_ net.Conn, _ *bufio.Reader, line string) { r.see(line) }) {
	}
}

// A watcher follows without a group.
type watcher struct{ *reader }

func (w *watcher) work(address string) {
	w.lines(address, w.topic+"?from=-1000&follow", func(_ net.Conn, _ *bufio.Reader, line string) { w.see(line) })
}

// A worker is the only consumer of its group: it acknowledges all that it has
// got, and reads how many of them are on disk.
type worker struct {
	*reader
	*standing
}

func newWorker(topic, group string) *worker {
	return &worker{newReader(topic, group), &standing{group: group}}
}

// A delivery is what of a message in format=json matters here.
type delivery struct {
	Offset  int64
	Payload string
}

func (w *worker) work(address string) {
	var ends []int64 // of each message of this connection, the offset behind it
	w.lines(address, w.topic+"?follow&ack&confirm&format=json&group="+w.reader.group, func(conn net.Conn, in *bufio.Reader, line string) {
		if n, ok := count(line); ok && n <= len(ends) {
			w.confirmed = max(w.confirmed, ends[n-1])
			return
		}
		var d delivery
		if json.Unmarshal([]byte(line), &d) != nil {
			return // an error of the broker
		}
		w.see(d.Payload)
		ends = append(ends, d.Offset+1)
		if in.Buffered() == 0 {
			w.acked = max(w.acked, d.Offset+1)
			fmt.Fprintf(conn, "+%d\n", len(ends)) // if it fails, so does reading
		}
	})
}

// positionOf is where a group stands in partition 0 of a topic; 0 if nothing is
// kept of it.
func positionOf(b *brokertest.Broker, group, topic string) int64 {
	var row struct {
		Position int64 `json:"position"`
	}
	_ = json.Unmarshal([]byte(b.Drain("?groups&format=json&group="+group+"&topic="+topic)), &row) // an error is no position
	return row.Position
}
