package line

import (
	"errors"
	"io"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"mbus/internal/broker"
	"mbus/internal/group"
	"mbus/internal/tcpserver"
	"mbus/internal/units"
)

// A follower is a consumer to which messages are pushed, or that acknowledges
// them itself, or both.
//
// Its connection's goroutine hears what the client says. Another one, the pump,
// sends; it exists only while there may be something to send, so that an idle
// follower costs one goroutine. Whatever may be a reason to send calls wake. Of the
// idle followers of a group only one is woken for a message: see group.Waiter.
type follower struct {
	*consumer
	pump
	unawait func() // takes back the wish to know when there is a topic; nil for none
	unwatch func() // and when it grows, or is deleted
	marks   []mark // what the client's system has not received yet; without ack
	pause   time.Duration
	hang    hang

	blocked  atomic.Bool // the window is full
	away     atomic.Bool // the client has closed its sending side; without ack
	confirms confirms
	some     []verdict      // said with "=", and not to be confirmed yet
	burials  sync.WaitGroup // dead messages on their way to the dead letters
}

// A mark is a place in the stream: so many messages are in so many bytes.
type mark struct {
	written  int64
	messages uint64
}

// errGone ends a follower whose client has left.
var errGone = errors.New("the client has left")

func (c *conn) follow(r *request) error {
	f := &follower{consumer: newConsumer(c, r)}
	f.push, f.over = f.guardedPush, f.net.Interrupt
	f.waiter = group.NewWaiter(f.wake)
	defer f.release()
	if err := f.join(f.yield); err != nil {
		return err
	}
	if r.ack {
		c.net.ResetOnClose(true) // should the broker die: its end must not look like the confirmation
	}
	if r.ackTimeout > 0 {
		f.hang.start(f)
	}
	f.pump.start()
	defer f.hang.stop()
	defer f.still() // should the hearing panic
	heard := f.hear()
	pumped := f.still()
	err := f.end(heard, pumped)
	f.hang.stop()
	if r.ack {
		f.countLoss(heard, pumped, err)
	}
	return err
}

// still ends all that happens without the connection's goroutine, but for the watch over
// a client that hangs, and returns what had ended the pump before.
func (f *follower) still() error {
	pumped := f.stop(f.net.CutWrites)
	f.unask()
	return pumped
}

// guardedPush is push, with a panic as an error.
func (f *follower) guardedPush() (err error) {
	defer func() {
		if r := recover(); r != nil {
			f.server.log.Error("panic in a connection", "client", f.net.RemoteAddr(), "reason", r, "stack", string(debug.Stack()))
			err = answer("INTERNAL", "an error in the broker, which it has logged")
		}
	}()
	return f.pushAll()
}

// pushAll sends all that may be sent now, with one write at its end.
func (f *follower) pushAll() error {
	f.waiter.Busy()
	if f.topic == nil {
		if ready, err := f.open(); !ready {
			return err
		}
	}
	if err := f.gone(); err != nil {
		return err
	}
	if err := f.extend(); err != nil {
		return err
	}
	if err := f.settle(); err != nil {
		return err
	}
	if err := f.sendAll(); err != nil {
		return err
	}
	f.out = f.confirms.tell(f.out)
	if err := f.flush(); err != nil {
		return err
	}
	if f.done() {
		return io.EOF
	}
	f.mark()
	f.freeMemory()
	f.wakeToSettle()
	f.await()
	return nil
}

// open finds the topic, and reports false if it is not there: then it is waited
// for, or nothing is sent.
func (f *follower) open() (bool, error) {
	t, err := f.request.find(f.broker)
	if errors.Is(err, broker.ErrUnknownTopic) {
		if err := f.expect(); err != nil {
			return false, err
		}
		if !f.request.follow {
			return false, io.EOF
		}
		f.unawait = f.broker.Await(f.request.topic, f.wake)
		return false, nil
	}
	if err != nil {
		return false, toAnswer(err)
	}
	f.topic, f.unawait = t, nil
	f.unwatch = t.Watch(f.wake)
	if err := f.begin(); err != nil {
		return false, err
	}
	for i := range f.parts {
		f.attach(i)
	}
	return true, nil
}

// attach has a partition wake the pump.
func (f *follower) attach(i int) {
	f.waiter.Watch(f.parts[i].pos, f.parts[i].log)
	if f.request.follow {
		f.parts[i].end = units.End
	}
}

// await waits for more, if the client could be sent more. If not, that is for others.
func (f *follower) await() {
	switch {
	case f.left == 0 || f.room() == 0:
		f.waiter.PassOn()
	case f.request.follow:
		f.waiter.Rest()
	default: // given back while the last of it was written: nothing else would wake it for that
		f.wake()
	}
}

// extend adds the partitions that the topic has got since, from their first
// message on: all of it has come later than the follower.
func (f *follower) extend() error {
	if !f.request.follow {
		return nil
	}
	partitions := f.topic.Partitions()
	for i := len(f.parts); i < len(partitions); i++ {
		start, _ := partitions[i].Offsets()
		pos := group.NewPosition(start)
		if f.request.from == nil {
			var err error
			if pos, err = f.broker.Position(f.request.group, f.topic, i); err != nil {
				return toAnswer(err)
			}
			pos.Start(start, false)
		}
		f.parts = append(f.parts, part{i, pos, partitions[i], units.End})
		f.attach(i)
	}
	return nil
}

