package auth

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// addOdd adds a user whose credential has another form than that of NewCredentials.
func addOdd(t *testing.T, e *Editor, name string, m Mechanism, f form) {
	t.Helper()
	c := SaltedCredential(m, make([]byte, m.hash()().Size()), make([]byte, f.salt), f.iterations)
	if err := e.Change(name, func(u *User, _ bool) error { u.SetCredentials(c); return nil }); err != nil {
		t.Fatal(err)
	}
}

// serverFirst is what a client sees that has proven nothing: the salt, and the form.
func serverFirst(t *testing.T, users *Users, m Mechanism, name string) (salt string, f form) {
	t.Helper()
	answer, _, err := users.Exchange(m).Step([]byte("n,,n=" + name + ",r=abc"))
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(answer), ",")
	salt = strings.TrimPrefix(parts[1], "s=")
	decoded, err := base64.StdEncoding.DecodeString(salt)
	if err != nil {
		t.Fatal(err)
	}
	if f.iterations, err = strconv.Atoi(strings.TrimPrefix(parts[2], "i=")); err != nil {
		t.Fatal(err)
	}
	f.salt = len(decoded)
	return salt, f
}

// Names that are no user's have the forms that users have, about as often, and each time the same.
func TestNobodysCredentialHasTheFormOfSomeUsers(t *testing.T) {
	users, k := newUsers(t)
	if _, f := serverFirst(t, users.Users, SHA256, "bob"); f != formDefault {
		t.Errorf("without users: %v", f)
	}
	odd := form{40000, 200}
	addOdd(t, users, "odd", SHA512, odd)
	for i := range 20 {
		if _, f := serverFirst(t, users.Users, SHA512, fmt.Sprint("bob", i)); f != odd {
			t.Fatalf("the only user has %v, others %v", odd, f)
		}
		if _, f := serverFirst(t, users.Users, SHA256, fmt.Sprint("bob", i)); f != formDefault {
			t.Fatalf("no user has a credential for %s, and others have %v", SHA256, f)
		}
	}
	// Of 200 users a quarter is odd.
	for i := range 200 {
		f := formDefault
		if i%4 == 0 {
			f = odd
		}
		addOdd(t, users, fmt.Sprint("user", i), SHA512, f)
	}
	salts, n := make(map[string]string), 0
	for i := range 1000 {
		name := fmt.Sprint("bob", i)
		salt, f := serverFirst(t, users.Users, SHA512, name)
		salts[name] = salt
		switch f {
		case odd:
			n++
		case formDefault:
		default:
			t.Fatalf("%s has %v, as no user has", name, f)
		}
	}
	if n < 100 || n > 500 { // beyond six deviations of 250, as arcs of a ring have
		t.Errorf("%d of 1000 have the form that a quarter of the users has", n)
	}
	users = k.reopened(t)
	addOdd(t, users, "another", SHA512, form{50000, 64})
	changed := 0
	for name, salt := range salts {
		if now, _ := serverFirst(t, users.Users, SHA512, name); now != salt {
			changed++
			if now[:20] == salt[:20] {
				t.Errorf("%s has another form, and the salt from before: %q, %q", name, salt, now)
			}
		}
	}
	if changed > 100 { // 5 are to be expected
		t.Errorf("after a start and with one user more, %d of 1000 have another salt", changed)
	}
}

// The form of a user is its own, whatever others have.
func TestUsersKeepTheirForms(t *testing.T) {
	users, _ := newUsers(t)
	for i := range 30 {
		addOdd(t, users, fmt.Sprint("user", i), SHA256, form{MinIterations + i, minSalt + i})
	}
	for i := range 30 {
		if _, f := serverFirst(t, users.Users, SHA256, fmt.Sprint("user", i)); f != (form{MinIterations + i, minSalt + i}) {
			t.Errorf("user %d has %v", i, f)
		}
	}
}

func BenchmarkNobodysForm(b *testing.B) {
	users := New(kept{}.save)
	all := make(map[string]*user)
	for i := range 10000 {
		name := fmt.Sprint("user", i)
		all[name] = &user{User: User{Name: name, Credentials: []Credential{{Mechanism: SHA256, Salt: make([]byte, minSalt), Iterations: MinIterations}}}}
	}
	users.all.Store(&all)
	b.Run("first", func(b *testing.B) {
		for range b.N {
			users.formsOf(all)
		}
	})
	b.Run("next", func(b *testing.B) {
		for range b.N {
			users.form("bob", SHA256)
		}
	})
}
