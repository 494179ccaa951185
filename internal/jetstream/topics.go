package jetstream

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	names "mbus/internal/message"
	"mbus/internal/store"
)

// A shard is a part of a cluster's topics that has an owner of its own. There is one now. Its keys in the
// catalog are these: a topic's is of its name in hexadecimal digits. A deleted topic leaves an entry, so
// that the next one of its name has higher leader epochs.
type shard string

const theShard shard = "0"

const shardPrefix = "shard."

func (s shard) claimKey() string { return shardPrefix + string(s) }

func (s shard) noteKey() string { return "note." + string(s) }

func (s shard) topicPrefix() string { return "topic." + string(s) + "." }

func (s shard) topicKey(name string) string {
	return s.topicPrefix() + hex.EncodeToString([]byte(name))
}

// A topicEntry is the catalog's entry of a topic.
type topicEntry struct {
	Name       string             `json:"name"`
	ID         string             `json:"id"`
	Partitions int                `json:"partitions"`
	Epoch      int32              `json:"epoch"`
	Epochs     []store.EpochStart `json:"epochs,omitempty"`
	Config     string             `json:"config,omitempty"`
	Deleted    bool               `json:"deleted,omitempty"`
	Dead       []string           `json:"dead,omitempty"`   // ids of deleted topics of the name, whose streams may be left
	Firsts     []int64            `json:"firsts,omitempty"` // offsets at which the logs of the first partitions begin; the others at 0
}

func entryOf(t *topic) topicEntry {
	return topicEntry{
		Name: t.Name, ID: formatID(t.ID), Partitions: t.Partitions, Epoch: t.Epoch, Epochs: t.Epochs, Config: t.Config, Dead: t.dead, Firsts: t.firsts,
	}
}

// parseEntry reads an entry of the catalog.
func parseEntry(data []byte) (e topicEntry, t store.Topic, err error) {
	if err := json.Unmarshal(data, &e); err != nil {
		return e, t, err
	}
	id, err := hex.DecodeString(e.ID)
	if err != nil || len(id) != 16 || e.Name == "" || e.Partitions < 1 {
		return e, t, fmt.Errorf("%q is no topic", data)
	}
	return e, store.Topic{
		Name: e.Name, ID: [16]byte(id), Partitions: e.Partitions, Epoch: e.Epoch, Epochs: e.Epochs, Config: e.Config,
	}, nil
}

// isInternal reports whether a topic is the broker's own.
func isInternal(name string) bool { return names.IsInternal(name) }

// perStream is how many partitions a stream has: more in one save the engine groups of replicas.
const perStream = 8

// placeOf is where a partition's messages are. Those of an internal topic are in the stream whose
// leader owns all topics, so that they can be used when that is led.
func placeOf(t *store.Topic, number int) place {
	if isInternal(t.Name) {
		return place{shardStream, fmt.Sprintf("mb.s.0.%s.%d", formatID(t.ID), number)}
	}
	i := number / perStream
	return place{streamOf(t.ID, i), fmt.Sprintf("mb.t.%s.%d.%d", formatID(t.ID), i, number)}
}

func streamOf(id [16]byte, i int) string { return "mb_t_" + formatID(id) + "_" + strconv.Itoa(i) }

// streamsOf gives the streams of the partitions of a topic from number first on.
func streamsOf(t *store.Topic, first int) (list []int) {
	if isInternal(t.Name) {
		return nil
	}
	for i := first / perStream; i <= (t.Partitions-1)/perStream; i++ {
		list = append(list, i)
	}
	return list
}

// isAlone reports whether a partition is the only one of its stream.
func isAlone(t *store.Topic, number int) bool {
	return !isInternal(t.Name) && number%perStream == 0 && number == t.Partitions-1
}

// makeStreams makes the streams of the partitions from number first on.
func (s *Store) makeStreams(t *store.Topic, first int) error {
	list := streamsOf(t, first)
	errs := make(chan error, len(list))
	spread(list, func(i int) {
		ctx, cancel := context.WithTimeout(s.ctx, certainTime)
		defer cancel()
		errs <- s.engine.makeStream(ctx, streamOf(t.ID, i), fmt.Sprintf("mb.t.%s.%d.*", formatID(t.ID), i))
	})
	close(errs)
	for err := range errs {
		if err != nil {
			return s.explain(err)
		}
	}
	return nil
}

