package auth

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// kept is a save that keeps records as a disk would.
type kept map[string][]byte

func (k kept) save(name string, record []byte) error {
	if record == nil {
		delete(k, name)
	} else {
		k[name] = record
	}
	return nil
}

// reopened reads the records back, as a start does.
func (k kept) reopened(t *testing.T) *Editor {
	t.Helper()
	e := New(k.save)
	for name, record := range k {
		if err := e.Load(name, record); err != nil {
			t.Fatal(err)
		}
	}
	e.Loaded()
	return e
}

func newUsers(t *testing.T) (*Editor, kept) {
	t.Helper()
	k := make(kept)
	return k.reopened(t), k
}

func add1(t *testing.T, e *Editor, name, password string, permissions ...Permission) {
	t.Helper()
	credentials, err := NewCredentials(password)
	if err != nil {
		t.Fatal(err)
	}
	err = e.Change(name, func(u *User, _ bool) error {
		u.SetCredentials(credentials...)
		u.Grant(permissions...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The exchange of RFC 7677, section 3.
func TestScramIsThatOfRFC7677(t *testing.T) {
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	record, err := json.Marshal(User{Name: "user", Credentials: []Credential{newCredential(SHA256, "pencil", salt, 4096)}})
	if err != nil {
		t.Fatal(err)
	}
	users, _ := newUsers(t)
	if err := users.Load("user", record); err != nil {
		t.Fatal(err)
	}
	users.Loaded()
	e := users.Exchange(SHA256)
	e.own = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	answer, _, err := e.Step([]byte("n,,n=user,r=rOprNGfwEbeRWgbNEkqO"))
	if want := "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"; err != nil || string(answer) != want {
		t.Fatalf("the first answer is %q (%v), not %q", answer, err, want)
	}
	answer, id, err := e.Step([]byte("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="))
	if want := "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="; err != nil || string(answer) != want || id.Name != "user" {
		t.Fatalf("the second answer is %q for %q (%v), not %q", answer, id.Name, err, want)
	}
}

// Clients of librdkafka before version 2.6.1, such as kcat, repeat their part of the nonce, and sign that. Other nonces
// are refused although they are signed.
func TestScramTakesTheNonceOfLibrdkafka(t *testing.T) {
	users, _ := newUsers(t)
	add1(t, users, "alice", "secret")
	for _, tt := range []struct {
		nonce string // client and server are the parts of the nonce
		ok    bool
	}{
		{"client+server", true},
		{"client+client+server", true},
		{"server", false},
		{"client", false},
		{"client+client", false},
		{"client+other+server", false},
		{"client+client+client+server", false},
	} {
		e := users.Exchange(SHA256)
		answer, _, err := e.Step([]byte("n,,n=alice,r=abc"))
		if err != nil {
			t.Fatal(err)
		}
		nonce := strings.NewReplacer("client", "abc", "server", e.own, "+", "").Replace(tt.nonce)
		bare := "c=biws,r=" + nonce
		m := SHA256
		key := m.mac(m.salted("secret", e.credential.Salt, e.credential.Iterations), "Client Key")
		proof := m.mac(m.storedKey(key), "n=alice,r=abc,"+string(answer)+","+bare)
		subtle.XORBytes(proof, proof, key)
		_, id, err := e.Step([]byte(bare + ",p=" + base64.StdEncoding.EncodeToString(proof)))
		if ok := err == nil && id.Name == "alice"; ok != tt.ok {
			t.Errorf("%s: %+v %v", tt.nonce, id, err)
		}
	}
}

// login has franz-go's client log in.
func login(t *testing.T, users *Users, m Mechanism, name, password string) (Identity, error) {
	t.Helper()
	var client sasl.Mechanism = scram.Auth{User: name, Pass: password}.AsSha256Mechanism()
	if m == SHA512 {
		client = scram.Auth{User: name, Pass: password}.AsSha512Mechanism()
	}
	session, message, err := client.Authenticate(context.Background(), "localhost")
	if err != nil {
		t.Fatal(err)
	}
	e := users.Exchange(m)
	for {
		answer, id, err := e.Step(message)
		if err != nil {
			return id, err
		}
		done, next, err := session.Challenge(answer)
		if err != nil {
			t.Fatalf("the client refuses %q: %v", answer, err)
		}
		if done {
			return id, nil
		}
		message = next
	}
}

func TestScramServesOtherClients(t *testing.T) {
	users, k := newUsers(t)
	add1(t, users, "alice,=ü", "pässword, = 1")
	users = k.reopened(t)
	for _, m := range Mechanisms {
		if id, err := login(t, users.Users, m, "alice,=ü", "pässword, = 1"); err != nil || id.Name != "alice,=ü" || id.By != string(m) {
			t.Errorf("%s: %+v %v", m, id, err)
		}
		for name, password := range map[string]string{"alice,=ü": "wrong", "bob": "pässword, = 1"} {
			if id, err := login(t, users.Users, m, name, password); !errors.Is(err, ErrUnauthenticated) || id != (Identity{}) {
				t.Errorf("%s: %q with %q is %+v, %v", m, name, password, id, err)
			}
		}
	}
}

// A wrong user and a wrong password get answers of the same form, and the same salt each time.
func TestScramDoesNotTellWhetherAUserExists(t *testing.T) {
	users, k := newUsers(t)
	add1(t, users, "alice", "secret")
	first := func(name string) string {
		answer, _, err := users.Exchange(SHA256).Step([]byte("n,,n=" + name + ",r=abc"))
		if err != nil {
			t.Fatal(err)
		}
		_, salted, _ := strings.Cut(string(answer), ",")
		return salted
	}
	known, unknown := first("alice"), first("bob")
	users = k.reopened(t) // a salt that changes with a start is nobody's
	if unknown != first("bob") || known != first("alice") || unknown == first("carol") || len(known) != len(unknown) {
		t.Errorf("alice gets %q, bob %q, then %q", known, unknown, first("bob"))
	}
}

func TestScramRefusesWhatIsMalformed(t *testing.T) {
	users, _ := newUsers(t)
	add1(t, users, "alice", "secret")
	for _, message := range []string{
		"", "n", "n,", "n,,", "n,,n=alice", "n,,n=alice,r=", "n,,r=abc,n=alice", "p=tls-unique,,n=alice,r=abc", "x,,n=alice,r=abc",
		"n,a=bob,n=alice,r=abc", "n,bob,n=alice,r=abc", "n,,m=x,n=alice,r=abc", "n,,n=al=ice,r=abc", "n,,n=,r=abc", "n,,n=alice,r=a\x00",
		"n,,n=alice,r=" + strings.Repeat("x", maxScram),
	} {
		if answer, _, err := users.Exchange(SHA256).Step([]byte(message)); err == nil || errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%.40q is answered with %q, %v", message, answer, err)
		}
	}
	proof := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for _, final := range []string{
		"", "c=biws,r=NONCE", "c=biws,r=NONCE,p=", "c=biws,r=NONCE,p=AAAA", "c=biws,r=other,p=" + proof, "c=eSws,r=NONCE,p=" + proof,
		"r=NONCE,c=biws,p=" + proof, ",p=" + proof, "c=biws,r=NONCE,p=" + proof[:4] + "\n" + proof[4:],
	} {
		e := users.Exchange(SHA256)
		if _, _, err := e.Step([]byte("n,,n=alice,r=abc")); err != nil {
			t.Fatal(err)
		}
		answer, _, err := e.Step([]byte(strings.ReplaceAll(final, "NONCE", e.nonce)))
		if err == nil || errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%.60q is answered with %q, %v", final, answer, err)
		}
	}
}

func FuzzScram(f *testing.F) {
	credential := newCredential(SHA256, "secret", make([]byte, minSalt), MinIterations)
	f.Add("n,,n=alice,r=abc", "c=biws,r=abc,p=AAAA")
	f.Add("y,a=alice,n=alice,r=abc,x=y", "c=eSxhPWFsaWNlLA==,r=abc,x=y,p=AAAA")
	f.Fuzz(func(t *testing.T, first, final string) {
		users := New(kept{}.save)
		if err := users.Change("alice", func(u *User, _ bool) error { u.SetCredentials(credential); return nil }); err != nil {
			t.Fatal(err)
		}
		e := users.Exchange(SHA256)
		if _, id, err := e.Step([]byte(first)); err != nil || id != (Identity{}) {
			return
		}
		if _, id, err := e.Step([]byte(strings.ReplaceAll(final, "abc", e.nonce))); err == nil || id != (Identity{}) {
			t.Fatalf("%q and %q log in as %+v", first, final, id)
		}
	})
}

func TestPasswordsAndTokens(t *testing.T) {
	users, k := newUsers(t)
	add1(t, users, "alice", "secret")
	var secret string
	err := users.Change("alice", func(u *User, _ bool) error {
		secret, _ = u.AddToken(time.Hour)
		return nil
	})
	if err != nil || !LooksLikeToken(secret) || LooksLikeToken("secret") {
		t.Fatalf("%q, %v", secret, err)
	}
	if text := string(k["alice"]); strings.Contains(text, secret) || strings.Contains(text, secret[len(tokenPrefix):]) {
		t.Errorf("the record has the token: %s", text)
	}
	users = k.reopened(t)
	for range 2 { // the second time it is remembered
		if id, err := users.Password("alice", "secret", Applicant{}); err != nil || id.Name != "alice" {
			t.Errorf("the password: %+v, %v", id, err)
		}
		for name, password := range map[string]string{"alice": "secret2", "bob": "secret", "": "", "alice\x00secret": ""} {
			if id, err := users.Password(name, password, Applicant{}); !errors.Is(err, ErrUnauthenticated) {
				t.Errorf("%q with %q: %+v, %v", name, password, id, err)
			}
		}
	}
	id, err := users.Token(secret, netip.AddrPort{})
	if err != nil || id.Name != "alice" || !users.IsValid(id, time.Now()) {
		t.Fatalf("the token: %+v, %v", id, err)
	}
	if users.IsValid(id, time.Now().Add(2*time.Hour)) {
		t.Error("the token does not expire")
	}
	if _, err := users.Token(NewToken(), netip.AddrPort{}); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("another token: %v", err)
	}
	if err := users.Change("alice", func(u *User, _ bool) error { u.RemoveToken(u.Tokens[0].ID); return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := users.Token(secret, netip.AddrPort{}); !errors.Is(err, ErrUnauthenticated) || users.IsValid(id, time.Now()) {
		t.Errorf("a token that was removed: %v", err)
	}
}

func TestTheOperatorTokenIsNoUsers(t *testing.T) {
	users, _ := newUsers(t)
	var none TokenHash
	if users.operator != none {
		t.Fatal("there is one before it is set")
	}
	secret := NewToken()
	if _, err := users.Token(secret, netip.AddrPort{}); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("before: %v", err)
	}
	users.SetOperator(secret)
	if id, err := users.Token(secret, netip.AddrPort{}); err != nil || id.Name != OperatorName || !users.IsValid(id, time.Now()) {
		t.Errorf("%+v, %v", id, err)
	}
	if CheckName(OperatorName) == nil {
		t.Error("a user may have the operator's name")
	}
}

// What proves it at one address does so at no other one, after no other start, and never if there is none.
func TestTheOperatorTokenIsProvenToOneAddress(t *testing.T) {
	users, _ := newUsers(t)
	at, secret := netip.MustParseAddrPort("127.0.0.1:9992"), NewToken()
	if _, err := users.Token(TokenHash{}.tokenAt(at), at); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("before it is set: %v", err)
	}
	users.SetOperator(secret)
	for address, takes := range map[string]bool{
		"127.0.0.1:9992": true, "[::ffff:127.0.0.1]:9992": true, "127.0.0.1:9991": false, "127.0.0.2:9992": false, "[::1]:9992": false,
	} {
		id, err := users.Token(OperatorTokenAt(secret, netip.MustParseAddrPort(address)), at)
		if takes && (err != nil || id.Name != OperatorName || !users.IsValid(id, time.Now())) || !takes && !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("that for %s: %+v, %v", address, id, err)
		}
	}
	users.SetOperator(NewToken())
	if _, err := users.Token(OperatorTokenAt(secret, at), at); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("after another start: %v", err)
	}
}

