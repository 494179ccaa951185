package kafka

import (
	"bytes"
	"errors"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/auth"
)

// AlterUserScramCredentials (KIP-554), version 0: sets and deletes credentials, and makes users that do not exist. All
// changes of a user are made, or none. Iterations below auth.MinIterations, which are the default of
// some tools, are UNACCEPTABLE_CREDENTIAL. A user without credentials stays, with its permissions. The response is sent
// when it is on disk and in force. It takes admin on all topics.
func init() {
	register(api{
		key: 51, min: 0, max: 0, handle: typed(alterScram),
		doc: "16384 to 1048576 iterations; fewer or more are UNACCEPTABLE_CREDENTIAL. Makes users that do not exist; a user whose credentials are deleted stays.",
	})
}

// A scramChange is what a request changes of one user.
type scramChange struct {
	name    string
	named   []int8 // mechanisms
	deleted []auth.Mechanism
	set     []auth.Credential
	err     error
}

func alterScram(c *call, req *kmsg.AlterUserSCRAMCredentialsRequest) {
	resp := req.ResponseKind().(*kmsg.AlterUserSCRAMCredentialsResponse)
	users, denied := c.conn.view.UserEditor()
	changes := scramChanges(req)
	c.async(func() { // it waits for the disk
		for _, change := range changes {
			err := denied
			if err == nil {
				err = change.make(users)
			}
			out := kmsg.NewAlterUserSCRAMCredentialsResponseResult()
			out.User, out.ErrorCode, out.ErrorMessage = change.name, code(err), text(err)
			resp.Results = append(resp.Results, out)
		}
		c.reply(resp)
	})
}

// scramChanges are the changes of a request, by user. They have nothing of its frame.
func scramChanges(req *kmsg.AlterUserSCRAMCredentialsRequest) (all []*scramChange) {
	byName := make(map[string]*scramChange)
	of := func(name string, number int8) (*scramChange, auth.Mechanism) {
		change := byName[name]
		if change == nil {
			change = &scramChange{name: name}
			byName[name] = change
			all = append(all, change)
		}
		m, known := scramMechanisms[number]
		switch {
		case !known:
			change.err = refuse(kerr.UnsupportedSaslMechanism, "mechanism %d: it takes 1 for %s, or 2 for %s", number, auth.SHA256, auth.SHA512)
		case slices.Contains(change.named, number):
			change.err = refuse(kerr.DuplicateResource, "the credential of user %q for %s is named twice", name, m)
		}
		change.named = append(change.named, number)
		return change, m
	}
	for i := range req.Deletions {
		change, m := of(req.Deletions[i].Name, req.Deletions[i].Mechanism)
		change.deleted = append(change.deleted, m)
	}
	for i := range req.Upsertions {
		in := &req.Upsertions[i]
		change, m := of(in.Name, in.Mechanism)
		c := auth.SaltedCredential(m, in.SaltedPassword, bytes.Clone(in.Salt), int(in.Iterations))
		if size := len(c.StoredKey); len(in.SaltedPassword) != size && change.err == nil {
			change.err = refuse(kerr.UnacceptableCredential, "a salted password for %s has %d bytes, not %d", m, size, len(in.SaltedPassword))
		}
		change.set = append(change.set, c)
	}
	return all
}

// make makes all of the change, or none of it.
func (change *scramChange) make(users *auth.Editor) error {
	if change.err != nil {
		return change.err
	}
	err := users.Change(change.name, func(u *auth.User, exists bool) error {
		for _, m := range change.deleted {
			if !u.RemoveCredential(m) {
				return refuse(kerr.ResourceNotFound, "user %q has no credential for %s", change.name, m)
			}
		}
		u.SetCredentials(change.set...)
		return nil
	})
	if errors.Is(err, auth.ErrInvalid) {
		return refuse(kerr.UnacceptableCredential, "%v", err)
	}
	return err
}
