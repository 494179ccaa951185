package jetstream

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// The catalog is the stream mb_meta: one message a key, of which the last one counts. Each change is a
// compare-and-set, either of the key itself or of another key, the guard. All reads go by way of the
// stream's leader, because another replica may lag.

// A Value is an entry of the catalog.
type Value struct {
	Key      string
	Data     []byte
	Revision uint64 // above 0; ascends over all keys; 0: there is no entry
}

// meta is the catalog.
type meta struct {
	streams *streams
	ctx     context.Context // of watches
	tasks   *tasks
}

// ErrConflict is the error of a change whose condition does not hold: the catalog has changed, or
// another node owns it.
var ErrConflict = errors.New("the catalog has changed")

const (
	metaPrefix  = "mb.meta."
	metaChanged = "mb.changed" // a message after each change, for those who watch

	writeHeader = "Mb-Write" // tells a change from one with the same data by another

	metaReaders = 16                     // reads of a list on their way
	watchTime   = 250 * time.Millisecond // between two looks of a watch that no message wakes
)

// keys are letters, digits and the characters that subjects don't give a meaning, in parts between dots.
var keys = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)

// Value gives the entry of a key, with Revision 0 if there is none.
func (c *meta) Value(ctx context.Context, key string) (Value, error) {
	if !keys.MatchString(key) {
		return Value{}, fmt.Errorf("%q is no key of the catalog", key)
	}
	v, _, err := c.value(ctx, key)
	return v, err
}

// value gives also which write made the entry.
func (c *meta) value(ctx context.Context, key string) (v Value, write string, err error) {
	m, err := c.streams.storedMessage(ctx, metaStream, server.JSApiMsgGetRequest{LastFor: metaPrefix + key})
	if err != nil || m == nil {
		return Value{Key: key}, "", err
	}
	return Value{key, m.Data, m.Sequence}, writeOf(m), nil
}

func writeOf(m *server.StoredMsg) string {
	h, err := nats.DecodeHeadersMsg(m.Header)
	if err != nil {
		return ""
	}
	return h.Get(writeHeader)
}

// storedMessage asks the leader of a stream for a message, nil if there is none.
func (s *streams) storedMessage(ctx context.Context, stream string, r server.JSApiMsgGetRequest) (*server.StoredMsg, error) {
	var a server.JSApiMsgGetResponse
	err := s.api(ctx, fmt.Sprintf(server.JSApiMsgGetT, stream), r, &a, &a.ApiResponse, patience)
	if isCode(err, codeNoMessage) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("stream %q can't be read: %w", stream, err)
	}
	return a.Message, nil
}

