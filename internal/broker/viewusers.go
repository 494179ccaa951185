package broker

import "mbus/internal/auth"

// UserEditor gives access to all users: to look at them with Describe, to change them with Alter. With less access a user
// finds itself: see OwnUser.
func (v *View) UserEditor(access Access) (*auth.Editor, error) {
	if err := v.Allow(access, ClusterResource, ""); err != nil {
		return nil, err
	}
	return v.broker.users.editor, nil
}

// OwnUser is the user that a view is of; false if it is of none.
func OwnUser(v *View) (auth.User, bool) {
	u, err := v.broker.users.editor.Find(v.principal.Name)
	return u, err == nil
}

// SetOwnCredentials replaces the credentials of the user that a view is of, who has proven to know the password. The
// error is auth.ErrUnknownUser, or that of auth.Editor.Change.
func SetOwnCredentials(v *View, all []auth.Credential) error {
	return v.broker.users.editor.Change(v.principal.Name, func(u *auth.User, exists bool) error {
		if !exists {
			return auth.ErrUnknownUser
		}
		u.Credentials = all
		return nil
	})
}
