package broker

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"sync"

	"mbus/internal/batch"
)

// A Place is where a message is in its topic.
type Place struct {
	Partition int
	Offset    int64
}

// Keys are the places of messages that were published with idempotency keys, of all topics. The log keeps
// them: a batch with one such message has keyEpoch as its producer epoch, and a hash of the key
// as its producer id and sequence number.
type keys struct {
	mu      sync.Mutex // guards what follows
	places  map[topicKey]Place
	order   []topicKey // of places: the oldest at next, once there are maxKeys
	next    int
	pending map[topicKey]chan struct{} // being published; closed at the end
}

// A topicKey is a key in one incarnation of a topic.
type topicKey struct {
	topic    [16]byte
	id       int64
	sequence int32
}

// keyEpoch is no epoch of an idempotent producer, because Kafka's end before it, and no number of partitions.
const keyEpoch = math.MaxInt16

// KeyID is a positive number that stands for an idempotency key.
func KeyID(key string) int64 { return max(keyProducer(key).ID, 1) }

func keyProducer(key string) batch.Producer {
	sum := sha256.Sum256([]byte(key))
	return batch.Producer{
		ID:       int64(binary.BigEndian.Uint64(sum[:]) &^ (1 << 63)),
		Epoch:    keyEpoch,
		Sequence: int32(binary.BigEndian.Uint32(sum[8:]) &^ (1 << 31)),
	}
}

// isKeyed reports whether the message of a batch was published with an idempotency key.
func isKeyed(b batch.Batch) bool { return b.ProducerEpoch() == keyEpoch }

// Once publishes a message with an idempotency key, unless one was published to the topic with this key: then it
// returns the place of that one, and repeated. publish appends the message alone in a batch of the producer and waits
// until it is durable. If another one with the key is being published, Once waits for it first.
//
// The latest maxKeys keys of all topics are known, and after a start, of those, the ones in the last keyTail
// bytes of each partition. The first call for a topic reads them; it gives up with store.ErrClosed when quit is closed.
func (b *Broker) Once(t *Topic, key string, quit <-chan struct{}, publish func(batch.Producer) (Place, error)) (at Place, repeated bool, err error) {
	if err := t.keys.load(t, quit); err != nil {
		return at, false, err
	}
	producer := keyProducer(key)
	k := topicKey{t.ID, producer.ID, producer.Sequence}
	if at, repeated = b.keys.claim(k); repeated {
		return at, true, nil
	}
	defer func() { b.keys.release(k, at, err) }()
	err = errNotPublished // if publish panics
	at, err = publish(producer)
	return at, false, err
}

var errNotPublished = errors.New("not published")

// claim finds the place of a key, or reports false: the caller publishes, and calls release. It waits while another
// one publishes.
func (s *keys) claim(k topicKey) (at Place, found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if at, found = s.places[k]; found {
			return at, true
		}
		other := s.pending[k]
		if other == nil {
			break
		}
		s.mu.Unlock()
		<-other
		s.mu.Lock()
	}
	if s.pending == nil {
		s.pending = make(map[topicKey]chan struct{})
	}
	s.pending[k] = make(chan struct{})
	return at, false
}

// release ends a claim, with the place of the message unless it was not published.
func (s *keys) release(k topicKey, at Place, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.note(k, at)
	}
	close(s.pending[k])
	delete(s.pending, k)
}

// note remembers a place, and forgets the oldest if there are too many. The caller holds mu.
func (s *keys) note(k topicKey, at Place) {
	if _, found := s.places[k]; found {
		return
	}
	if s.places == nil {
		s.places = make(map[topicKey]Place)
	}
	s.places[k] = at
	if len(s.order) < maxKeys {
		s.order = append(s.order, k)
		return
	}
	delete(s.places, s.order[s.next])
	s.order[s.next] = k
	s.next = (s.next + 1) % maxKeys
}

// topicKeys says whether the keys in the log of a topic are known.
type topicKeys struct {
	mu     sync.Mutex // held while the log's end is read
	loaded bool
}

// load reads the end of each partition, once. The publishers with keys wait for it, others do not.
func (l *topicKeys) load(t *Topic, quit <-chan struct{}) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.loaded {
		return nil
	}
	for _, p := range t.Partitions() {
		if err := p.loadKeys(quit); err != nil {
			return err
		}
	}
	l.loaded = true
	return nil
}

// loadKeys reads the end of a partition.
func (p *Partition) loadKeys(quit <-chan struct{}) error {
	missing := func(err error) error {
		p.broker.Log.Warn("idempotency keys may be missing", "topic", p.topic.Name, "partition", p.number, "reason", err)
		return nil
	}
	_, err := p.readTail(keyTail, quit, missing, func(b batch.Batch) {
		if isKeyed(b) {
			who := b.Producer()
			keys := &p.broker.keys
			keys.mu.Lock()
			keys.note(topicKey{p.topic.ID, who.ID, who.Sequence}, Place{p.number, b.BaseOffset()})
			keys.mu.Unlock()
		}
	})
	return err
}
