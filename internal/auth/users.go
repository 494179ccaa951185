// Package auth owns users: their credentials (SCRAM, tokens, names in certificates) and their
// permissions. It answers two questions, for any front: which user a client is, and whether a user may
// do something. It stores nothing itself: New is given a function that makes a user durable.
package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"mbus/internal/turns"
)

// Errors of this package.
var (
	// ErrUnauthenticated is the only answer to a wrong name, password or token.
	ErrUnauthenticated = errors.New("the user, the password or the token is wrong")

	// ErrLeft ends the log-in of a client that has not waited for it.
	ErrLeft = errors.New("many log-ins are being checked, and this client has closed its side meanwhile: try again, and wait for the answer")

	ErrUnknownUser = errors.New("unknown user")
	ErrUserExists  = errors.New("the user exists")
	ErrInvalid     = errors.New("invalid")

	// ErrLastUser refuses to delete the last user where KeepLast says so.
	ErrLastUser = errors.New("the last user can't be deleted, because without users everything would be open to other machines")
)

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

// Bounds of a user.
const (
	maxName        = 249 // bytes of a name
	maxPermissions = 10000
	maxTokens      = 100
)

// A User is all that is kept of one.
type User struct {
	Name        string       `json:"name"`
	Created     time.Time    `json:"created"`
	Credentials []Credential `json:"credentials,omitempty"` // one of a mechanism
	Permissions []Permission `json:"permissions,omitempty"` // sorted; one of a pattern
	Tokens      []Token      `json:"tokens,omitempty"`
}

// CheckName says why a name can't be a user's. It has no space, which ends it in the line AUTH, no
// colon, which ends it in HTTP's Basic, and no parenthesis, which only the broker's own names have.
func CheckName(name string) error {
	ok := name != "" && len(name) <= maxName && utf8.ValidString(name) && !strings.ContainsAny(name, ":()")
	for _, r := range name {
		ok = ok && unicode.IsPrint(r) && !unicode.IsSpace(r)
	}
	if !ok {
		return invalid("user name %q: it takes 1 to %d bytes of printable UTF-8 without spaces, colons and parentheses", name, maxName)
	}
	return nil
}

// check says why a user can't be kept.
func (u *User) check() error {
	if err := CheckName(u.Name); err != nil {
		return err
	}
	if len(u.Permissions) > maxPermissions || len(u.Tokens) > maxTokens {
		return invalid("a user has at most %d permissions and %d tokens", maxPermissions, maxTokens)
	}
	for _, p := range u.Permissions {
		if err := p.Check(); err != nil {
			return err
		}
	}
	for i := range u.Credentials {
		c := &u.Credentials[i]
		if err := c.check(); err != nil {
			return err
		}
		if slices.ContainsFunc(u.Credentials[:i], func(other Credential) bool { return other.Mechanism == c.Mechanism }) {
			return invalid("a user has one credential for %s", c.Mechanism)
		}
	}
	return nil
}

// A user is a User as it is used. It is never changed.
type user struct {
	User
	topics, groups rules
	since          uint64                   // the change that last took something away: who logged in before is to log in again
	verified       atomic.Pointer[[32]byte] // a keyed hash of the password, once it was right
}

// Users are all users. Any goroutine may call its methods.
type Users struct {
	secret  atomic.Pointer[[32]byte] // of the credentials of users who do not exist
	key     [32]byte                 // of hashes that never leave this process
	hashing *turns.Limit             // the processor time of passwords
	changed chan struct{}
	all     atomic.Pointer[map[string]*user]
	byToken atomic.Pointer[map[TokenHash]*user]
	forms   atomic.Pointer[forms] // of the credentials of users who do not exist

	operator TokenHash // of the operator token; zero for none
}

// OperatorName is the name of each client that can read the broker's data directory, and so its operator token. No user has
// it.
const OperatorName = "(operator)"

