package kafka_test

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"mbus/internal/auth"
)

// administrator is a connection of a user who may do anything.
func (b *bus) administrator() *client {
	b.t.Helper()
	b.user("root", "secret", anything, "*")
	c := b.dial()
	c.mustLogIn(mechanisms("root", "secret")[0])
	return c
}

// saying is an ACL in short: ALLOW, from all hosts.
func saying(user string, kind kmsg.ACLResourceType, pattern kmsg.ACLResourcePatternType, name string, o kmsg.ACLOperation) kmsg.CreateACLsRequestCreation {
	return kmsg.CreateACLsRequestCreation{
		ResourceType: kind, ResourceName: name, ResourcePatternType: pattern, Principal: "User:" + user, Host: "*",
		Operation: o, PermissionType: kmsg.ACLPermissionTypeAllow,
	}
}

const (
	onTopic, onGroup  = kmsg.ACLResourceTypeTopic, kmsg.ACLResourceTypeGroup
	literal, prefixed = kmsg.ACLResourcePatternTypeLiteral, kmsg.ACLResourcePatternTypePrefixed
	reads, all        = kmsg.ACLOperationRead, kmsg.ACLOperationAll
	writes            = kmsg.ACLOperationWrite
)

func (c *client) createACLs(acls ...kmsg.CreateACLsRequestCreation) (codes []int16) {
	c.t.Helper()
	resp := ask[*kmsg.CreateACLsResponse](c, &kmsg.CreateACLsRequest{Version: 3, Creations: acls})
	for _, r := range resp.Results {
		if r.ErrorCode != 0 && (r.ErrorMessage == nil || *r.ErrorMessage == "") {
			c.t.Errorf("code %d has no text", r.ErrorCode)
		}
		codes = append(codes, r.ErrorCode)
	}
	return codes
}

// acls are those that a filter is for, as text.
func (c *client) acls(change func(*kmsg.DescribeACLsRequest)) (all []string) {
	c.t.Helper()
	req := &kmsg.DescribeACLsRequest{Version: 3, ResourceType: 1, ResourcePatternType: 1, Operation: 1, PermissionType: 1}
	if change != nil {
		change(req)
	}
	resp := ask[*kmsg.DescribeACLsResponse](c, req)
	if resp.ErrorCode != 0 {
		return []string{*resp.ErrorMessage}
	}
	for _, r := range resp.Resources {
		for _, a := range r.ACLs {
			if a.Host != "*" || a.PermissionType != kmsg.ACLPermissionTypeAllow {
				c.t.Errorf("%+v", a)
			}
			all = append(all, fmt.Sprintf("%s %v %v %v %s", a.Principal, a.Operation, r.ResourceType, r.ResourcePatternType, r.ResourceName))
		}
	}
	slices.Sort(all)
	return all
}

