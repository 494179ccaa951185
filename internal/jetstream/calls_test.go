package jetstream

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestACallIsAnsweredByItsNode(t *testing.T) {
	engines := startEngines(t, 3)
	for _, e := range engines {
		name := nodeName(e.o.Node)
		if err := e.Handle("echo", func(_ context.Context, data []byte) ([]byte, error) {
			return append(data, " from "+name...), nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, from := range engines {
		for _, to := range engines {
			var answer []byte
			eventually(t, func() (ok bool) { // that a method is there spreads within milliseconds
				var err error
				answer, err = from.Call(testContext(t), to.o.Node, "echo", []byte("hello"))
				return !errors.Is(err, ErrNoAnswer)
			})
			if want := "hello from " + nodeName(to.o.Node); string(answer) != want {
				t.Errorf("node %d got %q, want %q", from.o.Node, answer, want)
			}
		}
	}
}

func TestACallSaysWhyItFails(t *testing.T) {
	e := startEngines(t, 1)[0]
	ctx := testContext(t)
	if err := e.Handle("fail", func(context.Context, []byte) ([]byte, error) {
		return nil, errors.New("no such group\r\nX: y")
	}); err != nil {
		t.Fatal(err)
	}
	var remote *RemoteError
	if _, err := e.Call(ctx, 1, "fail", nil); !errors.As(err, &remote) || !strings.HasPrefix(remote.Text, "no such group") {
		t.Errorf("%v", err)
	}
	if _, err := e.Call(ctx, 1, "nothing", nil); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("a method that is not there: %v", err)
	}
	if _, err := e.Call(ctx, 9, "fail", nil); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("a node that is not there: %v", err)
	}
	stuck := make(chan struct{})
	if err := e.Handle("stuck", func(ctx context.Context, _ []byte) ([]byte, error) {
		<-ctx.Done()
		close(stuck)
		return nil, ctx.Err()
	}); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, err := e.Call(short, 1, "stuck", nil); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("a node that does not answer in time: %v", err)
	}
	e.Stop()
	<-stuck
	if _, err := e.Call(ctx, 1, "fail", nil); err == nil {
		t.Error("a call after Stop has an answer")
	}
}

func TestAMessageReachesAllNodes(t *testing.T) {
	engines := startEngines(t, 3)
	got := make(chan string, 1000)
	for _, e := range engines {
		name := nodeName(e.o.Node)
		stop, err := e.Subscribe("beat", func(data []byte) { got <- name + " " + string(data) })
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
	}
	seen := make(map[string]bool)
	eventually(t, func() bool {
		if err := engines[1].Send("beat", []byte("of 2")); err != nil {
			t.Fatal(err)
		}
		for {
			select {
			case s := <-got:
				seen[s] = true
				continue
			default:
			}
			return seen["mbus-1 of 2"] && seen["mbus-2 of 2"] && seen["mbus-3 of 2"]
		}
	})
}