// An Editor changes Users. Any goroutine may call its methods.
type Editor struct {
	*Users
	*edits
	report func(name string, before, after *User) // nil for nobody
}

// Edits are what all Editors of the same Users have in common.
type edits struct {
	save func(name string, record []byte) error

	mu        sync.Mutex // guards what follows
	changes   uint64
	keepLast  bool
	hasSecret bool   // and it is durable
	uncertain string // the user whose record could not be saved, and may be kept all the same; "" for none
}

// New has no users. save makes the record of a user durable, nil for one that is deleted; it is called by
// one goroutine at a time.
func New(save func(name string, record []byte) error) *Editor {
	u := &Users{
		changed: make(chan struct{}, 1),
		hashing: turns.New(0.1),
	}
	rand.Read(u.key[:])
	var secret [32]byte
	rand.Read(secret[:])
	u.secret.Store(&secret) // until there are users
	u.publish(map[string]*user{})
	return &Editor{Users: u, edits: &edits{save: save}}
}

// Reporting is an Editor of the same users that calls report after each change, in the order of the changes: before is
// nil for a new user, and after for one that was deleted. They may not be changed.
func (e *Editor) Reporting(report func(name string, before, after *User)) *Editor {
	return &Editor{e.Users, e.edits, report}
}

func (e *Editor) reportChange(name string, before *user, after *User) {
	switch {
	case e.report == nil:
	case before == nil:
		e.report(name, nil, after)
	default:
		e.report(name, &before.User, after)
	}
}

// SetOperator sets the operator token. It is for the start, before others use the users.
func (e *Editor) SetOperator(secret string) { e.operator = sha256.Sum256([]byte(secret)) }

// Load adds a user from its record, or takes it away if that is nil. It is for the start, before Loaded.
func (e *Editor) Load(name string, record []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := *e.all.Load()
	if name == secretName && len(record) == len(e.key) {
		e.secret.Store(new([32]byte(record)))
		e.hasSecret = true
		return nil
	}
	delete(all, name)
	if record == nil {
		return nil
	}
	var loaded User
	if err := json.Unmarshal(record, &loaded); err != nil {
		return fmt.Errorf("the record of user %q: %w", name, err)
	}
	if loaded.Name != name {
		return fmt.Errorf("the record of user %q is that of %q", name, loaded.Name)
	}
	all[name] = e.compile(&loaded, nil)
	return nil
}

// Loaded ends the start.
func (e *Editor) Loaded() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.publish(*e.all.Load())
}

// Any reports whether there is a user. Without one, everything is open.
func (u *Users) Any() bool { return len(*u.all.Load()) > 0 }

// Has reports whether there is a user with a name.
func (u *Users) Has(name string) bool { return (*u.all.Load())[name] != nil }

// Len is how many there are.
func (u *Users) Len() int { return len(*u.all.Load()) }

// Changed gets an element after changes.
func (u *Users) Changed() <-chan struct{} { return u.changed }

// List has all users, by name. They may not be changed.
func (e *Editor) List() []User {
	var list []User
	all := *e.all.Load()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		list = append(list, all[name].User)
	}
	return list
}

// Find finds a user, who may not be changed. The error is ErrUnknownUser.
func (e *Editor) Find(name string) (User, error) {
	found := (*e.all.Load())[name]
	if found == nil {
		return User{}, unknown(name)
	}
	return found.User, nil
}

func unknown(name string) error { return fmt.Errorf("%w %q", ErrUnknownUser, name) }

// May reports whether a user may do all of these operations. An unknown user may nothing.
func (u *Users) May(name string, o Operation, kind Kind, resource string) bool {
	user := (*u.all.Load())[name]
	if user == nil {
		return false
	}
	r := &user.topics
	if kind == Group {
		r = &user.groups
	}
	return r.allowed(resource)&o == o
}

