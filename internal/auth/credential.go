package auth

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"hash"
	"unicode"
	"unicode/utf8"
)

// A Mechanism is one of SCRAM's, by its name in SASL (RFC 5802, RFC 7677).
type Mechanism string

// The mechanisms.
const (
	SHA256 Mechanism = "SCRAM-SHA-256"
	SHA512 Mechanism = "SCRAM-SHA-512"
)

// Mechanisms are all of them.
var Mechanisms = []Mechanism{SHA256, SHA512}

func (m Mechanism) hash() func() hash.Hash {
	if m == SHA512 {
		return sha512.New
	}
	return sha256.New
}

// Bounds of a credential. The smallest number of iterations makes a guess cost milliseconds; the
// largest one bounds what a client has to compute, which takes the number from the broker.
const (
	MinIterations = 16384
	MaxIterations = 1 << 20
	minSalt       = 16 // bytes
	maxSalt       = 256
)

// maxPassword is the length of the longest password, in bytes.
const maxPassword = 1024

// A Credential is what is kept of a password: what RFC 5802 keeps, from which nobody can compute
// what a client proves.
type Credential struct {
	Mechanism  Mechanism `json:"mechanism"`
	Salt       []byte    `json:"salt"`
	Iterations int       `json:"iterations"`
	StoredKey  []byte    `json:"storedKey"`
	ServerKey  []byte    `json:"serverKey"`
}

// NewCredentials makes credentials for all mechanisms. It takes some 10 ms of processor time.
func NewCredentials(password string) ([]Credential, error) {
	if err := CheckPassword(password); err != nil {
		return nil, err
	}
	var all []Credential
	for _, m := range Mechanisms {
		salt := make([]byte, minSalt)
		rand.Read(salt) // which never fails
		all = append(all, newCredential(m, password, salt, MinIterations))
	}
	return all, nil
}

// CheckPassword says why a password can't be one.
func CheckPassword(password string) error {
	switch {
	case password == "" || len(password) > maxPassword:
		return invalid("a password has 1 to %d bytes", maxPassword)
	case !utf8.ValidString(password):
		return invalid("the password is not UTF-8")
	}
	for _, r := range password {
		if unicode.IsControl(r) {
			return invalid("the password has control characters")
		}
	}
	return nil
}

func newCredential(m Mechanism, password string, salt []byte, iterations int) Credential {
	return SaltedCredential(m, m.salted(password, salt, iterations), salt, iterations)
}

// salted is the SaltedPassword of RFC 5802, section 3.
func (m Mechanism) salted(password string, salt []byte, iterations int) []byte {
	key, err := pbkdf2.Key(m.hash(), password, salt, iterations, m.hash()().Size())
	if err != nil {
		panic(err) // the arguments are in range
	}
	return key
}

// SaltedCredential makes a credential of a SaltedPassword, such as Kafka clients send (KIP-554).
func SaltedCredential(m Mechanism, salted, salt []byte, iterations int) Credential {
	return Credential{
		Mechanism: m, Salt: salt, Iterations: iterations,
		StoredKey: m.storedKey(m.mac(salted, "Client Key")), ServerKey: m.mac(salted, "Server Key"),
	}
}

func (m Mechanism) mac(key []byte, text string) []byte {
	h := hmac.New(m.hash(), key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func (m Mechanism) storedKey(clientKey []byte) []byte {
	h := m.hash()()
	h.Write(clientKey)
	return h.Sum(nil)
}

// check says why a credential can't be one.
func (c *Credential) check() error {
	size := c.Mechanism.hash()().Size()
	switch {
	case c.Mechanism != SHA256 && c.Mechanism != SHA512:
		return invalid("unknown mechanism %q: it takes %s or %s", c.Mechanism, SHA256, SHA512)
	case c.Iterations < MinIterations || c.Iterations > MaxIterations:
		return invalid("a credential has %d to %d iterations, not %d", MinIterations, MaxIterations, c.Iterations)
	case len(c.Salt) < minSalt || len(c.Salt) > maxSalt:
		return invalid("the salt of a credential has %d to %d bytes, not %d", minSalt, maxSalt, len(c.Salt))
	case len(c.StoredKey) != size || len(c.ServerKey) != size:
		return invalid("the keys of a credential for %s have %d bytes", c.Mechanism, size)
	}
	return nil
}

// fits reports whether a credential is of this password.
func (c *Credential) fits(password string) bool {
	salted := c.Mechanism.salted(password, c.Salt, c.Iterations)
	stored := c.Mechanism.storedKey(c.Mechanism.mac(salted, "Client Key"))
	return subtle.ConstantTimeCompare(stored, c.StoredKey) == 1
}

// credential is that of a user for a mechanism. Without one the user is nil, and the credential nobody's: the same
// each time, so that nobody sees whether the user exists. Nobody's is made for each user, because its time shows, too.
func (u *Users) credential(name string, m Mechanism) (*user, Credential) {
	nobodys := u.nobodys(name, m)
	if found := (*u.all.Load())[name]; found != nil {
		for _, c := range found.Credentials {
			if c.Mechanism == m {
				return found, c
			}
		}
	}
	return nil, nobodys
}
