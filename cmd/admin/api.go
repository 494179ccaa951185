package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"mbus/internal/client"
	"mbus/internal/flags"
)

const (
	// answerTime is for a broker that does not answer.
	answerTime = 5 * time.Minute

	// maxAnswer bounds an answer, in bytes: more than 100,000 users and their permissions take.
	maxAnswer = 256 << 20
)

// An api is a broker over HTTP.
type api struct {
	ways    []client.Broker // to log in
	why     error           // about the operator token
	timeout time.Duration
}

// api makes one of the flags.
func (p *place) api(s *flags.Set) (a api, err error) {
	given, err := p.broker(s)
	if err != nil {
		return a, &usageError{err.Error()}
	}
	a.ways, a.why = logIns(given, p.data)
	if a.timeout = p.timeout; a.timeout == 0 {
		a.timeout = answerTime
	}
	return a, nil
}

// ask sends a request with a body as JSON, nil for none, and reads the answer, also as JSON. The error is a
// *client.Error if it is the broker's.
func (a *api) ask(method, path string, body, answer any) error {
	var sent []byte
	if body != nil {
		var err error
		if sent, err = json.Marshal(body); err != nil {
			return err
		}
	}
	return tryLogIns(a.ways, a.why, func(b client.Broker) error {
		read, err := a.send(b, method, path, sent)
		if err != nil || answer == nil {
			return err
		}
		if err := json.Unmarshal(read, answer); err != nil {
			return fmt.Errorf("the answer of the broker's port for HTTP clients is not as expected: %w", err)
		}
		return nil
	})
}

func (a *api) send(b client.Broker, method, path string, body []byte) ([]byte, error) {
	scheme := "http"
	if b.TLS != nil {
		scheme = "https"
	}
	ctx, cancel := context.WithTimeout(context.Background(), a.timeout)
	defer cancel()
	conn, err := dialPrivately(ctx, &b)
	if err != nil {
		return nil, explain(err)
	}
	defer conn.Close()
	r, err := http.NewRequestWithContext(ctx, method, scheme+"://"+b.Addr+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", "mbus-admin/"+flags.Version)
	if len(body) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	token := b.TokenOn(conn)
	switch {
	case token != "":
		r.Header.Set("Authorization", "Bearer "+token)
	case b.User != "" && b.Password != "":
		r.SetBasicAuth(b.User, b.Password)
	}
	dialed := func(context.Context, string, string) (net.Conn, error) { return conn, nil }
	transport := &http.Transport{DialContext: dialed, TLSClientConfig: b.TLS, DisableKeepAlives: true}
	once := http.Client{Transport: transport, CheckRedirect: noRedirect}
	w, err := once.Do(r)
	if err != nil {
		return nil, explain(err)
	}
	defer w.Body.Close()
	read, err := io.ReadAll(io.LimitReader(w.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", client.ErrLost, err)
	}
	if w.StatusCode >= http.StatusMultipleChoices {
		return nil, problemOf(w.StatusCode, read)
	}
	return read, nil
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// dialPrivately connects where nobody else reads or changes what is sent: from credentials others could guess
// passwords.
func dialPrivately(ctx context.Context, b *client.Broker) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", b.Addr)
	if err != nil {
		return nil, err
	}
	if err := b.CheckPrivate(conn); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// explain is the error of a request that has no answer.
func explain(err error) error {
	var of *url.Error
	if errors.As(err, &of) { // which repeats the request
		err = of.Err
	}
	switch {
	case errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Errorf("%w: this port does not speak TLS: connect without -tls, or start the broker with -tls-cert and -tls-key", client.ErrUnreachable)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: %w: no broker listens there: start one, or say with -host and -hport where it is", client.ErrUnreachable, err)
	}
	return fmt.Errorf("%w: %w", client.ErrUnreachable, client.Explain(err))
}

// problemOf is the error that an answer has (RFC 9457).
func problemOf(status int, body []byte) error {
	var p struct{ Code, Detail, Title string }
	if err := json.Unmarshal(body, &p); err != nil || p.Code == "" {
		return fmt.Errorf("the broker's port for HTTP clients answered %d %s", status, http.StatusText(status))
	}
	if p.Detail == "" {
		p.Detail = p.Title
	}
	if status == http.StatusUnauthorized {
		p.Code = codeDenied
	}
	return &client.Error{Code: p.Code, Text: p.Detail}
}
