package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"mbus/internal/store"
)

const (
	// openTime is how long a takeover waits for the partitions of users' topics. Those whose stream has no
	// leader then are opened in the background.
	openTime  = 5 * time.Second
	openRetry = time.Second
)

// A claim says who owns the topics.
type claim struct {
	Node  int32  `json:"node"`
	Epoch uint32 `json:"epoch"`
}

// TakeOver makes this node the owner of all topics: nothing of an earlier owner is stored from then on.
// It fails if another node takes them over meanwhile, and if the catalog or an internal log can't be
// read whole. Partitions whose stream has no leader are opened later: see store.Opener.
func (e *Engine) TakeOver(ctx context.Context) (*Store, error) {
	return e.takeOver(ctx, theShard, defaultSizes)
}

// TakeOverShard is TakeOver for other topics than those of TakeOver: each shard has its own. The size of a
// section in bytes may be smaller than usual. Tests share an engine in this way.
func (e *Engine) TakeOverShard(ctx context.Context, name string, sectionBytes int64) (*Store, error) {
	s := defaultSizes
	if sectionBytes > 0 {
		s.section = sectionBytes
	}
	return e.takeOver(ctx, shard(name), s)
}

func (e *Engine) takeOver(ctx context.Context, of shard, sizes sizes) (*Store, error) {
	guard, epoch, err := e.claim(ctx, of)
	if err != nil {
		return nil, err
	}
	wires, err := newEngineWire(e)
	if err != nil {
		return nil, err
	}
	s := &Store{
		owner: newOwner(wires, epoch, sizes, e.log), engine: e, shard: of, wires: wires, guard: guard,
		topics: make(map[string]*topic), buried: make(map[string]topicEntry), made: make(map[[16]byte]bool),
	}
	s.unwatch, err = e.Watch(shardPrefix, s.watch)
	if err == nil {
		s.tasks.start(s.awaitLoss)
		if err = s.load(ctx); err == nil {
			return s, nil
		}
		select {
		case <-s.lost:
			err = s.moved()
		default:
		}
		_ = s.Close()
		return nil, err
	}
	wires.stop()
	return nil, err
}

// claim makes this node the owner in the catalog. It fails with ErrConflict if another one does.
func (e *Engine) claim(ctx context.Context, of shard) (guard Value, epoch uint32, err error) {
	v, err := e.Value(ctx, of.claimKey())
	if err != nil {
		return v, 0, err
	}
	var c claim
	if v.Revision > 0 {
		if err := json.Unmarshal(v.Data, &c); err != nil {
			return v, 0, fmt.Errorf("entry %q of the catalog: %w", v.Key, err)
		}
	}
	c.Node, c.Epoch = e.o.Node, c.Epoch+1
	data, err := json.Marshal(c)
	if err != nil {
		return v, 0, err
	}
	v.Revision, err = e.SetValue(ctx, v.Key, data, v.Revision)
	return v, c.Epoch, err
}

// watch ends the ownership when another node has claimed the topics.
func (s *Store) watch(v Value) {
	if v.Key == s.guard.Key && v.Revision > s.guard.Revision {
		s.lose(fmt.Errorf("the catalog says that the owner is %s", v.Data))
	}
}

// load reads the catalog and opens all partitions.
func (s *Store) load(ctx context.Context) error {
	values, err := s.engine.catalog(ctx, s.wires, s.guard.Revision)
	if err != nil {
		return err
	}
	alone := true
	for _, v := range values {
		alone = alone && (v.Key == s.guard.Key || !strings.HasPrefix(v.Key, shardPrefix))
		if v.Key == s.shard.noteKey() {
			s.note = v.Data
		}
		if strings.HasPrefix(v.Key, s.shard.topicPrefix()) {
			if err := s.loadTopic(v); err != nil {
				return fmt.Errorf("entry %q of the catalog: %w", v.Key, err)
			}
		}
	}
	if err := s.openAll(ctx); err != nil {
		return err
	}
	if alone {
		s.tasks.start(s.removeOrphans)
	}
	return nil
}