func (c *client) mustHaveACLs(what string, got []string, want ...string) {
	c.t.Helper()
	if !slices.Equal(got, want) {
		c.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func named(principal string) func(*kmsg.DescribeACLsRequest) {
	return func(req *kmsg.DescribeACLsRequest) { req.Principal = &principal }
}

func TestACLsArePermissions(t *testing.T) {
	b := start(t, setup{})
	c := b.administrator()
	b.user("alice", "secret", 0, "")
	b.user("bob", "secret", 0, "")
	ok := make([]int16, 7)
	if codes := c.createACLs(
		saying("alice", onTopic, prefixed, "orders", writes), saying("alice", onTopic, literal, "bills", reads),
		saying("alice", onTopic, literal, "bills", kmsg.ACLOperationDescribe), saying("alice", onGroup, literal, "*", reads),
		saying("bob", onTopic, literal, "*", all), saying("bob", onGroup, prefixed, "g", all),
		saying("alice", onGroup, literal, "g", kmsg.ACLOperationDelete)); !slices.Equal(codes, ok) {
		t.Fatalf("codes %v", codes)
	}
	alice, err := b.users().Find("alice")
	if err != nil {
		t.Fatal(err)
	}
	want := []auth.Permission{
		{Operations: auth.Consume | auth.Describe, Kind: auth.Topic, Pattern: "bills"},
		{Operations: auth.Publish, Kind: auth.Topic, Pattern: "orders*"},
		{Operations: auth.Consume, Kind: auth.Group, Pattern: "*"},
		{Operations: auth.Admin, Kind: auth.Group, Pattern: "g"},
	}
	if !slices.Equal(alice.Permissions, want) {
		t.Errorf("alice has %+v", alice.Permissions)
	}
	c.mustHaveACLs("alice", c.acls(named("User:alice")), "User:alice DELETE GROUP LITERAL g", "User:alice DESCRIBE TOPIC LITERAL bills",
		"User:alice READ GROUP LITERAL *", "User:alice READ TOPIC LITERAL bills", "User:alice WRITE TOPIC PREFIXED orders")
	c.mustHaveACLs("bob", c.acls(named("User:bob")), "User:bob ALL GROUP PREFIXED g", "User:bob ALL TOPIC LITERAL *")
	c.mustHaveACLs("in force for a name", c.acls(func(req *kmsg.DescribeACLsRequest) {
		req.ResourceType, req.ResourceName, req.ResourcePatternType = onTopic, kmsg.StringPtr("orders.eu"), kmsg.ACLResourcePatternTypeMatch
	}), "User:alice WRITE TOPIC PREFIXED orders", "User:bob ALL TOPIC LITERAL *", "User:root ALL TOPIC LITERAL *")
	c.mustHaveACLs("of a pattern", c.acls(func(req *kmsg.DescribeACLsRequest) {
		req.ResourceName, req.ResourcePatternType, req.Operation = kmsg.StringPtr("*"), literal, reads
	}), "User:alice READ GROUP LITERAL *")
	c.mustHaveACLs("DENY", c.acls(func(req *kmsg.DescribeACLsRequest) { req.PermissionType = kmsg.ACLPermissionTypeDeny }))
	c.mustHaveACLs("a host", c.acls(func(req *kmsg.DescribeACLsRequest) { req.Host = kmsg.StringPtr("10.0.0.1") }))
	if got := c.acls(func(req *kmsg.DescribeACLsRequest) { req.ResourceType = 0 }); len(got) != 1 {
		t.Errorf("a filter that is none: %q", got)
	}
	if n := len(b.book.Lines("msg=audit", "user=root", "action=change", "granted=", "outcome=done")); n != 2 {
		t.Errorf("%d lines of the audit trail", n)
	}
}

func TestWhatPermissionsCannotSayIsRefused(t *testing.T) {
	b := start(t, setup{})
	c := b.administrator()
	b.user("alice", "secret", 0, "")
	for what, change := range map[string]func(*kmsg.CreateACLsRequestCreation){
		"DENY":                 func(a *kmsg.CreateACLsRequestCreation) { a.PermissionType = kmsg.ACLPermissionTypeDeny },
		"a host":               func(a *kmsg.CreateACLsRequestCreation) { a.Host = "10.0.0.1" },
		"all users":            func(a *kmsg.CreateACLsRequestCreation) { a.Principal = "User:*" },
		"a principal of TLS":   func(a *kmsg.CreateACLsRequestCreation) { a.Principal = "Group:admins" },
		"the cluster":          func(a *kmsg.CreateACLsRequestCreation) { a.ResourceType = kmsg.ACLResourceTypeCluster },
		"a transactional id":   func(a *kmsg.CreateACLsRequestCreation) { a.ResourceType = kmsg.ACLResourceTypeTransactionalId },
		"CREATE":               func(a *kmsg.CreateACLsRequestCreation) { a.Operation = kmsg.ACLOperationCreate },
		"ALTER_CONFIGS":        func(a *kmsg.CreateACLsRequestCreation) { a.Operation = kmsg.ACLOperationAlterConfigs },
		"ANY":                  func(a *kmsg.CreateACLsRequestCreation) { a.Operation = kmsg.ACLOperationAny },
		"WRITE of a group":     func(a *kmsg.CreateACLsRequestCreation) { a.ResourceType, a.Operation = onGroup, writes },
		"MATCH":                func(a *kmsg.CreateACLsRequestCreation) { a.ResourcePatternType = kmsg.ACLResourcePatternTypeMatch },
		"no name":              func(a *kmsg.CreateACLsRequestCreation) { a.ResourceName = "" },
		"a prefix in a name":   func(a *kmsg.CreateACLsRequestCreation) { a.ResourceName = "orders*" },
		"a prefix of a prefix": func(a *kmsg.CreateACLsRequestCreation) { a.ResourceName, a.ResourcePatternType = "*", prefixed },
	} {
		a := saying("alice", onTopic, literal, "orders", reads)
		change(&a)
		if codes := c.createACLs(a); !slices.Equal(codes, []int16{kerr.InvalidRequest.Code}) {
			t.Errorf("%s: codes %v", what, codes)
		}
	}
	if codes := c.createACLs(saying("mallory", onTopic, literal, "orders", reads)); !slices.Equal(codes, []int16{kerr.ResourceNotFound.Code}) {
		t.Errorf("an unknown user: codes %v", codes)
	}
	c.mustHaveACLs("alice", c.acls(named("User:alice")))
}

// deleteACLs returns the ACLs that were deleted, and the code of the filter.
func (c *client) deleteACLs(change func(*kmsg.DeleteACLsRequestFilter)) (deleted []string, code int16) {
	c.t.Helper()
	f := kmsg.DeleteACLsRequestFilter{ResourceType: 1, ResourcePatternType: 1, Operation: 1, PermissionType: 1}
	change(&f)
	resp := ask[*kmsg.DeleteACLsResponse](c, &kmsg.DeleteACLsRequest{Version: 3, Filters: []kmsg.DeleteACLsRequestFilter{f}})
	for _, a := range resp.Results[0].MatchingACLs {
		deleted = append(deleted, fmt.Sprintf("%s %v %v %v %s", a.Principal, a.Operation, a.ResourceType, a.ResourcePatternType, a.ResourceName))
	}
	slices.Sort(deleted)
	return deleted, resp.Results[0].ErrorCode
}

func TestACLsAreDeletedWithTheirPermissions(t *testing.T) {
	b := start(t, setup{})
	c := b.administrator()
	b.change("alice", func(u *auth.User) {
		u.Grant(auth.Permission{Operations: auth.Publish | auth.Admin, Kind: auth.Topic, Pattern: "orders*"}, auth.Permission{Operations: auth.Consume, Kind: auth.Group, Pattern: "g"})
	})
	b.change("bob", func(u *auth.User) {
		u.Grant(auth.Permission{Operations: anything, Kind: auth.Topic, Pattern: "orders*"})
	})
	of := func(user string, o kmsg.ACLOperation) func(*kmsg.DeleteACLsRequestFilter) {
		return func(f *kmsg.DeleteACLsRequestFilter) { f.Principal, f.Operation = kmsg.StringPtr("User:"+user), o }
	}
	if deleted, code := c.deleteACLs(of("alice", kmsg.ACLOperationCreate)); len(deleted) > 0 || code != kerr.InvalidRequest.Code {
		t.Errorf("a part of admin: %q, code %d", deleted, code)
	}
	if deleted, code := c.deleteACLs(of("bob", reads)); len(deleted) > 0 || code != 0 {
		t.Errorf("READ, of ALL: %q, code %d", deleted, code)
	}
	deleted, _ := c.deleteACLs(of("alice", writes))
	c.mustHaveACLs("WRITE", deleted, "User:alice WRITE TOPIC PREFIXED orders")
	deleted, _ = c.deleteACLs(of("bob", all))
	c.mustHaveACLs("ALL", deleted, "User:bob ALL TOPIC PREFIXED orders")
	c.mustHaveACLs("bob", c.acls(named("User:bob")))
	deleted, _ = c.deleteACLs(of("alice", kmsg.ACLOperationAny))
	c.mustHaveACLs("the rest", deleted, "User:alice ALTER TOPIC PREFIXED orders", "User:alice ALTER_CONFIGS TOPIC PREFIXED orders",
		"User:alice CREATE TOPIC PREFIXED orders", "User:alice DELETE TOPIC PREFIXED orders", "User:alice READ GROUP LITERAL g")
	if alice, err := b.users().Find("alice"); err != nil || len(alice.Permissions) > 0 {
		t.Errorf("alice has %+v, %v", alice.Permissions, err)
	}
	if n := len(b.book.Lines("msg=audit", "user=root", "action=change", "revoked=", "outcome=done")); n != 3 {
		t.Errorf("%d lines of the audit trail", n)
	}
}

// A filter that is refused for one user takes nothing from another.
func TestAFilterForAPartOfAdminDeletesNothing(t *testing.T) {
	b := start(t, setup{})
	c := b.administrator()
	b.change("alice", func(u *auth.User) {
		u.Grant(auth.Permission{Operations: auth.Admin, Kind: auth.Group, Pattern: "g"})
	})
	b.change("bob", func(u *auth.User) {
		u.Grant(auth.Permission{Operations: auth.Admin, Kind: auth.Topic, Pattern: "orders"})
	})
	deletions := func(f *kmsg.DeleteACLsRequestFilter) { f.Operation = kmsg.ACLOperationDelete }
	if deleted, code := c.deleteACLs(deletions); len(deleted) > 0 || code != kerr.InvalidRequest.Code {
		t.Errorf("%q, code %d", deleted, code)
	}
	c.mustHaveACLs("alice", c.acls(named("User:alice")), "User:alice DELETE GROUP LITERAL g")
	if lines := b.book.Lines("msg=audit", "user=root", "action=change"); len(lines) > 0 {
		t.Errorf("the audit trail has %q", lines)
	}
}

// upsert is a credential as a client sends it.
func upsert(name, password string, mechanism int8, iterations int) kmsg.AlterUserSCRAMCredentialsRequestUpsertion {
	salt := []byte("salt of 16 bytes")
	salted, _ := pbkdf2.Key(sha256.New, password, salt, iterations, 32)
	if mechanism == 2 {
		salted, _ = pbkdf2.Key(sha512.New, password, salt, iterations, 64)
	}
	return kmsg.AlterUserSCRAMCredentialsRequestUpsertion{Name: name, Mechanism: mechanism, Iterations: int32(iterations), Salt: salt, SaltedPassword: salted}
}

func (c *client) alterScram(req kmsg.AlterUserSCRAMCredentialsRequest) (codes []int16) {
	c.t.Helper()
	for _, r := range ask[*kmsg.AlterUserSCRAMCredentialsResponse](c, &req).Results {
		if r.ErrorCode != 0 && (r.ErrorMessage == nil || *r.ErrorMessage == "") {
			c.t.Errorf("code %d has no text", r.ErrorCode)
		}
		codes = append(codes, r.ErrorCode)
	}
	return codes
}

func TestCredentialsOfKafkaClients(t *testing.T) {
	b := start(t, setup{})
	c := b.administrator()
	type upserts = []kmsg.AlterUserSCRAMCredentialsRequestUpsertion
	type deletions = []kmsg.AlterUserSCRAMCredentialsRequestDeletion
	short := upsert("alice", "secret", 1, auth.MinIterations)
	short.SaltedPassword = short.SaltedPassword[:1]
	for what, test := range map[string]struct {
		req  kmsg.AlterUserSCRAMCredentialsRequest
		want *kerr.Error
	}{
		"few iterations":      {kmsg.AlterUserSCRAMCredentialsRequest{Upsertions: upserts{upsert("alice", "secret", 1, 4096)}}, kerr.UnacceptableCredential},
		"many iterations":     {kmsg.AlterUserSCRAMCredentialsRequest{Upsertions: upserts{{Name: "alice", Mechanism: 1, Iterations: 1 << 30, Salt: short.Salt, SaltedPassword: make([]byte, 32)}}}, kerr.UnacceptableCredential},
		"a short password":    {kmsg.AlterUserSCRAMCredentialsRequest{Upsertions: upserts{short}}, kerr.UnacceptableCredential},
		"a name that is none": {kmsg.AlterUserSCRAMCredentialsRequest{Upsertions: upserts{upsert("", "secret", 1, auth.MinIterations)}}, kerr.UnacceptableCredential},
		"the operator":        {kmsg.AlterUserSCRAMCredentialsRequest{Upsertions: upserts{upsert(auth.OperatorName, "secret", 1, auth.MinIterations)}}, kerr.UnacceptableCredential},
		"a mechanism":         {kmsg.AlterUserSCRAMCredentialsRequest{Upsertions: upserts{upsert("alice", "secret", 3, auth.MinIterations)}}, kerr.UnsupportedSaslMechanism},
		"twice":               {kmsg.AlterUserSCRAMCredentialsRequest{Upsertions: upserts{upsert("alice", "a", 1, auth.MinIterations), upsert("alice", "b", 1, auth.MinIterations)}}, kerr.DuplicateResource},
		"an unknown user":     {kmsg.AlterUserSCRAMCredentialsRequest{Deletions: deletions{{Name: "alice", Mechanism: 1}}}, kerr.ResourceNotFound},
	} {
		if codes := c.alterScram(test.req); !slices.Equal(codes, []int16{test.want.Code}) {
			t.Errorf("%s: codes %v, want %v", what, codes, test.want)
		}
	}
	if _, err := b.users().Find("alice"); err == nil {
		t.Error("there is a user that was refused")
	}
	if codes := c.alterScram(kmsg.AlterUserSCRAMCredentialsRequest{Upsertions: upserts{
		upsert("alice", "secret", 1, auth.MinIterations), upsert("alice", "secret", 2, auth.MinIterations+1), upsert("bob", "secret", 2, auth.MinIterations),
	}}); !slices.Equal(codes, []int16{0, 0}) {
		t.Fatalf("codes %v", codes)
	}
	for _, m := range mechanisms("alice", "secret") {
		b.dial().mustLogIn(m)
	}
	b.dial().mustLogIn(scram.Auth{User: "bob", Pass: "secret"}.AsSha512Mechanism())
	describe := func(names ...string) (all []string) {
		req := kmsg.NewPtrDescribeUserSCRAMCredentialsRequest()
		for _, name := range names {
			req.Users = append(req.Users, kmsg.DescribeUserSCRAMCredentialsRequestUser{Name: name})
		}
		for _, r := range ask[*kmsg.DescribeUserSCRAMCredentialsResponse](c, req).Results {
			text := fmt.Sprintf("%s %d", r.User, r.ErrorCode)
			for _, info := range r.CredentialInfos {
				text += fmt.Sprintf(" %d:%d", info.Mechanism, info.Iterations)
			}
			all = append(all, text)
		}
		return all
	}
	c.mustHaveACLs("all users", describe(), "alice 0 1:16384 2:16385", "bob 0 2:16384", "root 0 1:16384 2:16384")
	c.mustHaveACLs("some users", describe("bob", "mallory", "root", "root"), "bob 0 2:16384", "mallory 91", "root 92")
	if codes := c.alterScram(kmsg.AlterUserSCRAMCredentialsRequest{Deletions: deletions{{Name: "alice", Mechanism: 1}, {Name: "bob", Mechanism: 2}}}); !slices.Equal(codes, []int16{0, 0}) {
		t.Fatalf("codes %v", codes)
	}
	c.mustHaveACLs("what is left", describe(), "alice 0 2:16385", "root 0 1:16384 2:16384")
	if err := b.dial().logIn(mechanisms("alice", "secret")[0]); err == nil {
		t.Error("a password without its credential is right")
	}
	if n := len(b.book.Lines("msg=audit", "user=root", "kind=user", "name=alice", "outcome=done")); n != 2 {
		t.Errorf("%d lines of the audit trail", n)
	}
}
