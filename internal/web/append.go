package web

import (
	"net/http"
	"strconv"
	"sync"

	"mbus/internal/batch"
	"mbus/internal/broker"
)

// An appending is one message that is being appended. It is used again and again.
type appending struct {
	message batch.Builder
	out     []byte // an answer
	done    chan struct{}
	end     func(offset int64, err error) // the method, made once
	offset  int64
	err     error
}

var appendings = sync.Pool{New: func() any {
	a := &appending{done: make(chan struct{}, 1)}
	a.end = func(offset int64, err error) {
		a.offset, a.err = offset, err
		a.done <- struct{}{}
	}
	return a
}}

// free has it used again, unless it has grown for a large message. A panic leaves it: its end may still come.
func (a *appending) free() {
	if a.message.Cap() <= 2*broker.PlainRequest {
		appendings.Put(a)
	}
}

// noProducer is that of messages without a number.
var noProducer = batch.Producer{ID: batch.NoProducer, Epoch: batch.NoProducer, Sequence: batch.NoProducer}

// append appends the message alone in a batch, and returns its offset when it is durable.
func (m *outgoing) append(p *broker.Partition, producer batch.Producer) (offset int64, err error) {
	a := appendings.Get().(*appending)
	offset, err = a.append(m, p, producer)
	a.free()
	return offset, err
}

func (a *appending) append(m *outgoing, p *broker.Partition, producer batch.Producer) (offset int64, err error) {
	a.message.Reset()
	a.message.Add(m.time, m.key, m.value, m.headers...)
	a.message.CloseFor(0, producer)
	if err := p.Append(a.message.Bytes(), broker.AppendOptions{Checked: true, Port: broker.HTTP, Inline: true}, a.end); err != nil {
		return 0, err
	}
	<-a.done
	return a.offset, a.err
}

// answer says where a message is.
func (at published) answer(w http.ResponseWriter) error {
	return writeJSON(w, http.StatusOK, at.appendTo(nil))
}

// appendTo appends the place as JSON, with an LF. The name of a topic has nothing to escape.
func (at published) appendTo(p []byte) []byte {
	p = append(append(p, `{"topic":"`...), at.Topic...)
	p = strconv.AppendInt(append(p, `","partition":`...), int64(at.Partition), 10)
	p = strconv.AppendInt(append(p, `,"offset":`...), at.Offset, 10)
	return append(p, "}\n"...)
}
