package gate

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"mbus/internal/tcpserver"
)

// maxAsked bounds the answer to Ask, in bytes.
const maxAsked = 1 << 20

// Ask asks the owner with a request of its own, in the name of a client: with its address, and how it logs in. It waits for
// an owner as requests do. The error is that there is none, or that it does not answer.
func (g *Gate) Ask(client tcpserver.Conn, r *http.Request, method, path string) (*http.Response, error) {
	a := &asked{question: fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", method, path, r.Host)}
	for _, name := range []string{"Authorization", "Cookie"} {
		for _, value := range r.Header.Values(name) {
			a.question = fmt.Appendf(a.question, "%s: %s\r\n", name, value)
		}
	}
	a.question = append(a.question, "\r\n"...)
	pipe := tcpserver.NewPipe(client, a)
	late := time.AfterFunc(g.times.patience, func() { pipe.Fail(errDone) })
	defer late.Stop()
	if err := g.o.Lead(pipe); err != nil {
		return nil, err
	}
	<-pipe.Over()
	a.mu.Lock()
	defer a.mu.Unlock()
	answer, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(a.answer)), &http.Request{Method: method})
	if err != nil {
		return nil, tcpserver.ErrNoOwner
	}
	return answer, nil
}

// An asked request is the other end of a Pipe.
type asked struct {
	mu       sync.Mutex // guards what follows
	question []byte     // what is left of it
	answer   []byte
}

// Ready implements tcpserver.PipeEnd.
func (a *asked) Ready() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.question) > 0
}

// Read implements tcpserver.PipeEnd.
func (a *asked) Read(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := copy(p, a.question)
	if a.question = a.question[n:]; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Write implements tcpserver.PipeEnd.
func (a *asked) Write(p []byte, _ time.Duration) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.answer)+len(p) > maxAsked {
		return 0, errDone
	}
	a.answer = append(a.answer, p...)
	return len(p), nil
}

// Admitted implements tcpserver.PipeEnd.
func (a *asked) Admitted() {}