// MaySome reports whether a user may do all of these operations with something of a kind.
func (u *Users) MaySome(name string, o Operation, kind Kind) bool {
	user := (*u.all.Load())[name]
	return user != nil && slices.ContainsFunc(user.Permissions, func(p Permission) bool {
		return p.Kind == kind && (p.Operations|Describe)&o == o
	})
}

// compile makes what is used of what is kept; before is nil for a new user.
func (e *Editor) compile(kept *User, before *user) *user {
	next := &user{User: *kept, topics: newRules(kept.Permissions, Topic), groups: newRules(kept.Permissions, Group), since: e.changes}
	if before != nil && !takesAway(&before.User, kept) {
		next.since = before.since
		next.verified.Store(before.verified.Load())
	}
	return next
}

// takesAway reports whether a user can do less than before, or has another password. Tokens are seen to by
// their own identities.
func takesAway(before, after *User) bool {
	if len(remove(before.Permissions, after.Permissions...)) > 0 {
		return true
	}
	for _, c := range before.Credentials {
		if !slices.ContainsFunc(after.Credentials, func(other Credential) bool {
			return c.Mechanism == other.Mechanism && slices.Equal(c.StoredKey, other.StoredKey)
		}) {
			return true
		}
	}
	return false
}

// publish has everybody see these users.
func (u *Users) publish(all map[string]*user) {
	tokens := make(map[TokenHash]*user)
	for _, user := range all {
		for _, t := range user.Tokens {
			tokens[t.Hash] = user
		}
	}
	u.all.Store(&all)
	u.byToken.Store(&tokens)
	u.forms.Store(new(forms))
	select {
	case u.changed <- struct{}{}:
	default:
	}
}

// Change changes a user, and returns when that is durable and in force. change gets a copy, with a name only if
// there is no such user, and exists; the lists in it may be replaced, not changed. The error is its error,
// ErrInvalid, or says why it is not durable.
func (e *Editor) Change(name string, change func(user *User, exists bool) error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := *e.all.Load()
	before := all[name]
	next := User{Name: name, Created: time.Now().UTC().Truncate(time.Second)}
	if before != nil {
		next = before.User
	}
	if err := change(&next, before != nil); err != nil {
		return err
	}
	if err := next.check(); err != nil {
		return err
	}
	record, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if err := e.saveSecret(); err != nil {
		return err
	}
	if err := e.keep(name, record); err != nil {
		return err
	}
	e.changes++
	all = maps.Clone(all)
	all[name] = e.compile(&next, before)
	e.publish(all)
	e.reportChange(name, before, &next)
	return nil
}

// secretName is the name of a record that is no user's: it keeps the secret of which the salts of users who do
// not exist are made, so that they stay the same over a restart, as those of users do.
const secretName = "(secret)"

// saveSecret makes the secret durable, the first time.
func (e *Editor) saveSecret() error {
	if e.hasSecret {
		return nil
	}
	err := e.save(secretName, e.secret.Load()[:])
	e.hasSecret = err == nil
	return err
}

// KeepLast says whether the last user may not be deleted.
func (e *Editor) KeepLast(keep bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.keepLast = keep
}

// Delete deletes a user, and returns when that is durable and in force. The error is ErrUnknownUser, ErrLastUser, or
// says why it is not durable.
func (e *Editor) Delete(name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := *e.all.Load()
	before := all[name]
	if before == nil {
		return unknown(name)
	}
	if e.keepLast && len(all) == 1 {
		return ErrLastUser
	}
	if err := e.keep(name, nil); err != nil {
		return err
	}
	e.changes++
	all = maps.Clone(all)
	delete(all, name)
	e.publish(all)
	e.reportChange(name, before, nil)
	return nil
}

// Grant adds permissions; those of one pattern become one.
func (u *User) Grant(more ...Permission) { u.Permissions = add(u.Permissions, more...) }

// Revoke takes operations away from permissions with the same patterns.
func (u *User) Revoke(less ...Permission) { u.Permissions = remove(u.Permissions, less...) }

