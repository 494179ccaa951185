package kafka

import (
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/broker"
)

// Fetch, versions 4 to 18: whole batches as stored. The first one holds the offset of the
// request, and there is at least one, whatever the maximum size is. The call waits until
// there are as many bytes, or as long, as the request says. Sessions (KIP-227) are declined:
// each request names all its partitions, from version 13 on by the ids of their topics. There
// are no transactions, so both isolation levels read the same, and no followers, for which
// later versions have more fields.
//
// A partition with damaged batches has CORRUPT_MESSAGE, and the damage is logged. Where
// records of the log are lost, the response has the next ones.
func init() {
	register(api{
		key: 1, min: 4, max: 18, handle: typed(startFetch),
		doc: "Sessions are declined. Damaged batches are CORRUPT_MESSAGE.",
	})
}

// Limits of a fetch.
const (
	// maxFetch is the largest size of all batches in a response, in bytes, unless one batch is
	// larger: the next request gets the rest.
	maxFetch = 4 << 20

	// maxFetchWait is the longest time that a request waits.
	maxFetchWait = 5 * time.Minute

	// memoryWait is the pause before a fetch that has found no memory tries again.
	memoryWait = 50 * time.Millisecond
)

// A fetch is one request. One goroutine works on it: the connection's, or one of its own if
// it has to wait.
type fetch struct {
	call     *call
	maxBytes int
	minBytes int
	deadline time.Time
	response *fetchResponse
}

func startFetch(c *call, req *kmsg.FetchRequest) {
	f := &fetch{call: c, response: &fetchResponse{version: req.Version}}
	if req.SessionID != 0 && req.SessionEpoch > 0 {
		f.response.code = kerr.FetchSessionIDNotFound.Code
		c.reply(f.response)
		return
	}
	f.maxBytes = min(int(max(req.MaxBytes, 0)), maxFetch)
	f.minBytes = min(int(req.MinBytes), f.maxBytes)
	f.deadline = time.Now().Add(min(time.Duration(req.MaxWaitMillis)*time.Millisecond, maxFetchWait))
	f.response.budget = &c.server.broker.Budget
	for i := range req.Topics {
		f.add(&req.Topics[i])
	}
	if !f.try() {
		c.async(f.wait)
	}
}

// add finds a topic of the request and its partitions.
func (f *fetch) add(t *kmsg.FetchRequestTopic) {
	out := fetchTopic{name: t.Topic, id: t.TopicID}
	topic, err := f.call.topics().find(t.Topic, t.TopicID, f.response.version >= firstFetchByID, broker.Read)
	if err == nil {
		out.name = topic.Name
		f.call.conn.topic.Store(topic)
	}
	for i := range t.Partitions {
		in := &t.Partitions[i]
		p := &fetchPartition{
			topic: out.name, number: in.Partition, offset: in.FetchOffset,
			maxBytes: int(max(in.PartitionMaxBytes, 0)), raw: f.call.conn.net.AllowsRaw(), high: -1, start: -1,
		}
		p.log, p.code = partitionOf(topic, err, in.Partition)
		if p.code == 0 {
			p.code = checkEpoch(topic, in.Partition, in.CurrentLeaderEpoch)
		}
		out.partitions = append(out.partitions, p)
		f.response.partitions = append(f.response.partitions, p)
	}
	f.response.topics = append(f.response.topics, out)
}

// try completes the call if there are enough bytes, or an error, or no time is left.
func (f *fetch) try() bool {
	size, settled := f.locate()
	late := !time.Now().Before(f.deadline)
	if size < f.minBytes && !settled && !late {
		f.response.release()
		return false
	}
	if !f.response.load(f.call) && !late {
		return false
	}
	for _, p := range f.response.partitions {
		p.count()
	}
	f.call.reply(f.response)
	return true
}

// locate finds the batches without reading them. settled says that waiting would change
// nothing: a partition has an error, or more than the maxima allow.
func (f *fetch) locate() (size int, settled bool) {
	for _, p := range f.response.partitions {
		size += p.locate(f.call, f.maxBytes-size, size == 0)
		settled = settled || p.code != 0 || p.chunk.Len() > 0 && p.chunk.Next < p.high
	}
	return size, settled
}

// wait tries again after each wake, until the call is complete.
func (f *fetch) wait() {
	woken := make(chan struct{}, 1)
	wake := func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	}
	gone := make(chan struct{})
	f.call.onClose(sync.OnceFunc(func() { close(gone) }))
	end := time.NewTimer(time.Until(f.deadline))
	defer end.Stop()
	for {
		cancel := f.wakeOn(wake)
		select {
		case <-woken:
		case <-end.C:
		case <-gone:
			f.deadline = time.Time{}
		}
		cancel()
		if f.try() {
			return
		}
	}
}

// wakeOn has wake called when a partition has more than before, or is deleted. A fetch
// without memory tries again after memoryWait.
func (f *fetch) wakeOn(wake func()) (cancel func()) {
	var cancels []func()
	for _, p := range f.response.partitions {
		if p.log != nil {
			cancels = append(cancels, p.log.Wake(p.high, func(broker.Reason) { wake() }))
		}
	}
	if f.response.noMemory {
		timer := time.AfterFunc(memoryWait, wake)
		cancels = append(cancels, func() { timer.Stop() })
	}
	return func() {
		for _, cancel := range cancels {
			cancel()
		}
	}
}
