package batch

import (
	"fmt"
	"testing"
)

func TestTakeHeaderTakesTheLastOfItsKey(t *testing.T) {
	for _, tt := range []struct {
		headers []Header
		want    string
	}{
		{nil, "[] nil false"},
		{[]Header{{"a", []byte("1")}}, "[a=1] nil false"},
		{[]Header{{"n", []byte("1")}}, "[] 1 true"},
		{[]Header{{"n", []byte("1")}, {"a", nil}, {"b", []byte("2")}}, "[a= b=2] 1 true"},
		{[]Header{{"a", []byte("1")}, {"n", nil}, {"b", []byte("2")}}, "[a=1 b=2] nil true"},
		{[]Header{{"n", []byte("1")}, {"a", []byte("2")}, {"n", []byte("3")}}, "[n=1 a=2] 3 true"},
	} {
		var b Builder
		b.Add(1, nil, nil, tt.headers...)
		b.Close(0)
		before := string(b.Bytes())
		var it Iterator
		if err := it.Reset(Batch(b.Bytes())); err != nil || !it.Next() {
			t.Fatal(err)
		}
		r := it.Record()
		v, ok := r.TakeHeader("n")
		var rest []string
		for k, v := range r.Headers() {
			rest = append(rest, fmt.Sprintf("%s=%s", k, v))
		}
		value := string(v)
		if v == nil {
			value = "nil"
		}
		if got := fmt.Sprint(rest, " ", value, " ", ok); got != tt.want || r.HeaderCount() != len(rest) {
			t.Errorf("got %s and %d headers, want %s", got, r.HeaderCount(), tt.want)
		}
		if string(b.Bytes()) != before {
			t.Error("the batch has changed")
		}
	}
}
