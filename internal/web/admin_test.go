package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"mbus/internal/store"
	"mbus/internal/store/storefault"
)

// get decodes the JSON answer to a request that succeeds.
func get[T any](r *rig, method, path, body string) (v T) {
	r.Helper()
	status, answer, h := r.do(method, path, body, "Content-Type", typeJSON)
	if status/100 != 2 || h.Get("Content-Type") != typeJSON {
		r.Fatalf("%s %s: status %d, type %q: %s", method, path, status, h.Get("Content-Type"), answer)
	}
	if err := json.Unmarshal([]byte(answer), &v); err != nil {
		r.Fatalf("%s %s: %v: %s", method, path, err, answer)
	}
	return v
}

// refused sends a request that must be answered with a problem of the code.
func (r *rig) refused(status int, code, method, path, body string, words ...string) {
	r.Helper()
	got, answer, h := r.do(method, path, body, "Content-Type", typeJSON)
	var p problem
	if err := json.Unmarshal([]byte(answer), &p); err != nil || h.Get("Content-Type") != "application/problem+json" {
		r.Errorf("%s %s: status %d, no problem document: %q", method, path, got, answer)
		return
	}
	if got != status || p.Status != status || p.Code != code {
		r.Errorf("%s %s: status %d, code %s, not %d and %s: %s", method, path, got, p.Code, status, code, answer)
	}
	for _, w := range words {
		if !strings.Contains(p.Detail, w) {
			r.Errorf("%s %s: the detail lacks %q: %q", method, path, w, p.Detail)
		}
	}
}

func TestTopicsAreMadeChangedAndDeleted(t *testing.T) {
	r := newRig(t, Options{})
	const want = `{"topic":"orders","partitions":2,"config":{"retention.ms":"1000"}}`
	if got := r.must(200, "POST", "/topics", want, "Content-Type", typeJSON); got != `{"executed":false,"topic":"orders","partitions":2,"config":{"retention.ms":"1000"}}`+"\n" {
		t.Errorf("a preview: %s", got)
	}
	r.refused(404, "GONE", "GET", "/topics/orders", "", `"orders"`)
	status, answer, h := r.do("POST", "/topics?execute", want, "Content-Type", typeJSON)
	if status != 201 || h.Get("Location") != "/topics/orders" || !strings.Contains(answer, `"executed":true`) {
		t.Fatalf("status %d, location %q: %s", status, h.Get("Location"), answer)
	}
	r.refused(409, "EXISTS", "POST", "/topics?execute", want, `"orders"`)
	r.refused(409, "EXISTS", "POST", "/topics", want, `"orders"`)
	d := get[topicDetails](r, "GET", "/topics/orders", "")
	if d.Topic != "orders" || d.Partitions != 2 || len(d.Logs) != 2 || d.Config["retention.ms"] != "1000" || d.Internal || d.Messages != 0 {
		t.Errorf("the topic is %+v", d)
	}

	const change = `{"partitions":3,"config":{"retention.ms":null,"retention.bytes":"5000"}}`
	if c := get[topicChange](r, "PATCH", "/topics/orders", change); c.Executed || c.Partitions != 3 || len(c.Config) != 1 || c.Config["retention.bytes"] != "5000" {
		t.Errorf("a preview of a change: %+v", c)
	}
	if again := get[topicDetails](r, "GET", "/topics/orders", ""); again.Partitions != 2 || again.Config["retention.ms"] != "1000" {
		t.Errorf("the preview has changed the topic: %+v", again)
	}
	if c := get[topicChange](r, "PATCH", "/topics/orders?execute&id="+d.ID, change); !c.Executed {
		t.Errorf("a change: %+v", c)
	}
	r.restart()
	if again := get[topicDetails](r, "GET", "/topics/orders", ""); again.Partitions != 3 || len(again.Config) != 1 || again.Config["retention.bytes"] != "5000" || again.ID != d.ID {
		t.Errorf("after the change: %+v", again)
	}

	if c := get[topicDeletion](r, "DELETE", "/topics/orders", ""); c.Executed || c.Topic != "orders" || c.ID != d.ID {
		t.Errorf("a preview of a deletion: %+v", c)
	}
	get[topicDetails](r, "GET", "/topics/orders", "")
	if c := get[topicDeletion](r, "DELETE", "/topics/orders?execute=true&id="+d.ID, ""); !c.Executed {
		t.Errorf("a deletion: %+v", c)
	}
	r.refused(404, "GONE", "DELETE", "/topics/orders?execute", "", `"orders"`)
	get[topicChange](r, "POST", "/topics?execute", want)
	r.refused(404, "GONE", "DELETE", "/topics/orders?execute&id="+d.ID, "", d.ID)
	r.refused(404, "GONE", "PATCH", "/topics/orders?execute&id="+d.ID, change, d.ID)
	get[topicDetails](r, "GET", "/topics/orders", "")
}