// sendAll sends what is free, while the window is open, a chunk of each
// partition in turn.
func (f *follower) sendAll() error {
	for more := true; more; {
		more = false
		for _, p := range f.inTurn() {
			sent, err := f.sendPartition(p)
			if err != nil {
				return err
			}
			more = more || sent
		}
	}
	return nil
}

// sendPartition sends a chunk, if the window is open.
func (f *follower) sendPartition(p *part) (sent bool, err error) {
	room := f.room()
	if room == 0 {
		f.blocked.Store(true)
		if room = f.room(); room == 0 {
			return false, nil
		}
	}
	_, high := p.log.Offsets()
	n, err := f.sendFree(p, min(high, p.end), room)
	if n > 0 || err != nil {
		f.hang.more(f)
	}
	return n > 0, err
}

// room is how many messages more may be sent.
func (f *follower) room() int64 {
	if !f.request.ack {
		return maxChunk
	}
	open, bytes := f.member.Open()
	switch {
	case f.request.window > 0:
		return max(0, f.request.window-open)
	case bytes >= broker.WindowBytes:
		return 0
	}
	return max(0, broker.Window-open)
}

// done says whether all is sent that was asked for.
func (f *follower) done() bool {
	if f.left == 0 {
		return true
	}
	if f.request.follow || f.room() == 0 {
		return false
	}
	now := time.Now()
	for _, p := range f.parts {
		if s, _ := p.pos.Free(p.end, now); s.Len() > 0 {
			return false
		}
	}
	return true
}

// mark notes what has been written, to be settled when the client's system has
// received it.
func (f *follower) mark() {
	sent := f.member.Sent()
	switch n := len(f.marks); {
	case f.request.ack:
	case f.request.from != nil:
		f.member.AckAll()
	case n == 0 && f.member.Oldest() == 0 || n > 0 && f.marks[n-1].messages == sent:
	default:
		f.marks, f.pause = append(f.marks, mark{f.written, sent}), firstLook
	}
}

// How often the pump looks whether the client's system has received what was
// written: there is no event for that.
const (
	firstLook = 200 * time.Microsecond
	lastLook  = 50 * time.Millisecond
)

// settle acknowledges what the client's system has received.
func (f *follower) settle() error {
	if len(f.marks) == 0 {
		return nil
	}
	queued, err := f.net.Unacknowledged()
	if err != nil {
		return err
	}
	n := 0
	for n < len(f.marks) && f.marks[n].written <= f.written-int64(queued) {
		n++
	}
	if n == 0 {
		f.pause = min(2*f.pause, lastLook)
		return nil
	}
	err = f.member.Ack(f.marks[n-1].messages)
	f.marks = append(f.marks[:0], f.marks[n:]...)
	f.pause = firstLook
	return err
}

// wakeToSettle wakes the pump when it is to settle what is not settled.
func (f *follower) wakeToSettle() {
	if len(f.marks) > 0 {
		f.wakeIn(f.pause)
	}
}

// freeMemory gives memory back while there is nothing to send.
func (f *follower) freeMemory() {
	f.unload()
	f.freeOut()
	f.chunk.Release()
	f.recordSpans = nil
}

// end tells the client why there is no more, as far as that is known, and lets
// what it has got count. heard is what ended the hearing, pumped the pump.
func (f *follower) end(heard, pumped error) error {
	switch {
	case errors.Is(pumped, errHangs):
		return pumped // without hearing it out
	case pumped != nil && !errors.Is(heard, errGone):
		return f.endOfStream(pumped)
	case errors.Is(heard, errGone):
		return f.durable()
	case f.server.isStopping() && isTimeout(heard):
		return f.endOfStream(answer("SHUTDOWN", "the broker is stopping"))
	}
	return heard
}

// unask takes back all that was asked for.
func (f *follower) unask() {
	for _, cancel := range []func(){f.unwatch, f.unawait} {
		if cancel != nil {
			cancel()
		}
	}
	f.unwatch, f.unawait = nil, nil
	f.waiter.Close()
}

// endOfStream closes the broker's side, and hears the client out.
func (f *follower) endOfStream(err error) error {
	marked := err == io.EOF && f.request.format == formatBatch // the client sees the end
	if err == io.EOF {
		err = nil
	}
	f.out = f.confirms.tell(f.out)
	if err := f.last(err); err != nil {
		return err
	}
	if err := f.flush(); err != nil {
		return err
	}
	f.close()
	if !f.request.ack {
		return f.confirmClose()
	}
	if !marked {
		if err := f.net.CloseWrite(); err != nil {
			return err
		}
	}
	var deadline time.Time
	if f.server.isStopping() {
		deadline = time.Now().Add(tcpserver.LingerTime)
	}
	f.net.Resume(deadline)
	if f.hang.found() { // and has interrupted the hearing before
		return errHangs
	}
	if err := f.hear(); f.hang.found() {
		return errHangs // it has been told of the end: nothing may stand behind that
	} else if !errors.Is(err, errGone) {
		return err
	}
	f.passed()
	return f.durable()
}

// durable waits until what was acknowledged is durable, and what has died is among
// the dead letters, so that the close tells the client, which has said all.
func (f *follower) durable() error {
	f.hang.stop()
	f.burials.Wait()
	if err := f.broker.AwaitPositions(); err != nil {
		return toAnswer(err)
	}
	return nil
}
