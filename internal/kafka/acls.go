package kafka

import (
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/auth"
)

// An acl is one of Kafka's: a user may do one operation with the topics or groups of a pattern. A filter is for some of
// them.
type (
	acl    = kmsg.CreateACLsRequestCreation
	filter = kmsg.DeleteACLsRequestFilter
)

// A refusal is an error with a code, and with a text of its own.
type refusal struct {
	code *kerr.Error
	text string
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.code }

func refuse(code *kerr.Error, format string, args ...any) error {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

// An aclOperation is an operation of an ACL, and the one of a permission that has it.
type aclOperation struct {
	acl kmsg.ACLOperation
	own auth.Operation
}

// aclKinds are the kinds of resources with ACLs: all operations of each, and what ALL stands for.
var aclKinds = map[kmsg.ACLResourceType]struct {
	kind       auth.Kind
	all        auth.Operation
	operations []aclOperation
}{
	kmsg.ACLResourceTypeTopic: {auth.Topic, auth.Consume | auth.Publish | auth.Admin, []aclOperation{
		{kmsg.ACLOperationRead, auth.Consume},
		{kmsg.ACLOperationWrite, auth.Publish},
		{kmsg.ACLOperationDescribe, auth.Describe},
		{kmsg.ACLOperationCreate, auth.Admin},
		{kmsg.ACLOperationDelete, auth.Admin},
		{kmsg.ACLOperationAlter, auth.Admin},
		{kmsg.ACLOperationAlterConfigs, auth.Admin},
	}},
	kmsg.ACLResourceTypeGroup: {auth.Group, auth.Consume | auth.Admin, []aclOperation{
		{kmsg.ACLOperationRead, auth.Consume}, {kmsg.ACLOperationDescribe, auth.Describe}, {kmsg.ACLOperationDelete, auth.Admin},
	}},
}

const (
	userPrefix = "User:" // of a principal
	anyHost    = "*"
	anyName    = "*" // Kafka's wildcard resource
)

// permissionOf is the permission that an ACL stands for, or the error that says why a permission can't say it.
func permissionOf(a *acl) (user string, p auth.Permission, err error) {
	user, isUser := strings.CutPrefix(a.Principal, userPrefix)
	kind, known := aclKinds[a.ResourceType]
	switch {
	case !isUser || user == anyName:
		err = refuse(kerr.InvalidRequest, "principal %q: a permission is that of one user, User:NAME", a.Principal)
	case a.Host != anyHost:
		err = refuse(kerr.InvalidRequest, "host %q: a permission is for all hosts, *", a.Host)
	case a.PermissionType != kmsg.ACLPermissionTypeAllow:
		err = refuse(kerr.InvalidRequest, "%v: permissions only allow, and what none allows is denied", a.PermissionType)
	case !known:
		err = refuse(kerr.InvalidRequest, "%v: permissions are for topics and groups; `admin grant NAME admin '*'` is for the broker as a whole", a.ResourceType)
	}
	if err != nil {
		return "", p, err
	}
	p.Kind = kind.kind
	if p.Operations = kind.all; a.Operation != kmsg.ACLOperationAll {
		if p.Operations = ownOperation(kind.operations, a.Operation); p.Operations == 0 {
			return "", p, refuse(kerr.InvalidRequest, "%v on %v: permissions have READ, WRITE (of topics), DESCRIBE, DELETE (of groups) and ALL only", a.Operation, a.ResourceType)
		}
	}
	p.Pattern, err = ownPattern(a)
	return user, p, err
}

// ownOperation is what a permission has for an ACL's operation; 0 if that gives more.
func ownOperation(all []aclOperation, of kmsg.ACLOperation) (own auth.Operation) {
	for _, o := range all {
		if o.acl == of {
			own = o.own
		}
	}
	if len(sameOperation(all, own)) != 1 {
		return 0
	}
	return own
}

// sameOperation are the operations of ACLs that are one of a permission.
func sameOperation(all []aclOperation, own auth.Operation) (same []kmsg.ACLOperation) {
	for _, o := range all {
		if o.own == own {
			same = append(same, o.acl)
		}
	}
	return same
}

// ownPattern is the pattern of a permission.
func ownPattern(a *acl) (string, error) {
	isName := a.ResourceName != "" && !strings.Contains(a.ResourceName, "*")
	switch {
	case a.ResourcePatternType == kmsg.ACLResourcePatternTypeLiteral && (isName || a.ResourceName == anyName):
		return a.ResourceName, nil
	case a.ResourcePatternType == kmsg.ACLResourcePatternTypePrefixed && isName:
		return a.ResourceName + "*", nil
	}
	return "", refuse(kerr.InvalidRequest, "%v name %q: it takes the LITERAL name of a topic or a group, or *, or the PREFIXED beginning of names",
		a.ResourcePatternType, a.ResourceName)
}

// aclsOf are the ACLs that a user's permission stands for.
func aclsOf(user string, p auth.Permission) (all []acl) {
	a := kmsg.NewCreateACLsRequestCreation()
	a.Principal, a.Host, a.PermissionType = userPrefix+user, anyHost, kmsg.ACLPermissionTypeAllow
	a.ResourceType, a.ResourceName, a.ResourcePatternType = kmsg.ACLResourceTypeTopic, p.Pattern, kmsg.ACLResourcePatternTypeLiteral
	if p.Kind == auth.Group {
		a.ResourceType = kmsg.ACLResourceTypeGroup
	}
	if name, isPrefix := strings.CutSuffix(p.Pattern, "*"); isPrefix && name != "" {
		a.ResourceName, a.ResourcePatternType = name, kmsg.ACLResourcePatternTypePrefixed
	}
	kind := aclKinds[a.ResourceType]
	if p.Operations&kind.all == kind.all {
		a.Operation = kmsg.ACLOperationAll
		return []acl{a}
	}
	for _, o := range kind.operations {
		if p.Operations&o.own != 0 {
			a.Operation = o.acl
			all = append(all, a)
		}
	}
	return all
}

// revoked is what a permission loses when some of its ACLs are deleted.
func revoked(p auth.Permission, deleted []acl) (auth.Permission, error) {
	loses := auth.Permission{Kind: p.Kind, Pattern: p.Pattern}
	for _, a := range deleted {
		kind := aclKinds[a.ResourceType]
		if a.Operation == kmsg.ACLOperationAll {
			return p, nil
		}
		for _, o := range kind.operations {
			if o.acl != a.Operation {
				continue
			}
			for _, same := range sameOperation(kind.operations, o.own) {
				if !slices.ContainsFunc(deleted, func(d acl) bool { return d.Operation == same }) {
					return loses, refuse(kerr.InvalidRequest, "%s has %v together with %v: `admin revoke` takes the permission admin away",
						a.Principal, a.Operation, same)
				}
			}
			loses.Operations |= o.own
		}
	}
	return loses, nil
}

// checkFilter says why a filter can't be one.
func checkFilter(f *filter) error {
	if f.ResourceType < kmsg.ACLResourceTypeAny || f.ResourceType > kmsg.ACLResourceTypeUser ||
		f.ResourcePatternType < kmsg.ACLResourcePatternTypeAny || f.ResourcePatternType > kmsg.ACLResourcePatternTypePrefixed ||
		f.Operation < kmsg.ACLOperationAny || f.PermissionType < kmsg.ACLPermissionTypeAny || f.PermissionType > kmsg.ACLPermissionTypeAllow {
		return refuse(kerr.InvalidRequest, "a filter has a kind of resource, a kind of pattern, an operation and a kind of permission, or ANY")
	}
	return nil
}

// matches reports whether an ACL is one of those that a filter is for.
func matches(f *filter, a *acl) bool {
	return (f.ResourceType == kmsg.ACLResourceTypeAny || f.ResourceType == a.ResourceType) &&
		(f.Operation == kmsg.ACLOperationAny || f.Operation == a.Operation) &&
		(f.PermissionType == kmsg.ACLPermissionTypeAny || f.PermissionType == a.PermissionType) &&
		(f.Host == nil || *f.Host == a.Host) && (f.Principal == nil || *f.Principal == a.Principal) && matchesName(f, a)
}

func matchesName(f *filter, a *acl) bool {
	same := f.ResourceName == nil || *f.ResourceName == a.ResourceName
	literal := a.ResourcePatternType == kmsg.ACLResourcePatternTypeLiteral
	switch f.ResourcePatternType {
	case kmsg.ACLResourcePatternTypeAny:
		return same
	case kmsg.ACLResourcePatternTypeMatch: // those that are in force for a name
		return same || literal && a.ResourceName == anyName || !literal && strings.HasPrefix(*f.ResourceName, a.ResourceName)
	}
	return same && f.ResourcePatternType == a.ResourcePatternType
}

// matching are the ACLs of a user's permission that a filter is for.
func matching(f *filter, user string, p auth.Permission) []acl {
	return slices.DeleteFunc(aclsOf(user, p), func(a acl) bool { return !matches(f, &a) })
}