func TestChangesThatMakeNoSenseAreRefused(t *testing.T) {
	r := newRig(t, Options{})
	get[topicChange](r, "POST", "/topics?execute", `{"topic":"orders","partitions":2}`)
	for _, c := range []struct {
		status                   int
		code, method, path, body string
	}{
		{400, "BADREQUEST", "POST", "/topics", `{"topic":"a/b"}`},
		{400, "BADREQUEST", "POST", "/topics", `{"topic":""}`},
		{400, "BADREQUEST", "POST", "/topics", `{}`},
		{400, "BADREQUEST", "POST", "/topics", ``},
		{400, "BADREQUEST", "POST", "/topics", `[]`},
		{400, "BADREQUEST", "POST", "/topics", `{"topic":"a"}{"topic":"b"}`},
		{400, "BADREQUEST", "POST", "/topics", `{"topic":"a","size":1}`},
		{413, "TOOLARGE", "POST", "/topics", `{"topic":"a","partitions":-1}`},
		{413, "TOOLARGE", "POST", "/topics", `{"topic":"a","partitions":100000}`},
		{400, "BADREQUEST", "POST", "/topics", `{"topic":"a","partitions":1e99}`},
		{400, "BADREQUEST", "POST", "/topics", `{"topic":"a","config":{"retention.ms":"soon"}}`},
		{400, "BADREQUEST", "POST", "/topics", `{"topic":"a","config":{"no.such":"1"}}`},
		{400, "BADREQUEST", "POST", "/topics", strings.Repeat("[", 60_000)},
		{413, "TOOLARGE", "POST", "/topics", `{"topic":"` + strings.Repeat("a", 70_000) + `"}`},
		{400, "BADREQUEST", "POST", "/topics?execute=perhaps", `{"topic":"a"}`},
		{400, "BADREQUEST", "POST", "/topics?execute&execute", `{"topic":"a"}`},
		{400, "BADREQUEST", "POST", "/topics?exec", `{"topic":"a"}`},
		{400, "BADREQUEST", "POST", "/topics?execute", `{"topic":"__consumer_offsets"}`},
		{400, "BADREQUEST", "PATCH", "/topics/orders", `{}`},
		{400, "BADREQUEST", "PATCH", "/topics/orders", `{"partitions":1}`},
		{400, "BADREQUEST", "PATCH", "/topics/orders?execute", `{"partitions":3,"config":{"no.such":"1"}}`},
		{400, "BADREQUEST", "PATCH", "/topics/orders?execute", `{"partitions":1,"config":{"retention.ms":"1"}}`},
		{400, "BADREQUEST", "PATCH", "/topics/orders?id=x", `{"partitions":3}`},
		{404, "GONE", "PATCH", "/topics/none?execute", `{"partitions":3}`},
		{404, "GONE", "DELETE", "/topics/none?execute", ``},
		{400, "BADREQUEST", "DELETE", "/topics/..%2Fx?execute", ``},
		{400, "BADREQUEST", "GET", "/topics?limit=0", ``},
		{400, "BADREQUEST", "GET", "/topics?limit=1001", ``},
		{400, "BADREQUEST", "GET", "/groups?limit=x", ``},
		{400, "BADREQUEST", "GET", "/groups?topic=a/b", ``},
		{404, "GONE", "GET", "/groups/none", ``},
		{404, "GONE", "DELETE", "/groups/none", ``},
		{404, "GONE", "DELETE", "/groups/none?execute", ``},
		{400, "BADREQUEST", "POST", "/groups/g/reset", ``},
		{400, "BADREQUEST", "POST", "/groups/g/reset?topic=orders", ``},
		{400, "BADREQUEST", "POST", "/groups/g/reset?topic=orders&to=", ``},
		{400, "BADREQUEST", "POST", "/groups/g/reset?topic=orders&to=stored", ``},
		{400, "BADREQUEST", "POST", "/groups/g/reset?topic=orders&to=7:1&execute", ``},
		{404, "GONE", "POST", "/groups/g/reset?topic=none&to=0&execute", ``},
		{400, "BADREQUEST", "POST", "/topics/orders/redrive", ``},
		{400, "BADREQUEST", "POST", "/topics/orders/discard?execute", ``},
		{404, "GONE", "POST", "/topics/orders.dlq/redrive", ``},
		{404, "NOTFOUND", "GET", "/topics/orders/partitions/2/messages/0", ``},
		{404, "NOTFOUND", "GET", "/topics/orders/partitions/0/messages/0", ``},
		{400, "BADREQUEST", "GET", "/topics/orders/partitions/-1/messages/0", ``},
		{400, "BADREQUEST", "GET", "/topics/orders/partitions/0/messages/9223372036854775808", ``},
		{400, "BADREQUEST", "GET", "/topics/orders/partitions/0/messages/+1", ``},
		{400, "BADREQUEST", "GET", "/topics/orders/offsets", ``},
		{400, "BADREQUEST", "GET", "/topics/orders/offsets?time=soon", ``},
		{405, "BADREQUEST", "PUT", "/groups/g", ``},
	} {
		r.refused(c.status, c.code, c.method, c.path, c.body)
	}
	r.must(http.StatusUnsupportedMediaType, "POST", "/topics?execute", "topic=a", "Content-Type", "application/x-www-form-urlencoded")
	if d := get[topicDetails](r, "GET", "/topics/orders", ""); d.Partitions != 2 || len(d.Config) != 0 {
		t.Errorf("something was changed: %+v", d)
	}
}