// loadTopic takes a topic from the catalog.
func (s *Store) loadTopic(v Value) error {
	e, t, err := parseEntry(v.Data)
	if err != nil {
		return err
	}
	s.epochs = max(s.epochs, t.EpochsEnd())
	if e.Deleted {
		s.epochs = max(s.epochs, e.Epoch)
		s.buried[e.Name] = e
		return nil
	}
	open := &topic{Topic: t, dead: e.Dead, firsts: e.Firsts}
	for i := range t.Partitions {
		p := newPartition(s.owner, &t, i, placeOf(&t, i))
		p.alone.Store(isAlone(&t, i))
		p.first = open.first(i)
		open.partitions = append(open.partitions, p)
	}
	s.topics[t.Name] = open
	return nil
}

// An opened partition has fences that nobody needs any more.
type opened struct {
	p      *partition
	fences []uint64
	err    error
}

// openAll opens all partitions, those of internal topics for certain.
func (s *Store) openAll(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	users, end := context.WithTimeout(ctx, openTime)
	defer end()
	list := s.partitions()
	results := make(chan opened, len(list))
	began := time.Now()
	spread(list, func(p *partition) {
		o := opened{p: p}
		if isInternal(p.topic) {
			o.fences, o.err = p.recover(ctx)
		} else {
			o.fences, o.err = p.recover(users)
		}
		results <- o
	})
	close(results)
	var done, later []opened
	for o := range results {
		switch {
		case s.ctx.Err() != nil:
			return s.moved()
		case ctx.Err() != nil:
			return ctx.Err()
		case o.err == nil:
			done = append(done, o)
		case isInternal(o.p.topic):
			return fmt.Errorf("internal topic %q can't be opened: %w", o.p.topic, o.err)
		default:
			later = append(later, o)
		}
	}
	if len(later) > 0 {
		s.log.Warn("partitions can't be opened yet: clients of these get errors until then", "partitions", len(later), "of", len(list),
			"topic", later[0].p.topic, "partition", later[0].p.number, "after", time.Since(began).Round(time.Millisecond), "reason", later[0].err)
	}
	s.tasks.start(func() { s.openLater(later) })
	s.tasks.start(func() { s.tidy(done) })
	return nil
}

// openLater opens partitions in the background, for as long as it takes.
func (s *Store) openLater(list []opened) {
	spread(list, func(o opened) {
		for s.ctx.Err() == nil && o.err != nil {
			pause(s.ctx, openRetry)
			ctx, cancel := context.WithTimeout(s.ctx, openTime)
			o.fences, o.err = o.p.recover(ctx)
			cancel()
		}
		if o.err == nil {
			s.log.Info("a partition is open that could not be opened before", "topic", o.p.topic, "partition", o.p.number)
			s.tidy([]opened{o})
		}
	})
}

// tidy removes fences of earlier owners. What it can't remove the next owner does.
func (s *Store) tidy(list []opened) {
	for _, o := range list {
		if s.ctx.Err() != nil {
			return
		}
		if err := o.p.tidy(o.fences); err != nil && s.ctx.Err() == nil {
			s.log.Debug("fences of earlier owners can't be removed now", "topic", o.p.topic, "partition", o.p.number, "reason", err)
		}
	}
}

// catalogTime bounds one attempt to read the catalog.
const catalogTime = 2 * time.Second

// catalog gives all entries of the catalog, as of a revision or later. It reads from any replica, by
// ascending revisions, up to the one given: a replica that has that one has all before. The number of
// entries is compared with that of the leader, so that a replica that lacks some is noticed.
func (e *Engine) catalog(ctx context.Context, w *engineWire, revision uint64) ([]Value, error) {
	for {
		values, err := e.tryCatalog(ctx, w, revision)
		if err == nil {
			return values, nil
		}
		if pause(ctx, 50*time.Millisecond); ctx.Err() != nil {
			return nil, fmt.Errorf("the catalog can't be read: %w: %w", ctx.Err(), err)
		}
	}
}

