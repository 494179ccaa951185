package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// Nodes call each other by requests of the engine's plain messages, which are not stored. A call that
// gets lost is an error, and its caller decides whether to call again.

const (
	callTime     = 5 * time.Second // for a call whose context has no earlier end
	callsAtATime = 64              // calls of one method that a node answers at a time; the others wait

	callPrefix  = "mb.node."
	sendPrefix  = "mb.send."
	errorHeader = "Mb-Error"
)

// ErrNoAnswer is the error of a call whose node is gone, or has no such method, and of calls that were given up.
var ErrNoAnswer = errors.New("the node does not answer")

// A RemoteError is what the function of the called node has answered.
type RemoteError struct {
	Node int32
	Text string
}

func (e *RemoteError) Error() string { return fmt.Sprintf("node %d: %s", e.Node, e.Text) }

// Call calls a method of a node, of this one too. It waits for 5 seconds at most.
func (e *Engine) Call(ctx context.Context, node int32, method string, data []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	m, err := e.calls.RequestWithContext(ctx, callSubject(node, method), data)
	if err != nil {
		return nil, fmt.Errorf("node %d, %q: %w: %w", node, method, ErrNoAnswer, stopped(err))
	}
	if text := m.Header.Get(errorHeader); text != "" {
		return nil, &RemoteError{node, text}
	}
	return m.Data, nil
}

func callSubject(node int32, method string) string {
	return callPrefix + strconv.Itoa(int(node)) + "." + method
}

// Handle answers calls of a method by f, until Stop. Each call has a goroutine of its own, and a
// context of 5 seconds that ends with Stop.
func (e *Engine) Handle(method string, f func(ctx context.Context, data []byte) ([]byte, error)) error {
	slots := make(chan struct{}, callsAtATime)
	_, err := e.calls.Subscribe(callSubject(e.o.Node, method), func(m *nats.Msg) {
		select {
		case slots <- struct{}{}:
		case <-e.ctx.Done():
			return
		}
		e.tasks.start(func() {
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(e.ctx, callTime)
			defer cancel()
			answer := nats.NewMsg(m.Reply)
			data, err := f(ctx, m.Data)
			if answer.Data = data; err != nil {
				answer.Header.Set(errorHeader, oneLine(err.Error()))
			}
			_ = e.calls.PublishMsg(answer) // a caller without an answer calls again
		})
	})
	return err
}

// oneLine makes a text that a header can hold, and that is not empty.
func oneLine(text string) string {
	b := []byte(text)
	for i, c := range b {
		if c < ' ' {
			b[i] = ' '
		}
	}
	if len(b) == 0 {
		return "error"
	}
	return string(b)
}

// Send sends a message to all nodes that subscribe to the subject now, this one too. It does not wait,
// and a message may get lost.
func (e *Engine) Send(subject string, data []byte) error {
	return e.calls.Publish(sendPrefix+subject, data)
}

// Subscribe calls f with each message of Send, one at a time, until stop.
func (e *Engine) Subscribe(subject string, f func([]byte)) (stop func(), err error) {
	s, err := e.calls.Subscribe(sendPrefix+subject, func(m *nats.Msg) { f(m.Data) })
	if err != nil {
		return nil, err
	}
	return func() { _ = s.Unsubscribe() }, nil
}