func TestListsComeInParts(t *testing.T) {
	r := newRig(t, Options{})
	for i := range 5 {
		r.publish(fmt.Sprintf("t%d", i), "m")
		get[groupReset](r, "POST", fmt.Sprintf("/groups/g%d/reset?topic=t%d&to=0&execute", i, i), "")
	}
	var topics, groups []string
	for after, more := "", true; more; {
		part := get[topicList](r, "GET", "/topics?limit=2&after="+after, "")
		for _, topic := range part.Topics {
			topics = append(topics, topic.Topic)
		}
		after, more = part.Next, part.Next != ""
	}
	for after, more := "", true; more; {
		part := get[groupList](r, "GET", "/groups?limit=2&after="+after, "")
		for _, g := range part.Groups {
			groups = append(groups, g.Group)
		}
		after, more = part.Next, part.Next != ""
	}
	if got := strings.Join(topics, " "); got != "__consumer_offsets t0 t1 t2 t3 t4" {
		t.Errorf("topics %s", got)
	}
	if got := strings.Join(groups, " "); got != "g0 g1 g2 g3 g4" {
		t.Errorf("groups %s", got)
	}
	if of := get[groupList](r, "GET", "/groups?topic=t3", ""); len(of.Groups) != 1 || of.Groups[0].Group != "g3" || of.Groups[0].Lag != 1 {
		t.Errorf("groups of a topic %+v", of)
	}
}

