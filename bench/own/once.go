package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// wantedBytes is what must be free on the disk for each message of the long backlog: 20 GB for all.
const wantedBytes = 400

// backlogSizes are the messages of a short and of a long backlog: a tenth of
// both, as their names then say, where the disk has not enough room.
func (r *round) backlogSizes() (short, long int, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(r.dir, &s); err != nil {
		return 0, 0, err
	}
	short, long = r.backlog[0], r.backlog[1]
	if s.Bavail*uint64(s.Bsize) < wantedBytes*uint64(long) {
		short, long = short/10, long/10
		r.backlogNote = " (a tenth, because the disk has little space)"
	}
	r.short, r.long = short, long
	return short, long, nil
}

// backlogs fills two topics, kills the broker, looks at how it comes back, and
// drains them.
func (r *round) backlogs() error {
	short, long, err := r.backlogSizes()
	if err != nil {
		return err
	}
	if err := r.launch("backlogs", numberEmpty); err != nil {
		return err
	}
	defer os.RemoveAll(filepath.Join(r.dir, "backlogs"))
	defer r.kill()
	p := linesOf(100)
	if short, err = publish(r.b.Producers(), "short", p, 1, short); err != nil {
		return err
	}
	if err := r.publishRow("publish "+r.backlogOf(long), "long", sample{}, p, 1, long); err != nil {
		return err
	}
	long = long / p.count * p.count
	for range 3 {
		if err := r.launch("backlogs", numberFull); err != nil {
			return err
		}
	}
	if err := r.onDisk(long); err != nil {
		return err
	}
	return r.compareBacklogs(short, long)
}

// onDisk says what the messages of the long backlog are on the disk.
func (r *round) onDisk(long int) error {
	data := filepath.Join(r.dir, "backlogs")
	all, err := fileBytes(data, "")
	if err != nil {
		return err
	}
	ours, err := fileBytes(data, "long")
	r.number("all logs at the kill -9", "MB", float64(all)/1e6)
	r.number("bytes on disk for a message of 100 bytes", "bytes", float64(ours)/float64(long))
	return err
}

// compareBacklogs drains both in turns, each time with another group.
func (r *round) compareBacklogs(short, long int) error {
	for i := range 2 {
		for j := range 3 {
			if err := r.drainRow(r.drainShort(), fmt.Sprintf("short?group=g%d-%d", i, j), sample{}, short); err != nil {
				return err
			}
		}
		if err := r.drainRow(r.drainLong(), fmt.Sprintf("long?group=g%d", i), sample{}, long); err != nil {
			return err
		}
	}
	return r.observe("VmRSS", "resident memory, after the backlog")
}

// manyTopics publishes a message to each of many topics of a broker of their
// own, kills it, and looks for them.
func (r *round) manyTopics() error {
	if err := r.launch("topics", numberEmpty); err != nil {
		return err
	}
	defer os.RemoveAll(filepath.Join(r.dir, "topics"))
	defer r.kill()
	topic := func(i int) string { return "topic-" + strconv.Itoa(i) }
	if err := forEach(r.topics, func(i int) error {
		_, err := oneByOne(r.b.Producers(), topic(i), 100, func(n int) bool { return n < 1 })
		return err
	}); err != nil {
		return err
	}
	r.topicCount = r.topics
	for range 3 {
		if err := r.launch("topics", numberMany); err != nil {
			return err
		}
	}
	time.Sleep(r.rest)
	if err := r.observe("VmRSS", numberRAM); err != nil {
		return err
	}
	if err := forEach(r.topics, func(i int) error {
		n, err := drain(r.b.Consumers(), topic(i))
		if err == nil && n != 101 {
			err = fmt.Errorf("topic %q has %d bytes, not 101", topic(i), n)
		}
		return err
	}); err != nil {
		return err
	}
	return r.observe("VmRSS", numberRAMRead)
}

// connections publishes and drains with nobody else there, and again with many
// who do nothing.
func (r *round) connections() error {
	n, err := r.idleOnes()
	if err != nil {
		return err
	}
	if err := r.launch("connections", numberEmpty, "-max-connections", strconv.Itoa(3*n+1000)); err != nil {
		return err
	}
	defer r.kill()
	if err := r.crowdRows(alone); err != nil {
		return err
	}
	disperse, err := r.assemble(n)
	defer disperse()
	if err != nil {
		return err
	}
	time.Sleep(r.rest)
	if err := r.observe("VmRSS", numberCrowd); err != nil {
		return err
	}
	r.idle = n
	return r.crowdRows(crowd)
}

// assemble connects n followers and n producers. The function it gives ends
// their connections.
func (r *round) assemble(n int) (disperse func(), err error) {
	conns := make([]stream, 2*n)
	disperse = func() {
		for _, conn := range conns {
			if conn != nil {
				conn.Close()
			}
		}
	}
	if _, err := oneByOne(r.b.Producers(), "quiet", 100, func(n int) bool { return n < 1 }); err != nil {
		return disperse, err
	}
	return disperse, forEach(len(conns), func(i int) (err error) {
		if i < n {
			conns[i], err = r.idleFollower(i)
		} else {
			conns[i], err = r.idleProducer()
		}
		return err
	})
}

// idleOnes are how many followers, and as many producers, there can be: Go has
// raised the limit of descriptors, for this process and the broker, to the hard
// one.
func (r *round) idleOnes() (int, error) {
	var limit syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	const others = 500
	if limit.Max < uint64(2*r.followers+others) {
		return max(1, (int(limit.Max)-others)/2), err
	}
	return r.followers, err
}

// crowdRows publishes and drains thrice, beside those who are there.
func (r *round) crowdRows(beside string) error {
	p := linesOf(100)
	for i := range 3 {
		topic := strconv.Itoa(i) + "-" + strings.ReplaceAll(beside, " ", "-")
		if err := r.publishRow(publishBeside(beside), topic, sample{}, p, 1, r.lines); err != nil {
			return err
		}
		messages := max(1, r.lines/p.count) * p.count
		if err := r.drainRow(drainBeside(beside), topic, sample{}, messages); err != nil {
			return err
		}
	}
	return nil
}

// idleFollower follows a topic, in a group of its own, and has got its first
// message.
func (r *round) idleFollower(i int) (stream, error) {
	conn, err := request(plainly(r.b.Consumers()), fmt.Sprintf("quiet?follow&group=idle-%d", i))
	if err == nil {
		_, err = bufio.NewReader(conn).ReadString('\n')
	}
	return conn, err
}

// idleProducer has published a message.
func (r *round) idleProducer() (stream, error) {
	conn, err := request(plainly(r.b.Producers()), "quiet-too")
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(append(message(100, 0), '\n')); err != nil {
		return conn, err
	}
	_, err = bufio.NewReader(conn).ReadString('\n')
	return conn, err
}
