package kafka_test

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/auth"
)

// errorCodes are all in a response, wherever they stand.
func errorCodes(v reflect.Value) (codes []int16) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			codes = errorCodes(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			codes = append(codes, errorCodes(v.Index(i))...)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name == "ErrorCode" {
				codes = append(codes, int16(v.Field(i).Int()))
			} else {
				codes = append(codes, errorCodes(v.Field(i))...)
			}
		}
	}
	return codes
}

// A guard is a request that asks for access: for each permission, which is all that its user needs together with the
// others, the code where that is lacking.
type guard struct {
	req   kmsg.Request
	needs []auth.Permission
	lacks []*kerr.Error
	then  *kerr.Error // with the permission; nil for none
}

// guarded are requests of each kind that asks for access, of versions in which topics have names.
func guarded() map[int16]guard {
	orders := "orders"
	of := func(o auth.Operation, kind auth.Kind, pattern string, code *kerr.Error, req kmsg.Request) guard {
		return guard{req: req, needs: []auth.Permission{{Operations: o, Kind: kind, Pattern: pattern}}, lacks: []*kerr.Error{code}}
	}
	onTopic := func(o auth.Operation, req kmsg.Request) guard {
		return of(o, auth.Topic, orders, kerr.TopicAuthorizationFailed, req)
	}
	onGroup := func(o auth.Operation, req kmsg.Request) guard {
		return of(o, auth.Group, "g", kerr.GroupAuthorizationFailed, req)
	}
	onCluster := func(o auth.Operation, req kmsg.Request) guard {
		return of(o, auth.Topic, "*", kerr.ClusterAuthorizationFailed, req)
	}
	and := func(g guard, o auth.Operation) guard {
		g.needs = append(g.needs, auth.Permission{Operations: o, Kind: auth.Topic, Pattern: orders})
		g.lacks = append(g.lacks, kerr.TopicAuthorizationFailed)
		return g
	}
	but := func(g guard, then *kerr.Error) guard { g.then = then; return g }
	return map[int16]guard{
		0:  onTopic(auth.Publish, produceRequest(write{orders, 0, messages(1)})),
		1:  onTopic(auth.Consume, fetchRequest(11, read{orders, 0, 0})),
		2:  onTopic(auth.Describe, &kmsg.ListOffsetsRequest{Version: 5, Topics: []kmsg.ListOffsetsRequestTopic{{Topic: orders, Partitions: []kmsg.ListOffsetsRequestTopicPartition{{CurrentLeaderEpoch: -1}}}}}),
		3:  onTopic(auth.Describe, &kmsg.MetadataRequest{Version: 9, Topics: []kmsg.MetadataRequestTopic{{Topic: &orders}}}),
		8:  and(onGroup(auth.Consume, &kmsg.OffsetCommitRequest{Version: 8, Group: "g", Generation: -1, Topics: []kmsg.OffsetCommitRequestTopic{{Topic: orders, Partitions: []kmsg.OffsetCommitRequestTopicPartition{{}}}}}), auth.Consume),
		9:  onGroup(auth.Describe, &kmsg.OffsetFetchRequest{Version: 8, Groups: []kmsg.OffsetFetchRequestGroup{{Group: "g"}}}),
		10: onGroup(auth.Describe, &kmsg.FindCoordinatorRequest{Version: 4, CoordinatorKeys: []string{"g"}}),
		11: but(onGroup(auth.Consume, &kmsg.JoinGroupRequest{Version: 5, Group: "g", SessionTimeoutMillis: 10_000, ProtocolType: "consumer", Protocols: []kmsg.JoinGroupRequestProtocol{{Name: "range"}}}), kerr.MemberIDRequired),
		12: but(onGroup(auth.Consume, &kmsg.HeartbeatRequest{Version: 3, Group: "g"}), kerr.UnknownMemberID),
		13: but(onGroup(auth.Consume, &kmsg.LeaveGroupRequest{Version: 3, Group: "g", Members: []kmsg.LeaveGroupRequestMember{{MemberID: "m"}}}), kerr.UnknownMemberID),
		14: but(onGroup(auth.Consume, &kmsg.SyncGroupRequest{Version: 3, Group: "g"}), kerr.UnknownMemberID),
		15: onGroup(auth.Describe, &kmsg.DescribeGroupsRequest{Version: 5, Groups: []string{"g"}}),
		19: of(auth.Admin, auth.Topic, "new", kerr.TopicAuthorizationFailed, &kmsg.CreateTopicsRequest{Version: 5, Topics: []kmsg.CreateTopicsRequestTopic{{Topic: "new", NumPartitions: 1, ReplicationFactor: 1}}}),
		20: onTopic(auth.Admin, &kmsg.DeleteTopicsRequest{Version: 5, TopicNames: []string{orders}}),
		21: onTopic(auth.Admin, &kmsg.DeleteRecordsRequest{Version: 2, Topics: []kmsg.DeleteRecordsRequestTopic{{Topic: orders, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: 0}}}}}),
		22: of(auth.Publish, auth.Topic, "any*", kerr.ClusterAuthorizationFailed, &kmsg.InitProducerIDRequest{Version: 3}),
		23: onTopic(auth.Describe, &kmsg.OffsetForLeaderEpochRequest{Version: 3, Topics: []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: orders, Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{{CurrentLeaderEpoch: -1}}}}}),
		29: onCluster(auth.Admin, &kmsg.DescribeACLsRequest{Version: 1, ResourceType: 1, ResourcePatternType: 1, Operation: 1, PermissionType: 1}),
		30: onCluster(auth.Admin, &kmsg.CreateACLsRequest{Version: 1, Creations: []kmsg.CreateACLsRequestCreation{saying("nobody", kmsg.ACLResourceTypeTopic, kmsg.ACLResourcePatternTypeLiteral, "own", reads)}}),
		31: onCluster(auth.Admin, &kmsg.DeleteACLsRequest{Version: 1, Filters: []kmsg.DeleteACLsRequestFilter{{ResourceType: 1, ResourceName: kmsg.StringPtr("own"), ResourcePatternType: 1, Operation: 1, PermissionType: 1}}}),
		32: onTopic(auth.Describe, &kmsg.DescribeConfigsRequest{Version: 3, Resources: []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: orders}}}),
		33: onTopic(auth.Admin, &kmsg.AlterConfigsRequest{Version: 2, Resources: []kmsg.AlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: orders}}}),
		35: onCluster(auth.Describe, &kmsg.DescribeLogDirsRequest{Version: 4}),
		37: onTopic(auth.Admin, &kmsg.CreatePartitionsRequest{Version: 2, Topics: []kmsg.CreatePartitionsRequestTopic{{Topic: orders, Count: 2}}}),
		42: but(onGroup(auth.Admin, &kmsg.DeleteGroupsRequest{Version: 2, Groups: []string{"g"}}), kerr.NonEmptyGroup),
		44: onTopic(auth.Admin, &kmsg.IncrementalAlterConfigsRequest{Version: 1, Resources: []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: orders}}}),
		47: but(and(onGroup(auth.Admin, &kmsg.OffsetDeleteRequest{Version: 0, Group: "g", Topics: []kmsg.OffsetDeleteRequestTopic{{Topic: orders, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{}}}}}), auth.Consume), kerr.GroupIDNotFound),
		50: onCluster(auth.Admin, &kmsg.DescribeUserSCRAMCredentialsRequest{}),
		51: onCluster(auth.Admin, &kmsg.AlterUserSCRAMCredentialsRequest{Upsertions: []kmsg.AlterUserSCRAMCredentialsRequestUpsertion{upsert("new", "secret", 1, auth.MinIterations)}}),
		75: onTopic(auth.Describe, &kmsg.DescribeTopicPartitionsRequest{Version: 0, Topics: []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: orders}}, ResponsePartitionLimit: 10}),
	}
}

