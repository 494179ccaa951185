package bus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sort"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/batch"
)

// fileVariable, if set in the answerer's environment, names the file of record
// batches that every topic of it consists of.
const fileVariable = "MBUS_BENCH_ANSWERER_FILE"

// StartSender runs the answerer over a file of record batches, which it sends to
// those that fetch with sendfile(2), doing nothing else: what a broker needs at
// the least for a message out, and what a consumer can take. dir is for its log.
// There are no groups. The program must call BeAnswerer first of all.
func StartSender(dir, file string) (*Process, error) {
	return startAnswerer(dir, file)
}

// A sentLog is a file of record batches, with where each is.
type sentLog struct {
	name    string
	batches []sentBatch // and where the next one would be
	end     int64       // offset of the next record
}

type sentBatch struct{ offset, position int64 }

func openSent(name string) (*sentLog, error) {
	l := &sentLog{name: name}
	if name == "" {
		return l, nil
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	header := make(batch.Batch, batch.HeaderSize)
	position := int64(0)
	for position < info.Size() {
		if _, err := file.ReadAt(header, position); err != nil {
			return nil, fmt.Errorf("%s at %d: %w", name, position, err)
		}
		n, err := batch.Size(header, maxFrame)
		if err != nil {
			return nil, fmt.Errorf("%s at %d: %w", name, position, err)
		}
		l.batches = append(l.batches, sentBatch{header.BaseOffset(), position})
		l.end, position = header.NextOffset(), position+int64(n)
	}
	l.batches = append(l.batches, sentBatch{l.end, position})
	return l, nil
}

// find gives the part of the file that answers a fetch: as many whole batches
// from an offset on as fit into most bytes, but at least one if there is one.
func (l *sentLog) find(offset, most int64) (position, n int64) {
	if offset < 0 || offset >= l.end {
		return 0, 0
	}
	i := sort.Search(len(l.batches), func(i int) bool { return l.batches[i].offset > offset })
	position = l.batches[i-1].position
	for i+1 < len(l.batches) && l.batches[i+1].position-position <= most {
		i++
	}
	return position, l.batches[i].position - position
}

// answer sends the batches that a fetch asks for. At the end of the log it waits
// as long as the client allows, and sends none.
func (l *sentLog) answer(conn *net.TCPConn, req *kmsg.FetchRequest, correlation []byte) error {
	if len(req.Topics) != 1 || len(req.Topics[0].Partitions) != 1 {
		return errors.New("a fetch is not about one partition")
	}
	asked := req.Topics[0].Partitions[0]
	position, n := l.find(asked.FetchOffset, int64(min(asked.PartitionMaxBytes, req.MaxBytes)))
	if n == 0 {
		time.Sleep(time.Duration(req.MaxWaitMillis) * time.Millisecond)
	}
	partition := kmsg.NewFetchResponseTopicPartition()
	partition.Partition, partition.HighWatermark, partition.LastStableOffset, partition.LogStartOffset = asked.Partition, l.end, l.end, 0
	partition.RecordBatches = []byte{} // its length is the last field of these versions
	topic := kmsg.NewFetchResponseTopic()
	topic.Topic, topic.Partitions = req.Topics[0].Topic, []kmsg.FetchResponseTopicPartition{partition}
	resp := req.ResponseKind().(*kmsg.FetchResponse)
	resp.Topics = append(resp.Topics, topic)
	head := encode(resp, correlation)
	binary.BigEndian.PutUint32(head, uint32(len(head)-4)+uint32(n))
	binary.BigEndian.PutUint32(head[len(head)-4:], uint32(n))
	if _, err := conn.Write(head); err != nil || n == 0 {
		return err
	}
	return l.send(conn, position, n)
}

// send sends a part of the file, with sendfile(2): that is what ReadFrom does
// with a file. It is opened again: connections must not share a place in it.
func (l *sentLog) send(conn *net.TCPConn, position, n int64) error {
	file, err := os.Open(l.name)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.Seek(position, io.SeekStart); err != nil {
		return err
	}
	sent, err := conn.ReadFrom(io.LimitReader(file, n))
	if err == nil && sent != n {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// listOffsets says where every partition begins and ends.
func listOffsets(resp *kmsg.ListOffsetsResponse, req *kmsg.ListOffsetsRequest, end int64) {
	const latest = -1
	for _, topic := range req.Topics {
		t := kmsg.NewListOffsetsResponseTopic()
		t.Topic = topic.Topic
		for _, partition := range topic.Partitions {
			p := kmsg.NewListOffsetsResponseTopicPartition()
			p.Partition, p.Offset = partition.Partition, 0
			if partition.Timestamp == latest {
				p.Offset = end
			}
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
}