// Values gives all entries whose keys begin with prefix, which is empty or ends with a dot, in no order.
// The list is complete as of one moment after the call, or it is an error: the number of entries is
// that of the stream's leader.
func (c *meta) Values(ctx context.Context, prefix string) ([]Value, error) {
	filter, err := metaFilter(prefix)
	if err != nil {
		return nil, err
	}
	names, err := c.metaKeys(ctx, filter)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	values := make([]Value, len(names))
	var readers sync.WaitGroup
	next := make(chan int)
	for range min(metaReaders, len(names)) {
		readers.Go(func() {
			for i := range next {
				v, err := c.Value(ctx, names[i])
				if err == nil && v.Revision == 0 {
					err = fmt.Errorf("the catalog lists %q and does not have it", names[i])
				}
				if values[i] = v; err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := range names {
		next <- i
	}
	close(next)
	readers.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return values, nil
}

// metaKeys lists the keys of a filter, as the leader has them.
func (c *meta) metaKeys(ctx context.Context, filter string) (names []string, err error) {
	for {
		var a server.JSApiStreamInfoResponse
		r := server.JSApiStreamInfoRequest{SubjectsFilter: filter}
		r.Offset = len(names)
		if err := c.streams.api(ctx, fmt.Sprintf(server.JSApiStreamInfoT, metaStream), r, &a, &a.ApiResponse, patience); err != nil {
			return nil, fmt.Errorf("the catalog can't be listed: %w", err)
		}
		for subject := range a.State.Subjects {
			names = append(names, strings.TrimPrefix(subject, metaPrefix))
		}
		if len(names) >= a.Total {
			if filter == metaSubjects && len(names) != a.State.NumSubjects {
				return nil, fmt.Errorf("the catalog has %d entries, and %d are listed", a.State.NumSubjects, len(names))
			}
			return names, nil
		}
		if len(a.State.Subjects) == 0 {
			return nil, fmt.Errorf("the catalog has %d entries, and %d are listed", a.Total, len(names))
		}
	}
}

// metaFilter gives the subjects of the keys that begin with prefix.
func metaFilter(prefix string) (string, error) {
	if prefix == "" {
		return metaSubjects, nil
	}
	if key, ok := strings.CutSuffix(prefix, "."); ok && keys.MatchString(key) {
		return metaPrefix + prefix + ">", nil
	}
	return "", fmt.Errorf("%q is no beginning of keys of the catalog: it must end with a dot", prefix)
}

// SetValue writes an entry if the key's revision is still the one given, 0 for a key that has none. The
// entry is durable on a majority when it returns. The error is ErrConflict if another change came first;
// after other errors the entry may be there or not.
func (c *meta) SetValue(ctx context.Context, key string, data []byte, revision uint64) (uint64, error) {
	return c.SetValueIf(ctx, key, data, Value{Key: key, Revision: revision})
}

// SetValueIf writes an entry if the guard, an entry that was read before, is unchanged; see SetValue.
func (c *meta) SetValueIf(ctx context.Context, key string, data []byte, guard Value) (uint64, error) {
	if !keys.MatchString(key) || !keys.MatchString(guard.Key) {
		return 0, fmt.Errorf("%q or its guard %q is no key of the catalog", key, guard.Key)
	}
	m := nats.NewMsg(metaPrefix + key)
	m.Data = data
	m.Header.Set(writeHeader, rand.Text())
	m.Header.Set(nats.ExpectedLastSubjSeqHdr, strconv.FormatUint(guard.Revision, 10))
	m.Header.Set(server.JSExpectedLastSubjSeqSubj, metaPrefix+guard.Key)
	revision, err := c.put(ctx, key, guard, m)
	if err != nil {
		return 0, fmt.Errorf("entry %q of the catalog can't be written: %w", key, err)
	}
	_ = c.streams.calls.Publish(metaChanged, nil)
	return revision, nil
}

// put stores a message of a key, until that is certain or ctx is done.
func (c *meta) put(ctx context.Context, key string, guard Value, m *nats.Msg) (revision uint64, err error) {
	for {
		revision, err := c.store(ctx, m)
		if err == nil || ctx.Err() != nil {
			return revision, err
		}
		if isCode(err, codeWrongSequence) {
			revision, err = c.look(ctx, key, guard, m.Header.Get(writeHeader))
			if err != nil || revision > 0 {
				return revision, err
			}
		} else if isFinal(err) {
			return 0, err
		}
		pause(ctx, 20*time.Millisecond)
	}
}

// look finds out what became of a write that was refused: it gives the revision if it is stored, 0 if it may be
// sent again, and ErrConflict if it never will be stored.
//
// It is refused also when an earlier copy of it has been stored whose answer was lost, and, around a change of
// leaders, when it is about to be stored. So the guard is read first: if it is unchanged, the condition still holds.
// If not, the write is there already or never will be.
func (c *meta) look(ctx context.Context, key string, guard Value, write string) (revision uint64, err error) {
	g, _, err := c.value(ctx, guard.Key)
	if err != nil {
		return 0, err
	}
	v, by, err := c.value(ctx, key)
	switch {
	case err != nil:
		return 0, err
	case by == write:
		return v.Revision, nil
	case g.Revision != guard.Revision:
		return 0, ErrConflict
	}
	return 0, nil
}

// store publishes one message of the catalog and waits for its answer.
func (c *meta) store(ctx context.Context, m *nats.Msg) (sequence uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := c.streams.calls.RequestMsgWithContext(ctx, m)
	if err != nil {
		return 0, stopped(err)
	}
	var a server.JSPubAckResponse
	if err := json.Unmarshal(r.Data, &a); err != nil {
		return 0, err
	}
	if err := a.ToError(); err != nil {
		return 0, err
	}
	return a.Sequence, nil
}

// Watch calls f with each entry whose key begins with prefix, as Values takes it: first all that are
// there, then each that changes, by ascending revisions. Of several changes of a key soon after one another
// f may get the last only. It is called by one goroutine, until stop has returned, and must not call stop.
func (c *meta) Watch(prefix string, f func(Value)) (stop func(), err error) {
	filter, err := metaFilter(prefix)
	if err != nil {
		return nil, err
	}
	wake := make(chan struct{}, 1)
	s, err := c.streams.calls.Subscribe(metaChanged, func(*nats.Msg) {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(c.ctx)
	ended := make(chan struct{})
	started := c.tasks.start(func() {
		defer close(ended)
		defer s.Unsubscribe() //nolint:errcheck // the connection may be closed
		for next := uint64(1); ctx.Err() == nil; {
			m, err := c.streams.storedMessage(ctx, metaStream, server.JSApiMsgGetRequest{Seq: next, NextFor: filter})
			if err == nil && m != nil {
				f(Value{strings.TrimPrefix(m.Subject, metaPrefix), m.Data, m.Sequence})
				next = m.Sequence + 1
				continue
			}
			select {
			case <-ctx.Done():
			case <-wake:
			case <-time.After(watchTime):
			}
		}
	})
	if !started {
		cancel()
		return nil, ErrStopped
	}
	return func() { cancel(); <-ended }, nil
}

// pause waits, or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