// otherwise are requests for something that takes another permission than the one of the same key in guarded, as
// KAFKA.md calls them.
func otherwise() map[string]guard {
	made := "made"
	return map[string]guard{
		"metadata that creates a topic": {
			req:   &kmsg.MetadataRequest{Version: 9, Topics: []kmsg.MetadataRequestTopic{{Topic: &made}}, AllowAutoTopicCreation: true},
			needs: []auth.Permission{{Operations: auth.Publish, Kind: auth.Topic, Pattern: made}}, lacks: []*kerr.Error{kerr.TopicAuthorizationFailed},
		},
		"describeconfigs of the broker": {
			req:   &kmsg.DescribeConfigsRequest{Version: 3, Resources: []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeBroker}}},
			needs: []auth.Permission{{Operations: auth.Describe, Kind: auth.Topic, Pattern: "*"}}, lacks: []*kerr.Error{kerr.ClusterAuthorizationFailed},
		},
	}
}

// unguarded are the requests that take no permission, but a log-in unless it is one: the list of groups has those that
// may be described, DescribeCluster what Metadata has, and ConsumerGroupHeartbeat nothing.
var unguarded = map[int16]kmsg.Request{
	16: &kmsg.ListGroupsRequest{Version: 4}, 60: &kmsg.DescribeClusterRequest{Version: 1, EndpointType: 1},
	68: kmsg.NewPtrConsumerGroupHeartbeatRequest(),
	17: nil, 18: nil, 36: nil,
}