func TestAGroupIsShownResetAndDeleted(t *testing.T) {
	r := newRig(t, Options{})
	r.publish("orders", "a", "b", "c")
	to := func(position string, execute bool) groupReset {
		path := "/groups/billing/reset?topic=orders&to=" + position
		if execute {
			path += "&execute"
		}
		return get[groupReset](r, "POST", path, "")
	}
	if got := to("-1", false); got.Executed || got.Positions[0] != (resetPlace{0, 0, 2}) {
		t.Errorf("a preview: %+v", got)
	}
	r.refused(404, "GONE", "GET", "/groups/billing", "", "billing")
	if got := to("-1", true); !got.Executed || got.Positions[0] != (resetPlace{0, 0, 2}) {
		t.Errorf("a reset: %+v", got)
	}
	d := get[groupDetails](r, "GET", "/groups/billing", "")
	if d.Group != "billing" || d.Lag != 1 || d.Topics != 1 || d.Members != 0 || len(d.Positions) != 1 || d.Positions[0].Position != 2 || d.Positions[0].End != 3 || d.Positions[0].OldestTime == 0 {
		t.Errorf("the group is %+v", d)
	}
	r.restart()
	for time, want := range map[string]int64{"2000-01-01": 0, "2000-01-01T10:00": 0, "2100-01-01": 3} { // without a zone
		if got := to(time, false); got.Positions[0] != (resetPlace{0, 2, want}) {
			t.Errorf("%s: %+v", time, got)
		}
	}
	if got := to("end", false); got.Positions[0] != (resetPlace{0, 2, 3}) {
		t.Errorf("after a restart: %+v", got)
	}
	if got := get[groupDeletion](r, "DELETE", "/groups/billing", ""); got.Executed || len(got.Positions) != 1 || got.Positions[0] != (deletedPlace{"orders", 0, 2}) {
		t.Errorf("a preview of a deletion: %+v", got)
	}
	get[groupDetails](r, "GET", "/groups/billing", "")
	get[groupDeletion](r, "DELETE", "/groups/billing?execute", "")
	r.refused(404, "GONE", "GET", "/groups/billing", "")
}

func TestAGroupInUseIsNeitherResetNorDeleted(t *testing.T) {
	r := newRig(t, Options{})
	r.publish("orders", "a", "b")
	leave := r.joinGroup("orders", "billing")
	defer leave()
	d := get[groupDetails](r, "GET", "/groups/billing", "")
	if d.Members != 1 || len(d.Clients) != 1 || d.Clients[0].Client == "" {
		t.Errorf("the group is %+v", d)
	}
	if c := get[topicDeletion](r, "DELETE", "/topics/orders", ""); len(c.Readers) != 1 || c.Readers[0] != (topicReader{"billing", 1}) {
		t.Errorf("a deletion would say %+v", c)
	}
	if p := get[groupReset](r, "POST", "/groups/billing/reset?topic=orders&to=0", ""); !strings.Contains(p.InUse, "stop them first") {
		t.Errorf("a preview says %+v", p)
	}
	r.refused(409, "BUSY", "POST", "/groups/billing/reset?topic=orders&to=0&execute", "", "stop them first")
	if p := get[groupDeletion](r, "DELETE", "/groups/billing", ""); !strings.Contains(p.InUse, "stop them first") || p.Executed {
		t.Errorf("a preview says %+v", p)
	}
	r.refused(409, "BUSY", "DELETE", "/groups/billing?execute", "", "stop them first")
}

// An error about a topic that is not there names it once.
func TestUnknownTopicsAreNamed(t *testing.T) {
	r := newRig(t, Options{})
	for _, request := range []string{"GET /topics/t", "GET /topics/t/offsets?time=0", "GET /topics/t/partitions/0/messages/0", "DELETE /topics/t"} {
		method, path, _ := strings.Cut(request, " ")
		if p := r.problem(404, "GONE", method, path, ""); p["detail"] != `there is no such topic or partition: "t"` {
			t.Errorf("%s: %s", request, p["detail"])
		}
	}
}

