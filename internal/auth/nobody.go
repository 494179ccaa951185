package auth

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strconv"
	"sync"
)

// A form is what a client sees of a credential before it has proven anything, but for the bytes of the salt.
type form struct{ iterations, salt int }

// formDefault is that of NewCredentials.
var formDefault = form{MinIterations, minSalt}

// Forms give each name that is no user's the form of some user's credential: of the next user on a ring of keyed hashes
// of names. So forms are as frequent among those names as among users, and one that few users have tells nothing about them. A
// change of users changes the forms of few other names.
type forms struct {
	once sync.Once // the first log-in after a change makes the rings
	of   map[Mechanism][]formPoint
}

type formPoint struct {
	at uint64
	form
}

// form is that of nobody's credential.
func (u *Users) form(name string, m Mechanism) form {
	f := u.forms.Load()
	f.once.Do(func() { f.of = u.formsOf(*u.all.Load()) })
	ring := f.of[m]
	if len(ring) == 0 {
		return formDefault
	}
	i, _ := slices.BinarySearchFunc(ring, u.formPoint(name), func(p formPoint, at uint64) int { return cmp.Compare(p.at, at) })
	return ring[i%len(ring)].form
}

func (u *Users) formsOf(all map[string]*user) map[Mechanism][]formPoint {
	rings := make(map[Mechanism][]formPoint)
	for name, user := range all {
		for _, c := range user.Credentials {
			rings[c.Mechanism] = append(rings[c.Mechanism], formPoint{u.formPoint(name), form{c.Iterations, len(c.Salt)}})
		}
	}
	for _, ring := range rings {
		slices.SortFunc(ring, func(a, b formPoint) int { return cmp.Compare(a.at, b.at) })
	}
	return rings
}

// formPoint is where a name is on the rings, which nobody can find out.
func (u *Users) formPoint(name string) uint64 {
	sum := sha256.Sum256(append(u.secret.Load()[:], name...))
	return binary.BigEndian.Uint64(sum[:])
}

// nobodys is the credential of a name that is no user's. With another form it has another salt, as that of a user
// with another password does.
func (u *Users) nobodys(name string, m Mechanism) Credential {
	f := u.form(name, m)
	text := string(m) + " " + name
	if f != formDefault {
		text += " " + strconv.Itoa(f.iterations) + " " + strconv.Itoa(f.salt)
	}
	secret := m.mac(u.secret.Load()[:], text)
	salt := secret
	for block := secret; len(salt) < f.salt; salt = append(salt, block...) {
		block = m.mac(secret, "salt"+string(block))
	}
	return Credential{Mechanism: m, Salt: salt[:f.salt], Iterations: f.iterations, StoredKey: m.mac(secret, "stored"), ServerKey: m.mac(secret, "server")}
}
