package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// A Token stands for a password in HTTP and on the line ports. Only its hash is kept: it has 256 random bits,
// so that a slow hash would protect nothing.
type Token struct {
	ID      string     `json:"id"` // for people, to remove it
	Hash    TokenHash  `json:"hash"`
	Created time.Time  `json:"created"`
	Expires *time.Time `json:"expires,omitempty"` // nil for never
}

// A TokenHash is the SHA-256 of a token.
type TokenHash [sha256.Size]byte

// MarshalText is for JSON.
func (h TokenHash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText is for JSON.
func (h *TokenHash) UnmarshalText(text []byte) error {
	if hex.DecodedLen(len(text)) != len(h) {
		return fmt.Errorf("the hash of a token has %d digits", hex.EncodedLen(len(h)))
	}
	_, err := hex.Decode(h[:], text)
	return err
}

// OperatorFile is the file in a broker's data directory that has its operator token.
const OperatorFile = "operator-token"

// tokenPrefix begins each token, so that people and programs that look for secrets see what it is.
const tokenPrefix = "mbus_"

const (
	tokenSize   = 32 // bytes of a token before base64
	tokenIDSize = 6
)

// NewToken makes a secret that nobody can guess.
func NewToken() string {
	random := make([]byte, tokenSize)
	rand.Read(random)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(random)
}

// AddToken makes a token, which nobody can see again. It expires after a time, 0 for never.
func (u *User) AddToken(after time.Duration) (secret string, t Token) {
	secret = NewToken()
	random := make([]byte, tokenIDSize)
	rand.Read(random)
	t = Token{ID: hex.EncodeToString(random), Hash: sha256.Sum256([]byte(secret)), Created: time.Now().UTC().Truncate(time.Second)}
	if after > 0 {
		at := t.Created.Add(after)
		t.Expires = &at
	}
	u.Tokens = append(slices.Clone(u.Tokens), t)
	return secret, t
}

// RemoveToken reports whether there was a token with an id.
func (u *User) RemoveToken(id string) bool {
	n := len(u.Tokens)
	u.Tokens = slices.DeleteFunc(slices.Clone(u.Tokens), func(t Token) bool { return t.ID == id })
	return len(u.Tokens) < n
}

// LooksLikeToken reports whether a secret is a token, rather than a password.
func LooksLikeToken(secret string) bool {
	return strings.HasPrefix(secret, tokenPrefix) && len(secret) == len(tokenPrefix)+base64.RawURLEncoding.EncodedLen(tokenSize)
}

// OperatorTokenAt is what proves the operator token to the broker at an address, and is worth nothing at any other one: a
// listener that another user has started where the broker is not gets nothing that the broker takes.
func OperatorTokenAt(secret string, at netip.AddrPort) string {
	return TokenHash(sha256.Sum256([]byte(secret))).tokenAt(at)
}

func (h TokenHash) tokenAt(at netip.AddrPort) string {
	sum := hmac.New(sha256.New, h[:])
	sum.Write([]byte("mbus operator at " + netip.AddrPortFrom(at.Addr().Unmap(), at.Port()).String()))
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(sum.Sum(nil))
}

// isOperatorAt reports whether a token is that of the operator for an address.
func (u *Users) isOperatorAt(secret string, at netip.AddrPort) bool {
	isSet := u.operator != TokenHash{}
	return isSet && subtle.ConstantTimeCompare([]byte(secret), []byte(u.operator.tokenAt(at))) == 1
}

// Token finds the user with a token, of a client that has connected to an address of the broker. The error is
// ErrUnauthenticated.
func (u *Users) Token(secret string, at netip.AddrPort) (Identity, error) {
	hash := TokenHash(sha256.Sum256([]byte(secret)))
	if hash == u.operator {
		return Identity{Name: OperatorName, By: "token"}, nil
	}
	found := (*u.byToken.Load())[hash]
	switch {
	case found == nil && u.isOperatorAt(secret, at):
		return Identity{Name: OperatorName, By: "token"}, nil
	case found == nil:
		return Identity{}, ErrUnauthenticated
	}
	i := slices.IndexFunc(found.Tokens, func(t Token) bool { return t.Hash == hash })
	id := Identity{Name: found.Name, By: "token", since: found.since, token: &found.Tokens[i].Hash}
	if t := found.Tokens[i]; t.Expires != nil {
		id.expires = *t.Expires
	}
	if !u.IsValid(id, time.Now()) {
		return Identity{}, ErrUnauthenticated
	}
	return id, nil
}