// SetCredentials sets credentials, those of other mechanisms stay.
func (u *User) SetCredentials(all ...Credential) {
	kept := slices.Clone(u.Credentials)
	for _, c := range all {
		kept = slices.DeleteFunc(kept, func(old Credential) bool { return old.Mechanism == c.Mechanism })
		kept = append(kept, c)
	}
	u.Credentials = kept
}

// RemoveCredential reports whether there was a credential for a mechanism.
func (u *User) RemoveCredential(m Mechanism) bool {
	n := len(u.Credentials)
	u.Credentials = slices.DeleteFunc(slices.Clone(u.Credentials), func(c Credential) bool { return c.Mechanism == m })
	return len(u.Credentials) < n
}

// An Identity is a user that has logged in. The zero value is a client that has not.
type Identity struct {
	Name string
	By   string // a Mechanism, "PLAIN", "token" or "certificate"; for people

	since   uint64
	token   *TokenHash // nil for none
	expires time.Time  // zero for never
}

// identity is that of a user that has proven to be one, unless it was deleted meanwhile.
func (u *Users) identity(proven *user, by string) (Identity, error) {
	id := Identity{Name: proven.Name, By: by, since: proven.since}
	if !u.IsValid(id, time.Now()) {
		return Identity{}, ErrUnauthenticated
	}
	return id, nil
}

// IsValid reports whether a user still is what it was when it logged in: neither deleted nor, since then, with
// less permissions or another password; with a token, that it is there and has not expired. The zero
// Identity is valid as long as there are no users.
func (u *Users) IsValid(id Identity, now time.Time) bool {
	switch id.Name {
	case "":
		return !u.Any()
	case OperatorName:
		return true
	}
	user := (*u.all.Load())[id.Name]
	if user == nil || user.since != id.since || !id.expires.IsZero() && !now.Before(id.expires) {
		return false
	}
	return id.token == nil || slices.ContainsFunc(user.Tokens, func(t Token) bool { return t.Hash == *id.token })
}

// An Applicant is a client with a password.
type Applicant struct {
	Address netip.Addr
	HasLeft func() bool // whether it has closed its sending side; nil where nobody knows
}

// leaveTime is how long the check of a password of a client that has closed its sending side may have to wait: such a client may
// wait for the answer, or has given up. It is a variable for tests.
var leaveTime = time.Second

// Password finds the user with a name and a password. A wrong name takes the time of a wrong password. Passwords
// that were right before cost microseconds, others milliseconds of processor time, of which there is a limit: the addresses
// of clients take turns. The error is ErrUnauthenticated, or ErrLeft.
func (u *Users) Password(name, password string, by Applicant) (Identity, error) {
	sum := hmac.New(sha256.New, u.key[:])
	sum.Write([]byte(name + "\x00" + password))
	hash := [32]byte(sum.Sum(nil))
	if known := (*u.all.Load())[name]; known != nil {
		if right := known.verified.Load(); right != nil && subtle.ConstantTimeCompare(right[:], hash[:]) == 1 {
			return u.identity(known, "PLAIN")
		}
	}
	found, credential := u.credential(name, SHA256)
	turn := u.hashing.Begin(turns.Network(by.Address))
	if turn.Waited() >= leaveTime && by.HasLeft != nil && by.HasLeft() {
		turn.Pause()
		return Identity{}, ErrLeft
	}
	fits := len(password) <= maxPassword && credential.fits(password)
	turn.Pause()
	if !fits || found == nil {
		return Identity{}, ErrUnauthenticated
	}
	found.verified.Store(&hash)
	return u.identity(found, "PLAIN")
}

// Certificate finds the user whose certificate a client has proven to own. The error is ErrUnauthenticated.
func (u *Users) Certificate(name string) (Identity, error) {
	found := (*u.all.Load())[name]
	if found == nil {
		return Identity{}, ErrUnauthenticated
	}
	return u.identity(found, "certificate")
}
