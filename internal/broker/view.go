package broker

import (
	"cmp"
	"errors"
	"fmt"

	"mbus/internal/auth"
)

// A Principal is the user on whose behalf something is done.
type Principal struct {
	Name string // "" for a client that has not logged in
	By   string // how it has logged in, and From is its address: both are for the audit trail
	From string
}

// Self is the broker, and auth.OperatorName each client that can read its data directory: nothing is denied to them. No user
// has such a name.
var Self = Principal{Name: "(broker)"}

// An Access is what a principal may be allowed to do with a resource.
type Access int

const (
	Describe Access = iota // see names, numbers, offsets and configuration
	Read                   // fetch messages; use a group, and set its positions
	Write                  // publish
	Create
	Alter // configuration, number of partitions
	Delete
)

func (a Access) String() string {
	return [...]string{"describe", "read", "write", "create", "alter", "delete"}[a]
}

// A Resource is what access is asked for.
type Resource struct {
	Kind ResourceKind
	Name string
}

// A ResourceKind is a kind of resources.
type ResourceKind string

const (
	TopicResource   ResourceKind = "topic"
	GroupResource   ResourceKind = "group"
	ClusterResource ResourceKind = "cluster" // the broker as a whole; it has no name

	// For the audit trail only: access to users and connections is access to the cluster.
	UserResource       ResourceKind = "user"
	ConnectionResource ResourceKind = "connection"
)

// ErrDenied is what a *DeniedError is.
var ErrDenied = errors.New("access denied")

// A DeniedError says which access is not allowed.
type DeniedError struct {
	Principal Principal
	Access    Access
	Resource  Resource
}

func (e *DeniedError) Error() string {
	what, where := fmt.Sprintf("%s %q", e.Resource.Kind, e.Resource.Name), ""
	if e.Resource.Kind == ClusterResource {
		what = "the broker as a whole"
	}
	needs, name := permissionFor(e.Access, e.Resource)
	if name != e.Resource.Name {
		where = " on topics " + name
	}
	if e.Principal.Name == "" {
		return fmt.Sprintf("%v: a client that has not logged in may not %v %s", ErrDenied, e.Access, what)
	}
	return fmt.Sprintf("%v: user %q may not %v %s: it needs %v%s", ErrDenied, e.Principal.Name, e.Access, what, needs, where)
}

func (e *DeniedError) Is(target error) bool { return target == ErrDenied }

// A View is the broker as one principal sees it: the only way for a front to reach topics and
// groups. Each method asks for access first; the error is a *DeniedError. A *Topic, a
// *Partition or a *group.Position that it has given is used without asking again.
type View struct {
	broker    *Broker
	principal Principal
}

// As is the broker as a principal sees it.
func (b *Broker) As(p Principal) *View { return &View{b, p} }

// PrincipalOf is the one that a view is for.
func PrincipalOf(v *View) Principal { return v.principal }

// Allow says, with a *DeniedError, that the principal has no such access. The audit trail gets the refusal.
func (v *View) Allow(access Access, kind ResourceKind, name string) error {
	r := Resource{kind, name}
	if v.broker.may(v.principal, access, r) {
		return nil
	}
	needs, _ := permissionFor(access, r)
	v.broker.trail.deny(v.principal, access.String(), kind, name, "needs", needs)
	return &DeniedError{v.principal, access, r}
}

// AllowSome says, with a *DeniedError, that the principal has no such access to any topic.
func AllowSome(v *View, access Access) error {
	if v.broker.Users().MaySome(v.principal.Name, operationOf(access), auth.Topic) {
		return nil
	}
	return v.Allow(access, ClusterResource, "")
}

// May reports whether the principal has an access, where the answer leaves something out of a list and refuses
// nothing.
func May(v *View, access Access, kind ResourceKind, name string) bool {
	return v.broker.may(v.principal, access, Resource{kind, name})
}

// may is the only place where access is decided. As long as there are no users all is allowed, to clients that have not
// logged in. Then only what a user's permissions say is.
func (b *Broker) may(p Principal, access Access, r Resource) bool {
	if p == Self || p.Name == auth.OperatorName {
		return true
	}
	users := b.Users()
	if p.Name == "" && !users.Any() {
		return true
	}
	operation, name := permissionFor(access, r)
	return users.May(p.Name, operation, kindOf(r.Kind), name)
}

// permissionFor is the operation that an access takes, and the name for which a user is to have it.
func permissionFor(access Access, r Resource) (operation auth.Operation, name string) {
	name, operation = cmp.Or(r.Name, allTopics), operationOf(access)
	if r.Kind == TopicResource && Internal(name) && operation != auth.Describe {
		name, operation = allTopics, auth.Admin // it has the positions of all groups, or messages of any topic
	}
	return operation, name
}

// allTopics stands for the broker as a whole: no topic has such a name, and only the pattern * matches it.
const allTopics = "*"

// operationOf is the permission that an access takes.
func operationOf(a Access) auth.Operation {
	switch a {
	case Describe:
		return auth.Describe
	case Read:
		return auth.Consume
	case Write:
		return auth.Publish
	}
	return auth.Admin
}

func kindOf(kind ResourceKind) auth.Kind {
	if kind == GroupResource {
		return auth.Group
	}
	return auth.Topic
}

// topic asks for access to a topic, group to a group.
func (v *View) topic(access Access, name string) error { return v.Allow(access, TopicResource, name) }

func (v *View) group(access Access, name string) error { return v.Allow(access, GroupResource, name) }