var authorizationCodes = []int16{
	kerr.TopicAuthorizationFailed.Code, kerr.GroupAuthorizationFailed.Code, kerr.ClusterAuthorizationFailed.Code,
	kerr.TransactionalIDAuthorizationFailed.Code,
}

// tooLittle is all but one of the operations, with what a permission is for, and all of them with other things.
func tooLittle(p auth.Permission) (less []auth.Permission) {
	less = []auth.Permission{{Operations: anything, Kind: auth.Topic, Pattern: "other*"}, {Operations: anything &^ auth.Publish, Kind: auth.Group, Pattern: "other*"}}
	if p.Kind == auth.Topic && p.Pattern == "any*" {
		less = nil
	}
	if rest := anything &^ p.Operations; p.Operations != auth.Describe {
		if p.Kind == auth.Group {
			rest &^= auth.Publish
		}
		less = append(less, auth.Permission{Operations: rest, Kind: p.Kind, Pattern: p.Pattern})
	}
	return less
}

// permits make users of a test, which have the same password.
type permits struct {
	*bus
	credentials []auth.Credential
	made        int
}

// with is a connection of a new user with these permissions.
func (p *permits) with(permissions ...auth.Permission) *client {
	p.t.Helper()
	p.made++
	name := fmt.Sprint("user-", p.made)
	p.change(name, func(u *auth.User) {
		u.SetCredentials(p.credentials...)
		u.Grant(permissions...)
	})
	c := p.dial()
	c.mustLogIn(mechanisms(name, "secret")[0])
	return c
}

func (b *bus) permits() *permits {
	b.t.Helper()
	credentials, err := auth.NewCredentials("secret")
	if err != nil {
		b.t.Fatal(err)
	}
	b.change("nobody", func(*auth.User) {})
	return &permits{bus: b, credentials: credentials}
}

func codesOf(c *client, req kmsg.Request) []int16 {
	c.t.Helper()
	c.send(req)
	return errorCodes(reflect.ValueOf(c.receive(req)))
}

// Each request of each key is refused without a log-in, and with less than the permissions that it takes, and is
// handled with these. A new key needs a row.
func TestEachRequestAsksForAccess(t *testing.T) {
	b := start(t, setup{})
	versions := ask[*kmsg.ApiVersionsResponse](b.dial(), kmsg.NewPtrApiVersionsRequest())
	users, requests := b.permits(), guarded()
	for _, k := range versions.ApiKeys {
		name := kmsg.NameForKey(k.ApiKey)
		g, known := requests[k.ApiKey]
		if req, free := unguarded[k.ApiKey]; known == free {
			t.Errorf("%s: which permission does it take?", name)
			continue
		} else if free {
			if req != nil {
				b.mustNotServe(b.dial(), req)
				if codes := codesOf(users.with(), req); slices.ContainsFunc(codes, isDenied) {
					t.Errorf("%s: codes %v", name, codes)
				}
			}
			continue
		}
		users.mustAskForAccess(name, g)
	}
	for name, g := range otherwise() {
		users.mustAskForAccess(name, g)
	}
}

