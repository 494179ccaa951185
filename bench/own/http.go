package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"mbus/bench/machine"
)

// Names of rows and numbers over HTTP, and of those of lines that they are compared with.
const (
	rowJSONLines     = "publish 100 bytes as format=json, 1 producer"
	rowNDJSON        = "publish the same as NDJSON over HTTP, 1 request"
	rowLinesMany     = "publish one at a time, 64 line connections, for HTTP"
	rowHTTPMany      = "publish one at a time over HTTP, 64 keep-alive connections"
	numberSSE        = "resident memory for each follower of events, KiB"
	numberMetrics    = "time of a scrape of /metrics"
	numberScrape     = "processor time of a scrape of /metrics"
	numberMetricsFew = "time of a scrape of /metrics, 10 topics and groups"
	numberScrapeFew  = "processor time of a scrape of /metrics, 10 topics and groups"
	numberPage       = "time of the page's first view"
	numberPageKB     = "size of the page's first view, with what it loads"
)

// objectsOf makes a payload of JSON objects, a line each, whose messages have size bytes.
func objectsOf(size int) payload {
	p := payload{format: "json", size: size}
	for len(p.bytes) < payloadBytes {
		p.bytes = fmt.Appendf(p.bytes, "{\"payload\":%q}\n", message(size, p.count))
		p.count++
	}
	return p
}

// overHTTP publishes the same as lines and over HTTP.
func (r *round) overHTTP() error {
	if !hasHTTP(r.broker) {
		return nil
	}
	objects := objectsOf(100)
	if err := r.publishRow(rowJSONLines, "json-lines", sample{}, objects, 1, r.lines); err != nil {
		return err
	}
	if err := r.measure(rowNDJSON, r.ours(), sample{}, func() (int, int, error) {
		n, err := objects.post(r.b.HTTP(), "ndjson", max(1, r.lines/objects.count))
		return n, n * objects.size, err
	}); err != nil {
		return err
	}
	if err := r.singlyRow(rowLinesMany, r.ours(), r.b.Producers(), manyConnections); err != nil {
		return err
	}
	return r.measure(rowHTTPMany, r.ours(), sample{}, func() (int, int, error) {
		n, err := postSingly(r.b.HTTP(), "singly-http", 100, manyConnections, r.size.singly)
		return n, n * 100, err
	})
}

// post sends the payload several times in one request, and returns how many messages there were
// when the answer says that they are safe.
func (p payload) post(address, topic string, times int) (int, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /topics/%s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n",
		topic, address, times*len(p.bytes))
	written := make(chan error, 1)
	go func() { written <- machine.WriteRepeatedly(conn, p.bytes, times*len(p.bytes)) }()
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	text, err := io.ReadAll(answer.Body)
	if want := fmt.Sprintf(`"published":%d`, times*p.count); err == nil && !bytes.Contains(text, []byte(want)) {
		err = fmt.Errorf("the broker answered %q, without %s", text, want)
	}
	return times * p.count, errors.Join(err, <-written)
}

// postSingly has each connection send one message at a time and wait for the answer before the
// next, and returns how many were published.
func postSingly(address, topic string, size, connections int, during time.Duration) (int, error) {
	var total atomic.Int64
	end := time.Now().Add(during)
	err := forEachAtOnce(connections, func() error {
		n, err := postOneByOne(address, topic, size, end)
		total.Add(int64(n))
		return err
	})
	return int(total.Load()), err
}

// forEachAtOnce calls f n times at once.
func forEachAtOnce(n int, f func() error) error {
	failed := make(chan error, n)
	for range n {
		go func() { failed <- f() }()
	}
	var errs []error
	for range n {
		errs = append(errs, <-failed)
	}
	return errors.Join(errs...)
}

// postOneByOne sends at least one message, and more until the end. It reads and writes HTTP by
// itself, because this process shares the processor with the broker, as the clients of lines do.
func postOneByOne(address, topic string, size int, end time.Time) (n int, err error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	request := fmt.Appendf(nil, "POST /topics/%s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", topic, address, size, message(size, 0))
	space := make([]byte, answerSpace)
	for ; n == 0 || time.Now().Before(end); n++ {
		if _, err := conn.Write(request); err != nil {
			return n, err
		}
		if err := skipAnswer(conn, space); err != nil {
			return n, err
		}
	}
	return n, nil
}