func (e *Engine) tryCatalog(ctx context.Context, w *engineWire, revision uint64) ([]Value, error) {
	ctx, cancel := context.WithTimeout(ctx, catalogTime)
	defer cancel()
	entries := make(map[string]Value)
	for from := uint64(1); from <= revision; {
		list, err := w.direct(ctx, metaStream, server.JSApiMsgGetRequest{Seq: from, NextFor: metaSubjects, Batch: someMessages, MaxBytes: 1 << 20}, readPatience)
		if errors.Is(err, errSilent) || errors.Is(err, errNone) {
			if pause(ctx, leastPause); ctx.Err() != nil {
				return nil, err
			}
			continue // another replica
		}
		if err != nil {
			return nil, err
		}
		for _, m := range list {
			seq, err := strconv.ParseUint(m.Header.Get(server.JSSequence), 10, 64)
			if err != nil {
				return nil, err
			}
			key := strings.TrimPrefix(m.Header.Get(server.JSSubject), metaPrefix)
			entries[key] = Value{key, m.Data, seq}
			from = seq + 1
		}
	}
	var a server.JSApiStreamInfoResponse
	if err := e.api(ctx, fmt.Sprintf(server.JSApiStreamInfoT, metaStream), nil, &a, &a.ApiResponse, patience); err != nil {
		return nil, err
	}
	if a.State.LastSeq < revision || len(entries) < a.State.NumSubjects && a.State.LastSeq == revision || len(entries) == 0 {
		return nil, fmt.Errorf("the leader has %d entries up to revision %d, %d were read up to %d", a.State.NumSubjects, a.State.LastSeq, len(entries), revision)
	}
	values := make([]Value, 0, len(entries))
	for _, v := range entries {
		values = append(values, v)
	}
	return values, nil
}

// removeOrphans deletes streams that no topic has: of deleted topics, and of such as were never finished,
// which have no messages but fences.
func (s *Store) removeOrphans() {
	names, err := s.engine.streamNames(s.ctx, "mb_t_")
	if err != nil {
		return // the next owner does
	}
	known, dead := s.ids()
	for _, name := range names {
		id, _, _ := strings.Cut(strings.TrimPrefix(name, "mb_t_"), "_")
		if known[id] || s.ctx.Err() != nil {
			continue
		}
		if !dead[id] && !s.engine.isEmpty(s.ctx, name) {
			s.log.Warn("a stream has messages of a topic that the catalog does not have: it is kept", "stream", name)
			continue
		}
		ctx, cancel := context.WithTimeout(s.ctx, changeTime)
		if err := s.engine.deleteStream(ctx, name); err == nil {
			s.log.Info("a stream is deleted that belongs to no topic", "stream", name)
		}
		cancel()
	}
}

// ids gives those of topics that exist, or are about to, and those of deleted ones.
func (s *Store) ids() (known, dead map[string]bool) {
	known, dead = make(map[string]bool), make(map[string]bool)
	s.mu.RLock()
	defer s.mu.RUnlock()
	for id := range s.made {
		known[formatID(id)] = true
	}
	for _, t := range s.topics {
		known[formatID(t.ID)] = true
		for _, id := range t.dead {
			dead[id] = true
		}
	}
	for _, e := range s.buried {
		for _, id := range deadOf(e) {
			dead[id] = true
			delete(known, id)
		}
	}
	return known, dead
}

// maxEmpty is how many messages of a stream are read to see whether all of them are fences.
const maxEmpty = 1000

// isEmpty reports whether a stream certainly has no messages but fences.
func (e *Engine) isEmpty(ctx context.Context, stream string) bool {
	ctx, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	i, err := e.streamInfo(ctx, stream)
	if err != nil || i.State.Msgs > maxEmpty {
		return false
	}
	for seq := i.State.FirstSeq; i.State.Msgs > 0 && seq <= i.State.LastSeq; seq++ {
		m, err := e.storedMessage(ctx, stream, server.JSApiMsgGetRequest{Seq: seq, NextFor: ">"})
		if err != nil || m == nil {
			return false
		}
		if f, _, err := parsePrefix(m.Data); err != nil || f.kind != fence {
			return false
		}
		seq = m.Sequence
	}
	return true
}

var _ store.Store = (*Store)(nil)
