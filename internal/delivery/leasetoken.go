package delivery

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"

	"mbus/internal/broker"
)

// ErrToken is the error for text that is no token at all. Test with errors.Is.
var ErrToken = errors.New("it is no token of a lease")

// A place is what a token names: one delivery of a message. A lease that has expired, and the
// same message leased again, have different numbers.
type place struct {
	holder    uint64 // serial of the leaseHolder; no two of a broker have the same
	number    uint64 // of the holder's member
	partition uint32
	offset    int64
}

const (
	placeSize = 8 + 8 + 4 + 8
	sealSize  = 16
)

// A seal shows that the broker has made a token, since its start, for a group in an incarnation of
// a topic.
type seal [sealSize]byte

var tokenText = base64.RawURLEncoding.Strict()

// tokenLength is the length of each token, in bytes.
var tokenLength = tokenText.EncodedLen(placeSize + sealSize)

// A tokenKey makes seals. It is new at each start, when all leases have ended.
type tokenKey [sha256.Size]byte

func newTokenKey() *tokenKey {
	k := new(tokenKey)
	_, _ = rand.Read(k[:]) // which never fails
	return k
}

func (k *tokenKey) seal(p []byte, id broker.TopicID, group string) (s seal) {
	h := hmac.New(sha256.New, k[:])
	h.Write(p) // of one length, as the id: what follows can't be taken for a part of them
	h.Write(id[:])
	h.Write([]byte(group))
	copy(s[:], h.Sum(nil))
	return s
}

func (k *tokenKey) token(at place, id broker.TopicID, group string) string {
	p := make([]byte, 0, placeSize+sealSize)
	p = binary.BigEndian.AppendUint64(p, at.holder)
	p = binary.BigEndian.AppendUint64(p, at.number)
	p = binary.BigEndian.AppendUint32(p, at.partition)
	p = binary.BigEndian.AppendUint64(p, uint64(at.offset))
	s := k.seal(p, id, group)
	return tokenText.EncodeToString(append(p, s[:]...))
}

// parse reads a token. ok is false for one that was not made since the start for the group: its lease
// has ended. The error is ErrToken.
func (k *tokenKey) parse(token string, id broker.TopicID, group string) (at place, s seal, ok bool, err error) {
	if len(token) != tokenLength {
		return at, s, false, ErrToken
	}
	p, err := tokenText.DecodeString(token)
	if err != nil {
		return at, s, false, ErrToken
	}
	copy(s[:], p[placeSize:])
	p = p[:placeSize]
	want := k.seal(p, id, group)
	at.holder = binary.BigEndian.Uint64(p)
	at.number = binary.BigEndian.Uint64(p[8:])
	at.partition = binary.BigEndian.Uint32(p[16:])
	at.offset = int64(binary.BigEndian.Uint64(p[20:]))
	return at, s, hmac.Equal(s[:], want[:]), nil
}

// Settled remembers the tokens that were acknowledged last: a client that has not got the response asks
// again.
type settled struct {
	seals map[seal]struct{}
	order []seal // a ring, once it is full
	next  int
}

func (s *settled) add(x seal) {
	if s.seals == nil {
		s.seals = make(map[seal]struct{})
	}
	if len(s.order) < broker.LeasesRemembered {
		s.order = append(s.order, x)
	} else {
		delete(s.seals, s.order[s.next])
		s.order[s.next] = x
		s.next = (s.next + 1) % len(s.order)
	}
	s.seals[x] = struct{}{}
}

func (s *settled) has(x seal) bool {
	_, found := s.seals[x]
	return found
}