// answerSpace is more than an answer takes, in bytes.
const answerSpace = 4 << 10

// skipAnswer reads an answer, which must be 200 and say how long it is, and nothing behind it.
func skipAnswer(r io.Reader, space []byte) error {
	for n := 0; n < len(space); {
		more, err := r.Read(space[n:])
		if err != nil {
			return err
		}
		n += more
		head, body, complete := bytes.Cut(space[:n], []byte("\r\n\r\n"))
		if !complete {
			continue
		}
		_, field, found := bytes.Cut(head, []byte("\r\nContent-Length: "))
		digits, _, _ := bytes.Cut(field, []byte("\r\n"))
		length, err := strconv.Atoi(string(digits))
		if !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) || !found || err != nil || len(body) > length {
			return fmt.Errorf("the broker answered %q", space[:n])
		}
		if len(body) == length {
			return nil
		}
	}
	return fmt.Errorf("the broker answered %q, and more", space)
}

// manyOverHTTP measures followers of events, and then metrics and the page of many topics.
func (r *round) manyOverHTTP() error {
	if !hasHTTP(r.broker) {
		return nil
	}
	for _, step := range []func() error{r.followersOfEvents, r.scrapes} {
		err := step()
		r.kill()
		os.RemoveAll(filepath.Join(r.dir, "http"))
		if err != nil {
			return err
		}
	}
	return nil
}

// followed are the messages that each follower of events must get.
const followed = 20

// followersOfEvents connects followers, each in a group of its own, and looks at the broker's memory
// when each has got every message.
func (r *round) followersOfEvents() error {
	n, err := r.idleOnes()
	if err != nil {
		return err
	}
	n = min(n, r.eventFollowers)
	if err := r.launch("http", numberEmpty, "-max-connections", strconv.Itoa(n+1000)); err != nil {
		return err
	}
	publishOne := func() error {
		_, err := oneByOne(r.b.Producers(), "followed", 100, func(n int) bool { return n < 1 })
		return err
	}
	if err := publishOne(); err != nil {
		return err
	}
	time.Sleep(r.rest)
	before, err := machine.Memory(r.b.Pid(), "VmRSS")
	if err != nil {
		return err
	}
	followers := make([]*follower, n)
	defer func() {
		for _, f := range followers {
			if f != nil {
				f.conn.Close()
			}
		}
	}()
	if err := forEach(n, func(i int) (err error) {
		if followers[i], err = followEvents(r.b.HTTP(), "followed", "events-"+strconv.Itoa(i)); err == nil {
			err = followers[i].read(0)
		}
		return err
	}); err != nil {
		return err
	}
	for i := 1; i < followed; i++ {
		if err := publishOne(); err != nil {
			return err
		}
		if err := forEach(n, func(f int) error { return followers[f].read(i) }); err != nil {
			return err
		}
	}
	time.Sleep(r.rest)
	after, err := machine.Memory(r.b.Pid(), "VmRSS")
	r.eventCount = n
	r.number(numberSSE, "KiB", (after-before)*1e6/1024/float64(n))
	return err
}

// A follower reads server-sent events.
type follower struct {
	conn   net.Conn
	events *bufio.Reader
}

// followEvents asks for the events of a topic.
func followEvents(address, topic, group string) (*follower, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(conn, "GET /topics/%s/messages?follow&group=%s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n\r\n", topic, group, address)
	return &follower{conn, bufio.NewReader(conn)}, err
}

// eventWait is how long an event may take: a follower that gets none has lost one.
const eventWait = 30 * time.Second

// read reads lines until the event of the message at an offset, which must be the next.
func (f *follower) read(offset int) error {
	if err := f.conn.SetReadDeadline(time.Now().Add(eventWait)); err != nil {
		return err
	}
	for {
		line, err := f.events.ReadString('\n')
		if err != nil {
			return fmt.Errorf("event %d: %w", offset, err)
		}
		if !strings.HasPrefix(line, "data: ") {
			continue
		}
		if !strings.Contains(line, fmt.Sprintf(`"offset":%d,`, offset)) {
			return fmt.Errorf("event %d is %q", offset, line)
		}
		return nil
	}
}