// mustAskForAccess fails the test unless a request is handled with the permissions that it takes, and not with less.
func (p *permits) mustAskForAccess(name string, g guard) {
	p.t.Helper()
	if _, err := p.broker.Topic("orders"); err != nil {
		p.topic("orders", 1)
	}
	p.mustNotServe(p.dial(), g.req)
	for i, need := range g.needs {
		rest := append(slices.Delete(slices.Clone(g.needs), i, i+1), tooLittle(need)...)
		if codes := codesOf(p.with(rest...), g.req); !slices.Contains(codes, g.lacks[i].Code) {
			p.t.Errorf("%s without %v: codes %v, want %v", name, need, codes, g.lacks[i])
		}
		if _, err := p.broker.Topic("orders"); err != nil {
			p.t.Fatalf("%s without %v deletes the topic", name, need)
		}
	}
	if codes := codesOf(p.with(g.needs...), g.req); slices.ContainsFunc(codes, func(code int16) bool { return code != 0 && (g.then == nil || code != g.then.Code) }) {
		p.t.Errorf("%s with what it takes: codes %v", name, codes)
	}
}

// row is what KAFKA.md says of a request's permissions, and of the codes without them.
func (g guard) row() [2]string {
	var permissions, codes []string
	for i, p := range g.needs {
		on := fmt.Sprintf("on the %s", p.Kind)
		switch p.Pattern {
		case "*":
			on = "on topics `*`"
		case "any*":
			on = "on some topic"
		}
		permission := fmt.Sprintf("%v %s", p.Operations, on)
		if i > 0 && g.needs[i-1].Operations == p.Operations {
			permission = "and " + on
		}
		permissions, codes = append(permissions, permission), append(codes, g.lacks[i].Message)
	}
	return [2]string{strings.ReplaceAll(strings.Join(permissions, ", "), ", and", " and"), strings.Join(codes, ", ")}
}

// Each request has one row of KAFKA.md, with the permission that TestEachRequestAsksForAccess finds it to take.
func TestTheDocumentHasThePermissionOfEachRequest(t *testing.T) {
	want := make(map[string][2]string)
	for key, g := range guarded() {
		want[strings.ToLower(kmsg.NameForKey(key))] = g.row()
	}
	for name, g := range otherwise() {
		want[name] = g.row()
	}
	for key := range unguarded {
		want[strings.ToLower(kmsg.NameForKey(key))] = [2]string{"none", ""}
	}
	text, err := os.ReadFile("../../KAFKA.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "| request | permission | without it |\n|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(line, "|\n"), "|")
		if len(cells) != 3 {
			t.Fatalf("a row of KAFKA.md is %q", line)
		}
		permission, _, _ := strings.Cut(strings.TrimSpace(cells[1]), ", which")
		codes, _, _ := strings.Cut(strings.TrimSpace(cells[2]), ";")
		for name := range strings.FieldsFuncSeq(cells[0], func(r rune) bool { return r == ',' || r == ';' }) {
			name = strings.TrimSuffix(strings.ToLower(strings.TrimSpace(name)), " of a topic")
			if got := [2]string{permission, codes}; got != want[name] {
				t.Errorf("KAFKA.md has %q for %s, and it takes %q", got, name, want[name])
			}
			delete(want, name)
		}
	}
	for name := range want {
		t.Errorf("KAFKA.md does not say which permission %s takes", name)
	}
}

func isDenied(code int16) bool { return slices.Contains(authorizationCodes, code) }

// mustNotServe fails the test if a request of a client that has not logged in has a response.
func (b *bus) mustNotServe(c *client, req kmsg.Request) {
	b.t.Helper()
	c.send(req)
	if _, err := c.tryReceive(req); err == nil {
		b.t.Errorf("%s without a log-in has a response", kmsg.NameForKey(req.Key()))
	}
}

