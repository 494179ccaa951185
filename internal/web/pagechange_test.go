package web

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"mbus/internal/broker"
)

// mustConfirm sends a form, and again with a wrong and with the right name. It returns what was done.
func (r *rig) mustConfirm(path, name string, fields ...string) string {
	r.Helper()
	preview, _ := r.form(http.StatusOK, path, fields...)
	if !strings.Contains(preview, "Nothing has been changed yet") {
		r.Fatalf("no preview: %s", preview)
	}
	refused, _ := r.form(http.StatusOK, path, append(fields, "confirm", name+"x")...)
	if !strings.Contains(refused, "is not the name") {
		r.Fatalf("a wrong name: %s", refused)
	}
	_, location := r.form(http.StatusSeeOther, path, append(fields, "confirm", name)...)
	to, err := url.Parse(location)
	if err != nil {
		r.Fatal(err)
	}
	return to.Query().Get("done")
}

func TestPublishBox(t *testing.T) {
	r := newRig(t, Options{})
	_, location := r.form(http.StatusSeeOther, "/ui/topics/orders/publish", "value", "first\r\nsecond", "key", "k1", "headers", "trace: 4711\n\n a : b")
	if location != "/ui/topics/orders?done=Published%3A+partition+0%2C+offset+0." {
		t.Errorf("leads to %q", location)
	}
	got := r.drain("orders?format=json")
	if !strings.Contains(got, `"headers":["trace","4711","a","b"],"key":"k1","payload":"first\nsecond"`) {
		t.Errorf("stored: %s", got)
	}
	r.form(http.StatusSeeOther, "/ui/topics/orders/publish", "value", "later", "delay", "1h")
	if n := r.committed("default", "orders"); n > 1 {
		t.Errorf("position %d", n)
	}
	for _, wrong := range []string{"delay=x", "headers=nothing"} {
		name, value, _ := strings.Cut(wrong, "=")
		r.form(http.StatusBadRequest, "/ui/topics/orders/publish", "value", "x", name, value)
	}
	r.must(http.StatusForbidden, "POST", "/ui/topics/orders/publish", "value=x", "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "cross-site")
	r.must(http.StatusForbidden, "POST", "/ui/topics/orders/publish", "value=x", "Content-Type", "application/x-www-form-urlencoded", "Origin", "http://attacker.example")
	r.must(http.StatusBadRequest, "POST", "/ui/topics/orders/publish", "value=x", "Content-Type", "text/plain")
	r.must(http.StatusRequestEntityTooLarge, "POST", "/ui/topics/orders/publish", "value="+strings.Repeat("x", maxForm), "Content-Type", "application/x-www-form-urlencoded")
}

func TestChangesAreShownFirstAndAskForTheName(t *testing.T) {
	r := newRig(t, Options{})
	r.form(http.StatusSeeOther, "/ui/create", "topic", "orders", "partitions", "1")
	r.form(http.StatusConflict, "/ui/create", "topic", "orders")
	r.publish("orders", "first", "second")
	r.drain("orders?group=billing")
	r.awaitAlone("billing")
	if r.mustConfirm("/ui/groups/billing/reset", "orders", "topic", "orders", "to", "2000-01-01"); r.committed("billing", "orders") != 0 {
		t.Errorf("the group is at %d", r.committed("billing", "orders"))
	}
	if r.mustConfirm("/ui/groups/billing/reset", "orders", "topic", "orders", "to", "1"); r.committed("billing", "orders") != 1 {
		t.Errorf("the group is at %d", r.committed("billing", "orders"))
	}
	r.mustConfirm("/ui/topics/orders/configure", "orders", "retention", "7d", "retention-bytes", "1GiB")
	topic, err := r.broker.As(broker.Self).Topic("orders", broker.Read)
	if err != nil {
		t.Fatal(err)
	}
	if own := topic.Config(); own["retention.ms"] != "604800000" || own["retention.bytes"] != "1073741824" {
		t.Errorf("configuration %v", own)
	}
	if page := r.must(http.StatusOK, "GET", "/ui/topics/orders", ""); !strings.Contains(page, `name="retention" value="7d"`) {
		t.Errorf("the form does not have the retention: %s", page)
	}
	if r.mustConfirm("/ui/topics/orders/grow", "orders", "partitions", "3"); len(topic.Partitions()) != 3 {
		t.Errorf("%d partitions", len(topic.Partitions()))
	}
	r.form(http.StatusBadRequest, "/ui/topics/orders/grow", "partitions", "2")
	preview, _ := r.form(http.StatusOK, "/ui/topics/orders/delete")
	if id := broker.TopicID(topic.ID).String(); !strings.Contains(preview, `name="id" value="`+id+`"`) {
		t.Errorf("the form is not for the topic with the id %s: %s", id, preview)
	}
	r.form(http.StatusNotFound, "/ui/topics/orders/delete", "id", broker.TopicID{}.String(), "confirm", "orders") // the one that was shown is gone
	r.mustConfirm("/ui/groups/billing/delete", "billing")
	r.must(http.StatusNotFound, "GET", "/ui/groups/billing", "")
	r.mustConfirm("/ui/topics/orders/delete", "orders")
	r.must(http.StatusNotFound, "GET", "/ui/topics/orders", "")
}

// Letters that clients made go to the topic that they name.
func TestDeadLettersAreRedrivenAndDiscarded(t *testing.T) {
	r := newRig(t, Options{})
	for _, value := range []string{"zero", "one", "two", "three"} {
		r.form(http.StatusSeeOther, "/ui/topics/orders.dlq/publish", "value", value, "headers", "mbus-topic: orders\nmbus-reason: <b>bad</b>")
	}
	page := r.must(http.StatusOK, "GET", "/ui/dead/orders.dlq", "")
	if !strings.Contains(page, "4 letters are left") || !strings.Contains(page, "&lt;b&gt;bad") {
		t.Fatalf("the view: %s", page)
	}
	if done := r.mustConfirm("/ui/dead/orders.dlq/redrive", "orders.dlq", "letter", "0:2"); done != "Redriven: 1." {
		t.Errorf("one: %q", done)
	}
	if got := r.drain("orders"); got != "two\n" {
		t.Errorf("redriven: %q", got)
	}
	if done := r.mustConfirm("/ui/dead/orders.dlq/discard", "orders.dlq", "letter", "0:1"); done != "Discarded: 1." {
		t.Errorf("discard one: %q", done)
	}
	if done := r.mustConfirm("/ui/dead/orders.dlq/redrive", "orders.dlq", "n", "1"); done != "Redriven: 1." {
		t.Errorf("the oldest: %q", done)
	}
	r.awaitAlone("default")
	if got := r.drain("orders"); got != "zero\n" {
		t.Errorf("the oldest: %q", got)
	}
	if done := r.mustConfirm("/ui/dead/orders.dlq/redrive", "orders.dlq", "letter", "0:2"); done != "Redriven: 0." {
		t.Errorf("again: %q", done)
	}
	if done := r.mustConfirm("/ui/dead/orders.dlq/discard", "orders.dlq"); done != "Discarded: 1." {
		t.Errorf("the rest: %q", done)
	}
	if page := r.must(http.StatusOK, "GET", "/ui/dead/orders.dlq", ""); !strings.Contains(page, "No letter is left") {
		t.Errorf("the view: %s", page)
	}
	r.form(http.StatusBadRequest, "/ui/dead/orders.dlq/redrive", "letter", "0:99", "confirm", "orders.dlq")
	r.form(http.StatusBadRequest, "/ui/dead/orders.dlq/redrive", "letter", "7:0", "confirm", "orders.dlq")
	r.form(http.StatusBadRequest, "/ui/dead/orders/redrive", "letter", "0:0")
}

func TestMessagesAreFound(t *testing.T) {
	r := newRig(t, Options{})
	for i, value := range []string{`{"customer":{"id":7,"names":["Ada","Grace"]}}`, `{"customer":{"id":8}}`, "plain Ada"} {
		r.form(http.StatusSeeOther, "/ui/topics/orders/publish", "value", value, "key", "k"+strconv.Itoa(i), "headers", "trace: t"+strconv.Itoa(i))
	}
	for query, want := range map[string]string{
		"":                                     "0:0 0:1 0:2",
		"from=1":                               "0:1 0:2",
		"from=-1":                              "0:2",
		"find=Ada":                             "0:0 0:2",
		"find=k1&in=key":                       "0:1",
		"find=k1&in=value":                     "",
		"find=t2&in=header&name=trace":         "0:2",
		"find=t2&in=header&name=other":         "",
		"find=8&in=json&name=customer.id":      "0:1",
		"find=G&in=json&name=customer.names.1": "0:0",
		"find=G&in=json&name=customer.names.9": "",
	} {
		page := r.must(http.StatusOK, "GET", "/ui/topics/orders?"+query, "")
		var got []string
		for _, part := range strings.Split(page, `data-place="`)[1:] {
			place, _, _ := strings.Cut(part, `"`)
			got = append(got, place)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, not %q", query, got, want)
		}
	}
	for _, query := range []string{"in=nowhere", "from=9", "partition=1", "from=x"} {
		r.must(http.StatusBadRequest, "GET", "/ui/topics/orders?"+query, "")
	}
}

func FuzzVisible(f *testing.F) {
	f.Add([]byte("text\x00\xff\u202e\n"))
	f.Fuzz(func(t *testing.T, p []byte) {
		for _, r := range visible(p) {
			if r < 0x20 && r != '\n' && r != '\t' || r == 0x7f || r >= 0x202a && r <= 0x202e {
				t.Fatalf("%q shows %U", p, r)
			}
		}
	})
}

func FuzzJSONField(f *testing.F) {
	f.Add([]byte(`{"a":[{"b":"c"}]}`), "a.0.b")
	f.Fuzz(func(t *testing.T, doc []byte, path string) { jsonField(doc, path) })
}

func TestGroupViewSaysWhatIsUnacknowledgedByWhom(t *testing.T) {
	r := newRig(t, Options{})
	r.limit(func(l *broker.Limits) { l.ResetTime, l.CloseTime = never, never })
	r.publish("orders", "first", "second")
	c := r.get("orders/messages?group=billing")
	c.body() // nothing is consumed until the client closes
	page := r.must(http.StatusOK, "GET", "/ui/groups/billing", "")
	if want := `<th scope="row">` + c.LocalAddr().String() + `</th><td>orders</td><td class="n">0</td>`; !strings.Contains(page, want) {
		t.Errorf("%q is missing in %s", want, page)
	}
}
