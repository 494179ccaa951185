package kafka

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/test/brokertest"
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
		if v.Type().Elem().Kind() == reflect.Struct && r.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(r, v.Elem())
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
	for key, a := range apis {
		for version := a.min; version <= a.max; version++ {
			layout := layoutOf(key, version)
			for range 100 {
				req := kmsg.RequestForKey(key)
				req.SetVersion(version)
				fill(r, reflect.ValueOf(req).Elem())
				p := req.AppendTo(nil)
				w := walk{flexible: req.IsFlexible(), p: p, limit: costFactor*len(p) + costSlack}
				w.fields(layout)
				if w.err != nil || len(w.p) > 0 {
					t.Fatalf("%s of version %d: %v, %d of %d bytes left: %+v", kmsg.NameForKey(key), version, w.err, len(w.p), len(p), req)
				}
			}
		}
	}
}

func TestACountThatCostsTooMuchIsRefused(t *testing.T) {
	p := make([]byte, maxFrame)
	copy(p, []byte{0, 0x0f, 0, 0}) // 983040 topics without a name
	if _, err := checkCost(layoutOf(3, 1), false, p); err != errCost {
		t.Errorf("a request for so many topics: %v", err)
	}
	if _, err := checkCost(layoutOf(3, 1), false, []byte{0x7f, 0xff, 0xff, 0xff, 0, 0}); err != errLayout {
		t.Errorf("a count beyond the frame: %v", err)
	}
}

// What a count claims in any place of any request is refused, or costs no more than was
// counted: the elements, the bytes that came, once more for slices that grow, and the request.
func TestNoCountOfAnyRequestCostsMoreThanWasCounted(t *testing.T) {
	brokertest.Slow(t)
	r := rand.New(rand.NewPCG(5, 6))
	body := make([]byte, 32<<10) // zeros are elements without content
	for key, a := range apis {
		for version := a.min; version <= a.max; version++ {
			req := kmsg.RequestForKey(key)
			req.SetVersion(version)
			fill(r, reflect.ValueOf(req).Elem())
			p := req.AppendTo(nil)
			for at := range p {
				for _, count := range [][]byte{{0, 0, 0x7f, 0}, {0, 0, 0x10, 0}, {0xff, 0x7f}, {0xff, 0xff, 0x01}, {0xff, 0xff, 0xff, 0xff, 0x0f}} {
					clear(body)
					copy(body, p)
					copy(body[at:], count)
					decodeHostile(t, key, version, body)
				}
			}
		}
	}
}

// decodeHostile decodes a request as a connection does, and checks what that allocates.
func decodeHostile(t *testing.T, key, version int16, body []byte) {
	t.Helper()
	a := apis[key]
	req := kmsg.RequestForKey(key)
	req.SetVersion(version)
	cost, err := checkCost(a.layout(version), req.IsFlexible(), body)
	if err != nil {
		return
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	req.ReadFrom(body) // may fail: null where it may not be
	runtime.ReadMemStats(&after)
	if took, most := after.TotalAlloc-before.TotalAlloc, uint64(2*cost+2*len(body)+64<<10); took > most {
		t.Errorf("%s of version %d: %d bytes allocated, %d were counted", kmsg.NameForKey(key), version, took, cost)
	}
}

func TestTaggedFieldsCostNoMoreThanWasCounted(t *testing.T) {
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 9
	for i := range uint32(10_000) {
		req.UnknownTags.Set(i, nil)
	}
	decodeHostile(t, 3, 9, req.AppendTo(nil))
}
