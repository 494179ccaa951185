package clusterfault

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// A standing is what a group's position may be: from what was confirmed to what was committed.
type standing struct {
	group string

	mu                   sync.Mutex // guards what follows
	confirmed, committed int64
}

func (s *standing) bounds() (low, high int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.confirmed, s.committed
}

func (s *standing) commit(offset int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.committed = max(s.committed, offset)
}

func (s *standing) confirm(offset int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.confirmed = max(s.confirmed, offset)
}

// commit commits one offset after the other, and looks after some, and after each error, where the group stands.
func (l *load) commit(a *actor, s *standing) {
	client, err := l.kafkaClient(kgo.RetryTimeout(answered), kgo.MaxVersions(withOneGroup()))
	if err != nil {
		l.t.Error(err)
		return
	}
	defer client.Close()
	for l.ctx.Err() == nil {
		low, _ := s.bounds()
		s.commit(low + 1)
		if err := commitOffset(l.ctx, client, s.group, low+1); err != nil {
			a.failed(err)
			return
		}
		s.confirm(low + 1)
		a.gotOn()
		if low%20 != 0 {
			continue
		}
		at, err := fetchOffset(l.ctx, client, s.group)
		if err != nil {
			a.failed(err)
			return
		}
		if at < low+1 {
			l.t.Errorf("group %s: the position is %d after %d was confirmed", s.group, at, low+1)
		}
		rest(l.ctx, 5*time.Millisecond)
	}
}

// withOneGroup are versions of Kafka of which a request is about one group.
func withOneGroup() *kversion.Versions { return kversion.V2_8_0() }

func commitOffset(ctx context.Context, client *kgo.Client, group string, offset int64) error {
	partition := kmsg.NewOffsetCommitRequestTopicPartition()
	partition.Offset = offset
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.Topic, topic.Partitions = "orders", append(topic.Partitions, partition)
	r := kmsg.NewPtrOffsetCommitRequest()
	r.Group, r.Topics = group, append(r.Topics, topic)
	answer, err := r.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(answer.Topics[0].Partitions[0].ErrorCode)
}

// fetchOffset asks as versions before 8 do, which have one group in a request.
func fetchOffset(ctx context.Context, client *kgo.Client, group string) (int64, error) {
	topic := kmsg.NewOffsetFetchRequestTopic()
	topic.Topic, topic.Partitions = "orders", []int32{0}
	r := kmsg.NewPtrOffsetFetchRequest()
	r.Group, r.Topics = group, append(r.Topics, topic)
	answer, err := r.RequestWith(ctx, client)
	if err != nil {
		return 0, err
	}
	if err := kerr.ErrorForCode(answer.ErrorCode); err != nil {
		return 0, err
	}
	p := answer.Topics[0].Partitions[0]
	return p.Offset, kerr.ErrorForCode(p.ErrorCode)
}

// A worker is the only consumer of its group, on one node after the other, which acknowledges what it has got.
type worker struct {
	standing

	seen sync.Mutex // guards what follows
	got  map[string]bool
	kept map[int64]bool // offsets whose acknowledgement was confirmed
}

// keep notes that messages count as consumed. The position is below all that do not: an earlier connection that has not ended
// yet may still have some.
func (w *worker) keep(offsets []int64) {
	w.seen.Lock()
	defer w.seen.Unlock()
	for _, n := range offsets {
		w.kept[n] = true
	}
	n, _ := w.bounds()
	for w.kept[n] {
		n++
	}
	w.confirm(n)
}

func (w *worker) keeps(offset int64) bool {
	w.seen.Lock()
	defer w.seen.Unlock()
	return w.kept[offset]
}

// A delivery is what of a message in format=json matters here.
type delivery struct {
	Offset  int64
	Payload string
}

func (w *worker) see(list []string) (last int64) {
	w.seen.Lock()
	defer w.seen.Unlock()
	last = -1
	for _, line := range list {
		var d delivery
		if json.Unmarshal([]byte(line), &d) == nil {
			w.got[d.Payload], last = true, d.Offset
		}
	}
	return last
}

// missed counts the messages that the group never got.
func (w *worker) missed(all []string) (n int) {
	w.seen.Lock()
	defer w.seen.Unlock()
	for _, text := range all {
		if !w.got[text] {
			n++
		}
	}
	return n
}

// work consumes until an error.
func (l *load) work(a *actor, node int) {
	conn, err := l.dial(l.nodes[node].host, l.nodes[node].consumers)
	if err != nil {
		a.failed(err)
		return
	}
	defer conn.Close()
	io.WriteString(conn, "orders?follow&ack&confirm&format=json&group=work\n")
	var offsets []int64 // of the messages of this connection
	confirmed := 0
	for in := bufio.NewReaderSize(conn, 64<<10); ; {
		conn.SetDeadline(time.Now().Add(answered))
		line, err := in.ReadString('\n')
		if err != nil {
			a.failed(err)
			return
		}
		if n, isCount := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "+"); isCount {
			if n, err := strconv.Atoi(n); err == nil && n <= len(offsets) {
				l.worker.keep(offsets[confirmed:n])
				confirmed = n
				a.gotOn()
			}
			continue
		}
		offset := l.worker.see([]string{line})
		if offset < 0 {
			a.failed(errors.New(line))
			continue
		}
		if l.worker.keeps(offset) {
			l.t.Errorf("%s: node %d gives group work message %d again, which was confirmed to be consumed", time.Now().Format(time.StampMilli), node+1, offset)
		}
		offsets = append(offsets, offset)
		if in.Buffered() == 0 {
			l.worker.commit(offset + 1)
			fmt.Fprintf(conn, "+%d\n", len(offsets)) // if it fails, so does reading
		}
	}
}