// The time of an answer is measured by the step timing of bench/own. What shows without a clock is what is allocated.
func TestAWrongUserCostsWhatAWrongPasswordDoes(t *testing.T) {
	users, _ := newUsers(t)
	add1(t, users, "alice", "secret")
	for _, m := range Mechanisms {
		cost := func(user string) float64 {
			return testing.AllocsPerRun(100, func() {
				if _, _, err := users.Exchange(m).Step([]byte("n,,n=" + user + ",r=x")); err != nil {
					t.Error(err)
				}
			})
		}
		if known, unknown := cost("alice"), cost("mallo"); known != unknown {
			t.Errorf("%s: a user that is there takes %v allocations, another one %v", m, known, unknown)
		}
	}
}

// A client that is gone when its turn comes costs no processor time, and what it sent counts as no failure.
func TestAPasswordOfAClientThatHasLeftIsNotComputed(t *testing.T) {
	defer func(d time.Duration) { leaveTime = d }(leaveTime)
	leaveTime = 0
	users := New(func(string, []byte) error { return nil })
	hasLeft := true
	by := Applicant{HasLeft: func() bool { return hasLeft }}
	if _, err := users.Password("alice", "secret", by); !errors.Is(err, ErrLeft) || errors.Is(err, ErrUnauthenticated) {
		t.Errorf("of one that has left: %v", err)
	}
	hasLeft = false
	if _, err := users.Password("alice", "secret", by); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("of one that waits: %v", err)
	}
}