// scrapes gets /metrics and the page of a broker with many topics and groups, and before that /metrics with few.
func (r *round) scrapes() error {
	if err := r.launch("http", numberEmpty); err != nil {
		return err
	}
	if err := r.topicsWithGroups(0, fewTopics); err != nil {
		return err
	}
	const times = 5
	for range times {
		if err := r.scrape(numberMetricsFew, numberScrapeFew, 20); err != nil {
			return err
		}
	}
	if err := r.topicsWithGroups(fewTopics, r.metricTopics); err != nil {
		return err
	}
	r.metricCount = r.metricTopics
	for range times {
		if err := r.scrape(numberMetrics, numberScrape, 1); err != nil {
			return err
		}
	}
	return r.firstView()
}

// fewTopics are the topics and groups of a broker that is busy with few.
const fewTopics = 10

// topicsWithGroups makes topics, each with a group that has consumed a message of two.
func (r *round) topicsWithGroups(from, to int) error {
	return forEach(to-from, func(i int) error {
		name := strconv.Itoa(from + i)
		if _, err := oneByOne(r.b.Producers(), "topic-"+name, 100, func(n int) bool { return n < 2 }); err != nil {
			return err
		}
		_, err := drain(r.b.Consumers(), "topic-"+name+"?n=1&group=group-"+name)
		return err
	})
}

// scrape gets /metrics so many times, compressed as Prometheus does, and notes the time and the processor time of one.
func (r *round) scrape(nameTime, nameProcessor string, times int) error {
	begun := time.Now()
	spent, err := r.ours().spends(func() error {
		for range times {
			if _, _, err := get(r.b.HTTP(), "/metrics"); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.number(nameTime, "ms", float64(time.Since(begun).Microseconds())/1e3/float64(times))
	r.number(nameProcessor, "ms", float64(spent.Microseconds())/1e3/float64(times))
	return nil
}

// loaded finds what a page of the broker loads at once.
var loaded = regexp.MustCompile(`(?:src|href)="(/assets/[^"]+)"`)

// firstView gets the page, and what it loads.
func (r *round) firstView() error {
	const times = 5
	for range times {
		begun, size := time.Now(), 0
		pages := []string{"/"}
		for i := 0; i < len(pages); i++ {
			body, wire, err := get(r.b.HTTP(), pages[i])
			if err != nil {
				return err
			}
			size += wire
			if i == 0 {
				for _, found := range loaded.FindAllSubmatch(body, -1) {
					pages = append(pages, string(found[1]))
				}
			}
		}
		r.number(numberPage, "ms", float64(time.Since(begun).Microseconds())/1e3)
		r.number(numberPageKB, "KB", float64(size)/1e3)
	}
	return nil
}

// get gives the body of an answer, which may be compressed as browsers take it, and its size on the way.
func get(address, path string) (body []byte, wire int, err error) {
	req, err := http.NewRequest(http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Accept-Encoding", "gzip")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %q", path, resp.Status, body)
	}
	wire = len(body)
	if err != nil || resp.Header.Get("Content-Encoding") != "gzip" {
		return body, wire, err
	}
	unzip, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, wire, err
	}
	body, err = io.ReadAll(unzip)
	return body, wire, err
}

// httpFigures are those of HTTP.
func httpFigures(t *table) []figure {
	topics := whole(t.metricCount)
	return []figure{
		{"publish NDJSON over HTTP in one request, to lines with format=json", t.rate(rowNDJSON) / t.rate(rowJSONLines), 0.7, false, "times", "", 0},
		{"64 keep-alive connections over HTTP, to 64 of lines", t.rate(rowHTTPMany) / t.rate(rowLinesMany), 0.7, false, "times", "", 0},
		{"resident memory for each of " + whole(t.eventCount) + " followers of events", t.value(numberSSE), 40, true, "KiB", "", 0},
		{"/metrics with " + topics + " topics and groups", t.value(numberMetrics), 100, true, "ms", "", 0},
		{"a scrape each second, of a processor, with 10 topics and groups", t.value(numberScrapeFew) / 10, 1, true, "%", "", 0},
		{"the same with " + topics, t.value(numberScrape) / 10, 1, true, "%", "", 0},
		{"the page's first view with " + topics + " topics", t.value(numberPage), 300, true, "ms", "", 0},
		{"the same, with what it loads", t.value(numberPageKB), 200, true, "KB", "", 0},
	}
}