// The broker's own topics are read and not written, as by lines and by Kafka's clients.
func TestTheBrokersOwnTopicsAreReadOnly(t *testing.T) {
	r := newRig(t, Options{})
	r.publish("orders", "a")
	get[groupReset](r, "POST", "/groups/billing/reset?execute&to=0&topic=orders", "") // which the topic has then
	const own = "/topics/__consumer_offsets"
	get[topicDetails](r, "GET", own, "")
	r.must(200, "GET", own+"/messages?from=beginning&format=json", "")
	r.must(200, "GET", own+"/messages?group=audit&format=json", "")
	r.awaitAlone("audit")
	get[groupReset](r, "POST", "/groups/audit/reset?execute&to=0&topic=__consumer_offsets", "")
	var l struct{ Messages []struct{ Token string } }
	if err := json.Unmarshal([]byte(r.must(200, "POST", own+"/groups/audit/lease", "")), &l); err != nil || len(l.Messages) != 1 {
		t.Fatalf("leased %+v, %v", l, err)
	}
	r.refused(400, "BADREQUEST", "POST", own+"/groups/audit/fail", `{"dead":true,"tokens":["`+l.Messages[0].Token+`"]}`, "dead letters")
	for _, c := range []struct{ method, path, body string }{
		{"POST", own, `{}`},
		{"PATCH", own + "?execute", `{"partitions":3}`},
		{"PATCH", own + "?execute", `{"config":{"retention.ms":"1"}}`},
		{"PATCH", own, `{"config":{"retention.ms":"1"}}`},
		{"DELETE", own, ""},
		{"DELETE", own + "?execute", ""},
		{"POST", own + "/redrive", ""},
		{"POST", own + "/discard?execute", ""},
	} {
		r.refused(400, "BADREQUEST", c.method, c.path, c.body)
	}
}

// Positions come in parts, the sums are those of all.
func TestPositionsOfAGroupComeInParts(t *testing.T) {
	r := newRig(t, Options{})
	var want []string
	for i, partitions := range []int{1, 11, 2} {
		name := fmt.Sprintf("t%d", i)
		get[topicChange](r, "POST", "/topics?execute", fmt.Sprintf(`{"topic":%q,"partitions":%d}`, name, partitions))
		r.publish(name, "a")
		get[groupReset](r, "POST", "/groups/billing/reset?execute&to=0&topic="+name, "")
		for n := range partitions {
			want = append(want, fmt.Sprintf("%s:%d", name, n))
		}
	}
	for _, limit := range []int{1, 3, 13, 14, 1000} {
		var got []string
		for next := ""; len(got) == 0 || next != ""; {
			part := get[groupDetails](r, "GET", fmt.Sprintf("/groups/billing?limit=%d&after=%s", limit, next), "")
			if part.Lag != 3 || part.Topics != 3 || len(part.Positions) > limit {
				t.Fatalf("a part with %d positions: %+v", len(part.Positions), part.groupSum)
			}
			for _, p := range part.Positions {
				got = append(got, fmt.Sprintf("%s:%d", p.Topic, p.Partition))
			}
			next = part.Next
		}
		if !slices.Equal(got, want) {
			t.Errorf("limit %d: %q, not %q", limit, got, want)
		}
	}
	leave := r.joinGroup("t0", "shipping")
	defer leave()
	leaveToo := r.joinGroup("t1", "shipping")
	defer leaveToo()
	if d := get[groupDetails](r, "GET", "/groups/shipping?limit=1", ""); d.Members != 2 || len(d.Clients) != 1 {
		t.Errorf("of two members: %+v", d)
	}
	for _, wrong := range []string{"after=t1", "after=t1:x", "after=:1", "after=t1:-1", "limit=0"} {
		r.refused(400, "BADREQUEST", "GET", "/groups/billing?"+wrong, "")
	}
}

