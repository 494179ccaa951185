package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
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

// Token finds the user with a token. The error is ErrUnauthenticated.
func (u *Users) Token(secret string) (Identity, error) {
	hash := TokenHash(sha256.Sum256([]byte(secret)))
	if hash == u.operator {
		return Identity{Name: OperatorName, By: "token"}, nil
	}
	found := (*u.byToken.Load())[hash]
	if found == nil {
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
