package auth

import (
	"bytes"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/netip"
	"slices"
	"testing"
)

// What is kept differs in one byte, each in turn, from what a client proves: a comparison that ends early, or begins late, lets
// it in.
func TestEachByteOfASecretCounts(t *testing.T) {
	users, _ := newUsers(t)
	for _, m := range Mechanisms {
		right := newCredential(m, "secret", []byte("sixteen bytes of"), MinIterations)
		for at := -1; at < len(right.StoredKey); at++ {
			kept := right
			kept.StoredKey = slices.Clone(right.StoredKey)
			if at >= 0 {
				kept.StoredKey[at] ^= 1
			}
			err := users.Change("alice", func(u *User, _ bool) error {
				u.Credentials = []Credential{kept}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := proveClientKey(t, users.Users, kept); (err == nil) != (at < 0) {
				t.Errorf("%s, byte %d: %v", m, at, err)
			}
			if m == SHA512 || at%8 != 7 && at >= 0 { // a password takes milliseconds
				continue
			}
			if _, err := users.Password("alice", "secret", Applicant{}); (err == nil) != (at < 0) {
				t.Errorf("a password, byte %d: %v", at, err)
			}
		}
	}
}

// proveClientKey logs in as a client that has the key of the password, and knows what is kept.
func proveClientKey(t *testing.T, users *Users, kept Credential) error {
	t.Helper()
	m := kept.Mechanism
	key := m.mac(m.salted("secret", kept.Salt, kept.Iterations), "Client Key")
	e := users.Exchange(m)
	answer, _, err := e.Step([]byte("n,,n=alice,r=abc"))
	if err != nil {
		t.Fatal(err)
	}
	final := "c=biws,r=abc" + e.own
	proof := m.mac(kept.StoredKey, "n=alice,r=abc,"+string(answer)+","+final)
	subtle.XORBytes(proof, proof, key)
	_, _, err = e.Step([]byte(final + ",p=" + base64.StdEncoding.EncodeToString(proof)))
	if err != nil && !errors.Is(err, ErrUnauthenticated) {
		t.Fatal(err)
	}
	return err
}

// So for tokens, by each byte of the token and of its hash.
func TestEachByteOfATokenCounts(t *testing.T) {
	users, _ := newUsers(t)
	add1(t, users, "alice", "secret")
	var secret string
	var token Token
	err := users.Change("alice", func(u *User, _ bool) error {
		secret, token = u.AddToken(0)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	operator := NewToken()
	users.SetOperator(operator)
	for _, known := range []string{secret, operator} {
		for at := range known {
			p := []byte(known)
			p[at] ^= 1
			for _, wrong := range []string{string(p), known[:at], known + known[:at+1]} {
				if _, err := users.Token(wrong, netip.AddrPort{}); !errors.Is(err, ErrUnauthenticated) {
					t.Errorf("token %q is taken for %q: %v", wrong, known, err)
				}
			}
		}
		if _, err := users.Token(known, netip.AddrPort{}); err != nil {
			t.Error(err)
		}
	}
	for at := range token.Hash {
		err := users.Change("alice", func(u *User, _ bool) error {
			wrong := token
			wrong.Hash[at] ^= 1
			u.Tokens = []Token{wrong}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := users.Token(secret, netip.AddrPort{}); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("a token whose hash differs in byte %d: %v", at, err)
		}
	}
}

// The secret of users who do not exist is stored; the key of the hashes of passwords is not.
func TestTheKeyOfHashesIsNotStored(t *testing.T) {
	users, kept := newUsers(t)
	add1(t, users, "alice", "secret")
	for name, record := range kept {
		if bytes.Contains(record, users.key[:]) {
			t.Errorf("record %q has it", name)
		}
	}
	if *users.secret.Load() == users.key {
		t.Error("the secret is the key")
	}
}
