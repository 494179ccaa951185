package main

import (
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A position says which messages a file holds. As text:
//
//	mbus consumer position 1
//	topic orders
//	id 2b3c4d5e-0718-4a2b-9c3d-4e5f60718293
//	file 1311768 1718017201123456789
//	size 1234
//	partition 0 next 17
//	partition 3 next 2
//	crc32c 89abcdef
//
// id is the topic's id: a topic that is created again has another one. file is the number
// of the file in its file system, and the time of its creation, in nanoseconds since 1970. Where
// they are not known, as in positions of former versions, their lines are missing. size is
// the size of the file, in bytes; next is the offset at which the partition goes
// on; crc32c is the checksum of the lines before, in hexadecimal.
type position struct {
	topic string
	id    string
	file  inode
	size  int64
	next  map[int]int64
}

const positionHead = "mbus consumer position 1"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (p *position) encode() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\ntopic %s\n", positionHead, p.topic)
	if p.id != "" {
		fmt.Fprintf(&b, "id %s\n", p.id)
	}
	if p.file != (inode{}) {
		fmt.Fprintf(&b, "file %d %d\n", p.file.number, p.file.born)
	}
	fmt.Fprintf(&b, "size %d\n", p.size)
	for _, partition := range slices.Sorted(maps.Keys(p.next)) {
		fmt.Fprintf(&b, "partition %d next %d\n", partition, p.next[partition])
	}
	return fmt.Sprintf("%scrc32c %08x\n", b.String(), crc32.Checksum([]byte(b.String()), castagnoli))
}

var errNoPosition = errors.New("damaged, or not a position of this program")

// decodePosition takes what encode gives, to the byte, and nothing else.
func decodePosition(text string) (*position, error) {
	p := &position{next: make(map[int]int64)}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 {
			return nil, errNoPosition
		}
		var err error
		switch words[0] {
		case "topic":
			p.topic = words[1]
		case "id":
			p.id = words[1]
		case "file":
			_, err = fmt.Sscanf(line, "file %d %d\n", &p.file.number, &p.file.born)
		case "size":
			p.size, err = strconv.ParseInt(words[1], 10, 64)
		case "partition":
			err = p.decodePartition(words)
		}
		if err != nil {
			return nil, errNoPosition
		}
	}
	if p.encode() != text { // the checksum too
		return nil, errNoPosition
	}
	return p, nil
}

func (p *position) decodePartition(words []string) error {
	if len(words) != 4 {
		return errNoPosition
	}
	partition, err := strconv.ParseUint(words[1], 10, 31)
	if err != nil {
		return err
	}
	p.next[int(partition)], err = strconv.ParseInt(words[3], 10, 64)
	return err
}
