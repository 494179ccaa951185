package web

import (
	"strings"
	"testing"

	"mbus/internal/batch"
)

// letters publishes dead letters that clients made: a redrive publishes each to orders.
func (r *rig) letters(values ...string) {
	r.Helper()
	r.publish("orders.dlq") // makes the topic
	var b batch.Builder
	for _, v := range values {
		b.Add(1718017201000, nil, []byte(v), batch.Header{Key: "mbus-topic", Value: []byte("orders")})
	}
	r.append("orders.dlq", 0, &b)
}

func TestLettersAreRedrivenAndDiscarded(t *testing.T) {
	r := newRig(t, Options{})
	r.letters("a", "b", "c", "d")
	if got := get[redriveReport](r, "POST", "/topics/orders.dlq/redrive?n=2", ""); got.Executed || got.Letters != 2 || got.Moved != 0 {
		t.Errorf("a preview: %+v", got)
	}
	if got := get[redriveReport](r, "POST", "/topics/orders.dlq/redrive?n=1&execute", ""); !got.Executed || got.Moved != 1 || got.Letters != 1 {
		t.Errorf("one letter: %+v", got)
	}
	if got := get[discardReport](r, "POST", "/topics/orders.dlq/discard", ""); got.Executed || got.Letters != 3 || got.Discarded != 0 {
		t.Errorf("a preview: %+v", got)
	}
	if got := get[discardReport](r, "POST", "/topics/orders.dlq/discard?n=2&execute", ""); !got.Executed || got.Letters != 2 || got.Discarded != 2 {
		t.Errorf("two letters: %+v", got)
	}
	r.restart() // both are durable
	if got := get[redriveReport](r, "POST", "/topics/orders.dlq/redrive?to=all&execute", ""); got.Moved != 1 || got.Letters != 1 || got.Stay != 0 {
		t.Errorf("the rest: %+v", got)
	}
	if got := r.drain("orders"); got != "a\nd\n" {
		t.Errorf("orders has %q", got)
	}
	if got := get[discardReport](r, "POST", "/topics/orders.dlq/discard?execute", ""); got.Discarded != 0 || got.Letters != 0 {
		t.Errorf("nothing is left: %+v", got)
	}
	r.refused(400, "BADREQUEST", "POST", "/topics/orders.dlq/redrive?to=nobody&execute", "", "nobody")
	r.refused(400, "BADREQUEST", "POST", "/topics/orders.dlq/redrive?n=0&execute", "", "n")
}

func TestLettersAreChosenByTheirPlaces(t *testing.T) {
	r := newRig(t, Options{})
	r.letters("a", "b", "c", "d")
	if got := get[redriveReport](r, "POST", "/topics/orders.dlq/redrive?letter=0:1", ""); got.Executed || got.Letters != 1 {
		t.Errorf("a preview: %+v", got)
	}
	if got := get[redriveReport](r, "POST", "/topics/orders.dlq/redrive?letter=0:1&execute", ""); got.Moved != 1 {
		t.Errorf("one letter: %+v", got)
	}
	if got := get[discardReport](r, "POST", "/topics/orders.dlq/discard?letter=0:0&letter=0:2&execute", ""); got.Discarded != 2 {
		t.Errorf("two letters: %+v", got)
	}
	if got := get[redriveReport](r, "POST", "/topics/orders.dlq/redrive?execute", ""); got.Moved != 1 {
		t.Errorf("the rest: %+v", got)
	}
	if got := r.drain("orders"); got != "b\nd\n" {
		t.Errorf("orders has %q", got)
	}
	for _, wrong := range []string{"letter=x", "letter=0", "letter=0:-1", "letter=0:9", "letter=7:0", "letter=0:1&n=1", "letter="} {
		r.refused(400, "BADREQUEST", "POST", "/topics/orders.dlq/redrive?execute&"+wrong, "")
		r.refused(400, "BADREQUEST", "POST", "/topics/orders.dlq/discard?execute&"+wrong, "")
	}
}

func TestLettersThatStayAreCountedByReason(t *testing.T) {
	r := newRig(t, Options{})
	r.publish("orders.dlq", "by hand", "by hand, too")
	got := get[redriveReport](r, "POST", "/topics/orders.dlq/redrive?execute", "")
	if got.Moved != 0 || got.Stay != 2 || len(got.Reasons) != 1 || got.Reasons[0].Letters != 2 || !strings.Contains(got.Reasons[0].Reason, "mbus-topic") {
		t.Errorf("the report is %+v", got)
	}
	if again := get[redriveReport](r, "POST", "/topics/orders.dlq/redrive", ""); again.Letters != 2 {
		t.Errorf("letters that stay are not there any more: %+v", again)
	}
}
