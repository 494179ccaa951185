package kafka

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fill sets every field of a request, so that each is on the wire.
func fill(r *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; name != "UnknownTags" && name != "Version" {
				fill(r, v.Field(i))
			}
		}
	case reflect.Pointer:
		if v.Type().Elem().Kind() == reflect.String && r.IntN(3) > 0 {
			s := fmt.Sprint(r.IntN(1000))
			v.Set(reflect.ValueOf(&s))
		}
	case reflect.String:
		v.SetString(fmt.Sprint(r.IntN(1000)))
	case reflect.Slice:
		n := r.IntN(4)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(r, v.Index(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(r, v.Index(i))
		}
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Uint8:
		v.SetUint(r.Uint64N(256))
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(r.IntN(100)))
	default:
		panic(v.Kind())
	}
}

func TestALayoutIsWhatKmsgWritesInEveryVersion(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for key := range layouts {
		a := apis[key]
		if a == nil {
			continue
		}
		for version := a.min; version <= a.max; version++ {
			for range 100 {
				req := kmsg.RequestForKey(key)
				req.SetVersion(version)
				fill(r, reflect.ValueOf(req).Elem())
				p := req.AppendTo(nil)
				w := newWalk(version, req.IsFlexible(), p)
				w.fields(layouts[key])
				if w.err != nil || len(w.p) > 0 {
					t.Fatalf("%s of version %d: %v, %d of %d bytes left: %+v", kmsg.NameForKey(key), version, w.err, len(w.p), len(p), req)
				}
			}
		}
	}
}

func TestEveryAPIHasALayout(t *testing.T) {
	for key := range apis {
		if layouts[key] == nil {
			t.Errorf("API key %d has none", key)
		}
	}
}

// sizes are the sizes of the elements of a type's arrays, in the order in which
// their fields stand.
func sizes(v reflect.Type) (all []int) {
	switch {
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			all = append(all, sizes(v.Field(i).Type)...)
		}
	case v.Kind() == reflect.Slice && v.Elem().Kind() != reflect.Uint8:
		all = append([]int{int(v.Elem().Size())}, sizes(v.Elem())...)
	}
	return all
}

func costs(fields []field) (all []int) {
	for _, f := range fields {
		if f.kind == arrayField {
			all = append(append(all, f.size), costs(f.elements)...)
		}
	}
	return all
}

func TestALayoutCountsNoLessThanWhatIsDecoded(t *testing.T) {
	for key := range apis {
		want := sizes(reflect.TypeOf(kmsg.RequestForKey(key)).Elem())
		got := costs(layouts[key])
		if len(want) != len(got) {
			t.Errorf("%s has %d arrays, its layout %d", kmsg.NameForKey(key), len(want), len(got))
			continue
		}
		for i := range want {
			if got[i] < want[i] {
				t.Errorf("%s: an element of array %d takes %d bytes, the layout says %d", kmsg.NameForKey(key), i, want[i], got[i])
			}
		}
	}
}

func TestACountThatCostsTooMuchIsRefused(t *testing.T) {
	p := make([]byte, maxFrame)
	copy(p, []byte{0, 0x0f, 0, 0}) // 983040 topics without a name
	if _, err := checkLayout(3, 1, false, p); err != errCost {
		t.Errorf("a request for so many topics: %v", err)
	}
	if _, err := checkLayout(3, 1, false, []byte{0x7f, 0xff, 0xff, 0xff, 0, 0}); err != errLayout {
		t.Errorf("a count beyond the frame: %v", err)
	}
}