// What a user may not know of is in no list, and looks as if it were not there.
func TestWhatAUserMayNotKnowOfLooksAsIfItWereNotThere(t *testing.T) {
	b := start(t, setup{})
	secret := b.topic("secret", 1)
	b.topic("orders", 1)
	b.dial().publish("secret", 0, messages(1))
	commit := guarded()[8].req
	c := b.dial()
	c.send(commit)
	c.receive(commit)
	c = b.permits().with(auth.Permission{Operations: auth.Publish, Kind: auth.Topic, Pattern: "orders"})
	var names []string
	for _, t := range ask[*kmsg.MetadataResponse](c, &kmsg.MetadataRequest{Version: 12}).Topics {
		names = append(names, *t.Topic)
	}
	for _, t := range ask[*kmsg.DescribeTopicPartitionsResponse](c, &kmsg.DescribeTopicPartitionsRequest{ResponsePartitionLimit: 10}).Topics {
		names = append(names, *t.Topic)
	}
	for _, g := range ask[*kmsg.ListGroupsResponse](c, &kmsg.ListGroupsRequest{Version: 4}).Groups {
		names = append(names, g.Group)
	}
	if !slices.Equal(names, []string{"orders", "orders"}) {
		t.Errorf("lists have %q", names)
	}
	byID := func(id [16]byte) []int16 {
		fetch := &kmsg.FetchRequest{Version: 13, MaxBytes: 1, Topics: []kmsg.FetchRequestTopic{{TopicID: id, Partitions: []kmsg.FetchRequestTopicPartition{{}}}}}
		produce := produceRequest(write{"", 0, messages(1)})
		produce.Version, produce.Topics[0].TopicID = 13, id
		return slices.Concat(
			codesOf(c, &kmsg.MetadataRequest{Version: 12, Topics: []kmsg.MetadataRequestTopic{{TopicID: id}}}), codesOf(c, fetch), codesOf(c, produce),
			codesOf(c, &kmsg.DeleteTopicsRequest{Version: 6, Topics: []kmsg.DeleteTopicsRequestTopic{{TopicID: id}}}))
	}
	if got, want := byID(secret.ID), byID([16]byte{1}); !slices.Equal(got, want) || !slices.Contains(got, kerr.UnknownTopicID.Code) {
		t.Errorf("by its id: codes %v, and of an id that is none %v", got, want)
	}
	for _, name := range []string{"secret", "none"} {
		topic := &kmsg.MetadataRequest{Version: 9, Topics: []kmsg.MetadataRequestTopic{{Topic: &name}}, AllowAutoTopicCreation: true}
		if codes := codesOf(c, topic); !slices.Equal(codes, []int16{kerr.TopicAuthorizationFailed.Code, 0}) { // of the topic, and of the response
			t.Errorf("topic %q: codes %v", name, codes)
		}
	}
}

// Refused requests are in the audit trail, and what is filtered out of a list is not.
func TestRefusalsAreAudited(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	c := b.permits().with()
	ask[*kmsg.MetadataResponse](c, kmsg.NewPtrMetadataRequest())
	ask[*kmsg.ListGroupsResponse](c, kmsg.NewPtrListGroupsRequest())
	if lines := b.book.Lines("msg=audit", "outcome=refused"); len(lines) > 0 {
		t.Errorf("lists are refusals: %q", lines)
	}
	for _, key := range []int16{0, 1, 11, 20, 51} {
		codesOf(c, guarded()[key].req)
	}
	for _, want := range []string{
		"action=write kind=topic name=orders", "action=read kind=topic name=orders", "action=read kind=group name=g",
		"action=delete kind=topic name=orders", `action=alter kind=cluster name=""`,
	} {
		if lines := b.book.Lines("msg=audit", "user=user-1", "by=PLAIN", want, "outcome=refused"); len(lines) != 1 {
			t.Errorf("%s: %q", want, lines)
		}
	}
}

// What is refused for each of its parts changes nothing, and is not in the audit trail as a change.
func TestADeletionOfNoPositionIsNoChange(t *testing.T) {
	b := start(t, setup{})
	b.topic("orders", 1)
	commit := guarded()[8].req
	c := b.dial()
	c.send(commit)
	c.receive(commit)
	c = b.permits().with(auth.Permission{Operations: auth.Admin, Kind: auth.Group, Pattern: "g"})
	if codes := codesOf(c, guarded()[47].req); !slices.Equal(codes, []int16{0, kerr.TopicAuthorizationFailed.Code}) {
		t.Errorf("codes %v", codes)
	}
	if lines := b.book.Lines("msg=audit", "kind=group", "outcome=done"); len(lines) > 0 {
		t.Errorf("the audit trail has %q", lines)
	}
}