// A store that can add no partition, although there is room, shows what a change in two steps has done.
func TestAChangeThatIsHalfDoneSaysSo(t *testing.T) {
	r := newRigOver(t, Options{}, func(s store.Store) store.Store { return noMorePartitions{s} })
	get[topicChange](r, "POST", "/topics?execute", `{"topic":"orders"}`)
	status, answer, _ := r.do("PATCH", "/topics/orders?execute", `{"partitions":3,"config":{"retention.ms":"5"}}`, "Content-Type", typeJSON)
	if want := `"done":{"executed":true,"topic":"orders","partitions":1,"config":{"retention.ms":"5"}}`; status != 507 || !strings.Contains(answer, want) || !strings.Contains(answer, `"FULL"`) {
		t.Errorf("status %d, and not %s: %s", status, want, answer)
	}
	if d := get[topicDetails](r, "GET", "/topics/orders", ""); d.Partitions != 1 || d.Config["retention.ms"] != "5" {
		t.Errorf("the topic is %+v", d)
	}
}

// A disk that is full before anything is changed leaves all as it is, and the preview says so.
func TestAChangeWithoutRoomChangesNothing(t *testing.T) {
	var full atomic.Bool
	r := newRigOver(t, Options{}, func(s store.Store) store.Store {
		return &storefault.Store{Store: s, Space: func(inner store.Store, n int) error {
			if full.Load() {
				return store.ErrFull
			}
			return inner.CheckSpace(n)
		}}
	})
	get[topicChange](r, "POST", "/topics?execute", `{"topic":"orders"}`)
	full.Store(true)
	for _, execute := range []string{"", "?execute"} {
		r.refused(507, "FULL", "PATCH", "/topics/orders"+execute, `{"partitions":3,"config":{"retention.ms":"5"}}`)
	}
	if d := get[topicDetails](r, "GET", "/topics/orders", ""); d.Partitions != 1 || len(d.Config) != 0 {
		t.Errorf("the topic is %+v", d)
	}
}

type noMorePartitions struct{ store.Store }

func (noMorePartitions) AddPartitions(string, int) (store.Topic, error) {
	return store.Topic{}, store.ErrFull
}

// joinGroup has a client follow a topic, from its first message on, until leave.
func (r *rig) joinGroup(topic, group string) (leave func()) {
	r.Helper()
	resp, err := http.Get(r.url + "/topics/" + topic + "/messages?follow&group=" + group)
	if err != nil {
		r.Fatal(err)
	}
	if _, err := resp.Body.Read(make([]byte, 1)); err != nil {
		r.Fatal(err)
	}
	return func() { resp.Body.Close() }
}

func TestMessagesAreFoundByOffsetAndTime(t *testing.T) {
	r := newRig(t, Options{NodeID: 7})
	r.publish("orders", "a", "b <script>")
	got := r.must(200, "GET", "/topics/orders/partitions/0/messages/1", "")
	var m struct {
		Topic, Payload string
		Offset, TS     int64
	}
	if err := json.Unmarshal([]byte(got), &m); err != nil || m.Payload != "b <script>" || m.Offset != 1 || m.Topic != "orders" {
		t.Errorf("%v: %s", err, got)
	}
	r.refused(404, "NOTFOUND", "GET", "/topics/orders/partitions/0/messages/2", "", "offset 2")
	f := get[foundOffsets](r, "GET", "/topics/orders/offsets?time=2001-01-01", "")
	if len(f.Offsets) != 1 || !f.Offsets[0].Found || f.Offsets[0].Offset != 0 || f.Offsets[0].Time == 0 {
		t.Errorf("found %+v", f)
	}
	if f = get[foundOffsets](r, "GET", "/topics/orders/offsets?time=2100-01-01", ""); f.Offsets[0].Found || f.Offsets[0].Offset != 2 {
		t.Errorf("found %+v", f)
	}
	r.refused(404, "GONE", "GET", "/topics/none/partitions/0/messages/2", "", `"none"`)
	r.refused(404, "GONE", "GET", "/topics/none/offsets?time=0", "", `"none"`)
}