// explain says store.ErrMoved if that is why a request failed, or store.ErrFull.
func (s *Store) explain(err error) error {
	switch {
	case s.ctx.Err() != nil:
		return s.moved()
	case isFull(err):
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return err
}

// deleteStreams deletes the streams of a topic, or removes its messages from the shared one.
func (s *Store) deleteStreams(t *store.Topic) error {
	ctx, cancel := context.WithTimeout(s.ctx, certainTime)
	defer cancel()
	if isInternal(t.Name) {
		for i := range t.Partitions {
			at := placeOf(t, i)
			if err := s.wire.purge(ctx, at, math.MaxInt64); err != nil {
				return err
			}
		}
		return nil
	}
	var failed error
	for _, i := range streamsOf(t, 0) {
		if err := s.engine.deleteStream(ctx, streamOf(t.ID, i)); err != nil {
			failed = err
		}
	}
	return failed
}

// set changes an entry of the catalog. If it is not certain that it has, the ownership is lost, because
// what is in memory must be what the catalog says.
func (s *Store) set(key string, data []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	ctx, cancel := context.WithTimeout(s.ctx, certainTime)
	defer cancel()
	_, err := s.engine.SetValueIf(ctx, key, data, s.guard)
	switch {
	case err == nil:
		return nil
	case isFull(err) && s.ctx.Err() == nil && !s.has(ctx, key, data):
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	s.lose(err)
	return s.moved()
}

// has reports whether an entry has this content, or it is not known.
func (s *Store) has(ctx context.Context, key string, data []byte) bool {
	v, err := s.engine.Value(ctx, key)
	return err != nil || string(v.Data) == string(data)
}

func (s *Store) setTopic(e topicEntry) error {
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return s.set(s.shard.topicKey(e.Name), data)
}

func checkConfig(config string) error {
	if config != "" && (len(config) > store.MaxConfig || !json.Valid([]byte(config))) {
		return fmt.Errorf("a configuration of %d bytes is no JSON of at most %d bytes", len(config), store.MaxConfig)
	}
	return nil
}

// CreateTopic implements store.Store.
func (s *Store) CreateTopic(name string, partitions int, config string) (store.Topic, error) {
	if name == "" || partitions < 1 {
		return store.Topic{}, fmt.Errorf("no topic %q of %d partitions can be created", name, partitions)
	}
	if err := checkConfig(config); err != nil {
		return store.Topic{}, err
	}
	unlock, err := lockNew(s, name)
	if err != nil {
		return store.Topic{}, err
	}
	defer unlock()
	t := &topic{Topic: store.Topic{Name: name, ID: newID(), Partitions: partitions, Config: config}}
	if err := t.prepare(s); err != nil {
		return store.Topic{}, err
	}
	if err := t.create(s); err != nil {
		return store.Topic{}, err
	}
	return t.Topic, nil
}

// lockNew locks the name of a topic that is to be created.
func lockNew(s *Store, name string) (unlock func(), err error) {
	if unlock, err = s.lock(name); err != nil {
		return nil, err
	}
	if _, err = s.find(name); errors.Is(err, store.ErrUnknownTopic) {
		return unlock, nil
	}
	unlock()
	if err == nil {
		err = store.ErrTopicExists
	}
	return nil, err
}

// create creates a topic. The streams are there before the catalog has the topic.
func (t *topic) create(s *Store) error {
	err := s.makeStreams(&t.Topic, 0)
	if err == nil {
		err = s.setTopic(entryOf(t))
	}
	if err != nil {
		if s.ctx.Err() == nil {
			_ = s.deleteStreams(&t.Topic) // else the next owner does
		}
		return err
	}
	s.addPartitions(t, 0)
	s.put(t)
	return nil
}

// prepare gives a new topic its leader epochs, and registers it.
func (t *topic) prepare(s *Store) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	t.Epoch, err = s.takeEpochs(t.Partitions)
	t.register(s)
	return err
}

// register notes the id of a topic that is to be made, and those of deleted topics of its name. The caller holds s.mu.
func (t *topic) register(s *Store) {
	s.made[t.ID] = true
	if old, ok := s.buried[t.Name]; ok {
		t.dead = deadOf(old)
	}
}

// deadOf gives the ids that an entry says are deleted: of the latest topics of the name.
func deadOf(e topicEntry) []string {
	dead := e.Dead
	if e.Deleted {
		dead = append(dead[:len(dead):len(dead)], e.ID)
	}
	return dead[max(0, len(dead)-maxDead):]
}

// maxDead bounds the ids of deleted topics in an entry. Their streams are most often gone at once.
const maxDead = 16

// takeEpochs takes n leader epochs that no partition has or had, and returns the first. The caller holds
// mu.
func (s *Store) takeEpochs(n int) (int32, error) {
	first := max(s.epochs, int32(max(0, min(s.time().Unix()-firstSecond, 1<<30))))
	if first > math.MaxInt32-int32(n) {
		return 0, errors.New("there are no leader epochs left for more partitions")
	}
	s.epochs = first + int32(n)
	return first, nil
}

// newID is a random UUID.
func newID() (id [16]byte) {
	_, _ = rand.Read(id[:])
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}

// addPartitions adds partitions from number first on, which have no messages.
func (s *Store) addPartitions(t *topic, first int) {
	for i := first; i < t.Partitions; i++ {
		p := newPartition(s.owner, &t.Topic, i, placeOf(&t.Topic, i))
		p.alone.Store(isAlone(&t.Topic, i))
		p.first = t.first(i)
		p.open(&tail{latest: noTime, next: p.first, start: p.first})
		t.partitions = append(t.partitions, p)
	}
}

// put makes t the topic of its name.
func (s *Store) put(t *topic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.topics[t.Name] = t
	delete(s.buried, t.Name)
	if s.ended != nil { // the loss may have missed its new partitions
		for _, p := range t.partitions {
			go p.abandon(s.ended)
		}
	}
}

// AddPartitions implements store.Store. An earlier attempt may have left streams.
func (s *Store) AddPartitions(name string, total int) (store.Topic, error) {
	unlock, err := s.lock(name)
	if err != nil {
		return store.Topic{}, err
	}
	defer unlock()
	old, err := s.find(name)
	if err != nil {
		return store.Topic{}, err
	}
	if total <= old.Partitions {
		return store.Topic{}, fmt.Errorf("topic %q has %d partitions already, %d are not more", name, old.Partitions, total)
	}
	t := &topic{Topic: old.Topic, dead: old.dead, firsts: old.firsts, partitions: old.partitions[:old.Partitions:old.Partitions]}
	s.mu.Lock()
	epoch, err := s.takeEpochs(total - old.Partitions)
	s.mu.Unlock()
	if err != nil {
		return store.Topic{}, err
	}
	t.Grow(total, epoch)
	if err := s.makeStreams(&t.Topic, old.Partitions); err != nil {
		return store.Topic{}, err
	}
	if err := s.setTopic(entryOf(t)); err != nil {
		return store.Topic{}, err
	}
	// Before another partition's messages come between its own.
	t.partitions[old.Partitions-1].alone.Store(isAlone(&t.Topic, old.Partitions-1))
	s.addPartitions(t, old.Partitions)
	s.put(t)
	return t.Topic, nil
}

// Configure implements store.Store.
func (s *Store) Configure(name, config string) error {
	if err := checkConfig(config); err != nil {
		return err
	}
	unlock, err := s.lock(name)
	if err != nil {
		return err
	}
	defer unlock()
	old, err := s.find(name)
	if err != nil {
		return err
	}
	t := &topic{Topic: old.Topic, dead: old.dead, firsts: old.firsts, partitions: old.partitions}
	t.Config = config
	if err := s.setTopic(entryOf(t)); err != nil {
		return err
	}
	s.put(t)
	return nil
}

// DeleteTopic implements store.Store. The catalog says that it is deleted before its streams are.
func (s *Store) DeleteTopic(name string) error {
	unlock, err := s.lock(name)
	if err != nil {
		return err
	}
	defer unlock()
	t, err := s.find(name)
	if err != nil {
		return err
	}
	e := entryOf(t)
	e.Deleted = true
	e.Epoch, e.Epochs, e.Firsts = t.EpochsEnd(), nil, nil
	if err := s.setTopic(e); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.topics, name)
	s.buried[name] = e
	s.mu.Unlock()
	spread(t.partitions, func(p *partition) { p.close(store.ErrDeleted) })
	began := time.Now()
	if err := s.deleteStreams(&t.Topic); err != nil && s.ctx.Err() == nil {
		s.log.Warn("a stream of a deleted topic is left: it takes space until another node takes the topics over",
			"topic", name, "after", time.Since(began).Round(time.Millisecond), "reason", err)
	}
	return nil
}
