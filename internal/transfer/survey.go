// Package transfer copies all that a broker keeps, unchanged: batches with their offsets and epochs, ids of
// topics, log starts, positions, delayed messages and users. Import copies the data directory of a broker
// that is stopped into a new cluster; Export and Receive copy what a cluster has into a data directory.
package transfer

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"math"

	"mbus/internal/broker"
	"mbus/internal/commitlog"
	"mbus/internal/store"
)

// A Survey is what a data directory holds.
type Survey struct {
	Verified commitlog.Verified
	Topics   []Topic
	Largest  int // batch, in bytes
	Note     []byte
}

// A Topic is a topic with its logs, by partition.
type Topic struct {
	store.Topic
	Logs []Log
}

// A Log is a partition.
type Log struct {
	First int64  `json:"first"` // base offset of the first batch: at the log start offset, or below if that is inside the batch
	Start int64  `json:"start"` // log start offset
	End   int64  `json:"end"`
	Bytes int64  `json:"bytes"` // of the batches
	Sum   uint32 `json:"sum"`   // CRC-32C of their bytes
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Look reads a data directory that no broker uses, and calls found with all that is not as it was written. It changes
// nothing.
func Look(dir string, found func(commitlog.Finding)) (Survey, error) {
	var s Survey
	var positions broker.PositionCheck
	read := make(map[place]*Log)
	look := commitlog.Observer{
		Topic: broker.PositionsTopic, Batch: positions.Batch,
		Each: func(b commitlog.Stored) error {
			at := place{b.Topic.ID, b.Partition}
			l := read[at]
			if l == nil {
				l = &Log{First: b.Batch.BaseOffset()}
				read[at] = l
			}
			l.Bytes, l.Sum = l.Bytes+int64(len(b.Batch)), crc32.Update(l.Sum, castagnoli, b.Batch)
			s.Largest = max(s.Largest, len(b.Batch))
			return nil
		},
		Note: func(p []byte) { s.Note = p },
		Topics: func(all []commitlog.Checked, deleted func(id [16]byte) bool) {
			topics, ends := make([]store.Topic, len(all)), make([][]int64, len(all))
			for i, t := range all {
				topics[i], ends[i] = t.Topic, t.Ends
			}
			for _, f := range positions.Compare(topics, ends, deleted) {
				s.Verified.Damaged++
				found(commitlog.Finding{Topic: f.Topic, Partition: f.Partition, First: f.First, Next: f.Next, Reason: f.Reason})
			}
			s.gather(all, read)
		},
	}
	sum, err := commitlog.VerifyAnd(dir, commitlog.Options{}, look, found)
	sum.Damaged += s.Verified.Damaged
	s.Verified = sum
	return s, err
}

// A place is a partition.
type place struct {
	topic     [16]byte
	partition int
}

// gather notes the topics, with what was read of their logs.
func (s *Survey) gather(all []commitlog.Checked, read map[place]*Log) {
	for _, of := range all {
		t := Topic{Topic: of.Topic}
		for i, end := range of.Ends {
			l := Log{First: of.Starts[i]}
			if found := read[place{of.ID, i}]; found != nil {
				l = *found
			}
			l.Start, l.End = of.Starts[i], end
			if end == math.MaxInt64 { // not known: it is reported as damage
				l.End = l.Start
			}
			t.Logs = append(t.Logs, l)
		}
		s.Topics = append(s.Topics, t)
	}
}

// firsts are the offsets at which the logs of a topic begin.
func (t *Topic) firsts() []int64 {
	all := make([]int64, len(t.Logs))
	for i, l := range t.Logs {
		all[i] = l.First
	}
	return all
}

// Sum tells a data directory from another one, and from what it was before a change.
func (s *Survey) Sum() string {
	h := sha256.New()
	for _, t := range s.Topics {
		fmt.Fprintf(h, "%q %x %d %d %d %q\n", t.Name, t.ID, t.Partitions, t.Epoch, t.Epochs, t.Config)
		for _, l := range t.Logs {
			_ = binary.Write(h, binary.BigEndian, l) // which never fails
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}
