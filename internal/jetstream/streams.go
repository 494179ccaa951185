package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	metaStream  = "mb_meta" // the catalog
	shardStream = "mb_s0"   // the internal logs; its leader owns all topics

	streamPrefix  = "mb_"
	metaSubjects  = "mb.meta.>"
	shardSubjects = "mb.s.0.>"

	// patience is how long a request waits for its answer until it is sent again. What is asked of a
	// leader that has died gets none.
	patience = 300 * time.Millisecond
	// makeTime is the same for making and deleting streams, which takes up to seconds.
	makeTime = time.Second
	// duplicateWindow is the least that the engine takes. Message ids are not used.
	duplicateWindow = 100 * time.Millisecond
)

// Codes of the engine's errors, ErrCode in its answers.
const (
	codeNoPeers        = 10005 // too few nodes are up
	codeNameInUse      = 10058
	codeStreamNotFound = 10059
	codeNoMessage      = 10037
	codeWrongSequence  = 10071
	codeNotMember      = 10044
	codeBusySubject    = 10164 // a message with a condition on the same subject is on its way
)

// streams is the engine's administration of streams.
type streams struct {
	calls    *nats.Conn // of all that is neither an append nor a read of messages
	replicas int        // of a new stream
}

// streamConfig gives the settings that all streams have. A stream has no limits of its own: they would
// take the last message of an idle partition, and with it the next offset.
func streamConfig(name string, replicas int, subjects ...string) server.StreamConfig {
	return server.StreamConfig{
		Name: name, Subjects: subjects, Replicas: replicas,
		Storage: server.FileStorage, Retention: server.LimitsPolicy, Discard: server.DiscardOld,
		MaxMsgs: -1, MaxBytes: -1, MaxMsgsPer: -1, MaxMsgSize: -1, MaxConsumers: -1,
		AllowDirect: true, Duplicates: duplicateWindow,
	}
}

// makeStream makes a stream with the standard settings and Options.Replicas. It is no error if there is
// one with the same settings. Where too few nodes are up it gets the majority of these replicas, which
// is as safe, and the rest when the nodes are back.
func (s *streams) makeStream(ctx context.Context, name string, subjects ...string) error {
	c := streamConfig(name, s.replicas, subjects...)
	err := s.createStream(ctx, c)
	if isCode(err, codeNoPeers) && c.Replicas > 1 {
		c.Replicas = c.Replicas/2 + 1
		err = s.createStream(ctx, c)
	}
	if isCode(err, codeNameInUse) {
		return s.haveStream(ctx, name)
	}
	return err
}

// haveStream is for a stream that is there with other settings: with more replicas, or less.
func (s *streams) haveStream(ctx context.Context, name string) error {
	_, err := s.streamInfo(ctx, name)
	return err
}

func (s *streams) createStream(ctx context.Context, c server.StreamConfig) error {
	var a server.JSApiStreamCreateResponse
	if err := s.api(ctx, fmt.Sprintf(server.JSApiStreamCreateT, c.Name), c, &a, &a.ApiResponse, makeTime); err != nil {
		return fmt.Errorf("stream %q can't be made: %w", c.Name, err)
	}
	return nil
}

// deleteStream deletes a stream. It is no error if there is none.
func (s *streams) deleteStream(ctx context.Context, name string) error {
	var a server.JSApiStreamDeleteResponse
	err := s.api(ctx, fmt.Sprintf(server.JSApiStreamDeleteT, name), nil, &a, &a.ApiResponse, makeTime)
	if err != nil && !isCode(err, codeStreamNotFound) {
		return fmt.Errorf("stream %q can't be deleted: %w", name, err)
	}
	return nil
}

// streamInfo asks a stream's leader for its configuration and state.
func (s *streams) streamInfo(ctx context.Context, name string) (*server.StreamInfo, error) {
	var a server.JSApiStreamInfoResponse
	if err := s.api(ctx, fmt.Sprintf(server.JSApiStreamInfoT, name), nil, &a, &a.ApiResponse, patience); err != nil {
		return nil, err
	}
	return a.StreamInfo, nil
}

// isCode reports whether err is the engine's error with that code.
func isCode(err error, code uint16) bool {
	var a *server.ApiError
	return errors.As(err, &a) && a.ErrCode == code
}

// ErrStopped is the error of a request after Stop.
var ErrStopped = errors.New("the engine has been stopped")

// stopped makes ErrStopped of what a connection says after Stop.
func stopped(err error) error {
	if errors.Is(err, nats.ErrConnectionClosed) {
		return fmt.Errorf("%w: %w", ErrStopped, err)
	}
	return err
}

// isFinal reports whether err is an error that the same request gets again.
func isFinal(err error) bool {
	if errors.Is(err, ErrStopped) {
		return true
	}
	var a *server.ApiError
	return errors.As(err, &a) && a.Code != 503 && a.ErrCode != codeBusySubject
}

// api sends a request of the engine's administration until it has an answer or ctx is done. The answer
// is decoded into out, of which head is the part with the error. It is sent again where nobody answers
// within wait, and where the engine says that it can't answer now.
func (s *streams) api(ctx context.Context, subject string, in, out any, head *server.ApiResponse, wait time.Duration) error {
	return s.apiOn(ctx, s.calls, subject, in, out, head, wait)
}

// apiOn is api on another connection.
func (s *streams) apiOn(ctx context.Context, c *nats.Conn, subject string, in, out any, head *server.ApiResponse, wait time.Duration) error {
	var data []byte
	if in != nil {
		var err error
		if data, err = json.Marshal(in); err != nil {
			return err
		}
	}
	var last error
	for {
		*head = server.ApiResponse{}
		err := s.ask(ctx, c, subject, data, out, wait)
		if err == nil && head.Error == nil {
			return nil
		}
		if err == nil {
			err = head.Error
		}
		if isFinal(err) {
			return err
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		if pause(ctx, 50*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("%w: %w", ctx.Err(), last)
		}
	}
}

// ask sends one request and decodes its answer.
func (s *streams) ask(ctx context.Context, c *nats.Conn, subject string, data []byte, out any, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	m, err := c.RequestWithContext(ctx, subject, data)
	if err != nil {
		return stopped(err)
	}
	return json.Unmarshal(m.Data, out)
}

// streamNames lists the streams whose names begin with prefix.
func (s *streams) streamNames(ctx context.Context, prefix string) (names []string, err error) {
	for offset := 0; ; {
		var a server.JSApiStreamNamesResponse
		var r server.JSApiStreamNamesRequest
		r.Offset = offset
		if err := s.api(ctx, server.JSApiStreams, r, &a, &a.ApiResponse, time.Second); err != nil {
			return nil, fmt.Errorf("the streams can't be listed: %w", err)
		}
		for _, name := range a.Streams {
			if strings.HasPrefix(name, prefix) {
				names = append(names, name)
			}
		}
		if offset += len(a.Streams); offset >= a.Total || len(a.Streams) == 0 {
			return names, nil
		}
	}
}

// isFull reports whether err is the engine's error that there is no space.
func isFull(err error) bool {
	var a *server.ApiError
	if !errors.As(err, &a) {
		return false
	}
	switch a.ErrCode {
	case 10023, 10047, 10077, 10002: // insufficient resources, storage, maximum bytes, account limits
		return true
	}
	return false
}
