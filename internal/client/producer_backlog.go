package client

import (
	"sync"
	"time"

	"mbus/internal/batch"
)

const (
	// maxBacklog is the number of unacknowledged bytes at most, except for one message that
	// is larger: they are kept to be sent again. At first the limit is firstBacklog. It
	// doubles each time that it was reached for as long as fullTime: the broker's usual
	// share stays in memory that is used again and again, which is faster than fresh memory.
	maxBacklog   = 32 << 20
	firstBacklog = 1 << 20
	fullTime     = 10 * time.Millisecond

	// maxFree is the number of buffers that are kept to be used again.
	maxFree = maxBacklog / readSize

	// chunkOverhead is the memory of a chunk beside its batches, in bytes, about.
	chunkOverhead = 256
)

// A chunk is some batches that are written at once. Their messages are numbered without a
// gap.
type chunk struct {
	data        []byte
	builder     *batch.Builder // that holds the data; nil for none
	first, last int64          // numbers
	line        int64          // the line that the first message is
	writing     bool           // Flush writes it: its buffer may not be used for anything else
}

// A backlog is the unacknowledged chunks, in order. The mutex of its Producer guards it.
type backlog struct {
	mu      *sync.Mutex
	changed sync.Cond // the backlog is smaller, or the producer has ended
	chunks  []*chunk
	next    int // number of chunks that the connection has got
	bytes   int // of them
	limit   int // of bytes
	free    []*batch.Builder
}

func (q *backlog) init(mu *sync.Mutex) {
	q.mu, q.changed.L, q.limit = mu, mu, firstBacklog
}

func (q *backlog) add(k *chunk) {
	q.chunks = append(q.chunks, k)
	q.bytes += len(k.data) + chunkOverhead
}

// await waits until the backlog may take so many bytes more, or for the end.
func (q *backlog) await(size int, ended func() bool) {
	full := func() bool { return q.bytes > 0 && q.bytes+size > q.limit && !ended() }
	if !full() {
		return
	}
	more := time.AfterFunc(fullTime, q.raiseLimit)
	defer more.Stop()
	for full() {
		q.changed.Wait()
		more.Reset(fullTime)
	}
}

// raiseLimit allows a larger backlog, because the broker is slow.
func (q *backlog) raiseLimit() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limit = min(2*q.limit, maxBacklog)
	q.changed.Broadcast()
}

// newBuilder returns an empty builder, large enough for a chunk after one of this size.
func (q *backlog) newBuilder(size int) *batch.Builder {
	n := len(q.free)
	if n == 0 {
		b := new(batch.Builder)
		if size >= batchSize {
			b.Grow(size + size/8)
		}
		return b
	}
	b := q.free[n-1]
	q.free = q.free[:n-1]
	b.Reset()
	return b
}

// acknowledge drops the chunks with messages up to number n.
func (q *backlog) acknowledge(n int64) {
	done := 0
	for ; done < len(q.chunks) && q.chunks[done].last <= n; done++ {
		k := q.chunks[done]
		q.bytes -= len(k.data) + chunkOverhead
		if k.builder != nil && !k.writing && len(q.free) < maxFree && k.builder.Cap() <= 2*writeSize {
			q.free = append(q.free, k.builder)
		}
	}
	if done > 0 {
		q.chunks = append(q.chunks[:0], q.chunks[done:]...)
		q.next -= min(done, q.next)
		q.changed.Broadcast()
	}
}

// replaceFirst has the first chunk hold other batches, the first message of which has the
// number first.
func (q *backlog) replaceFirst(first int64, data []byte) {
	k := q.chunks[0]
	q.bytes += len(data) - len(k.data)
	q.chunks[0] = &chunk{data: append([]byte(nil), data...), first: first, last: k.last, line: k.line + first - k.first}
}
