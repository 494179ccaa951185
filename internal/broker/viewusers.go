package broker

import "mbus/internal/auth"

// UserEditor gives access to all users: to look at them with Describe, to change them with Alter. With less access a user
// finds itself: see User.
func (v *View) UserEditor(access Access) (*auth.Editor, error) {
	if err := v.Allow(access, ClusterResource, ""); err != nil {
		return nil, err
	}
	return v.broker.users.editor, nil
}
