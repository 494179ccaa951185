package kafka

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// FuzzDecode decodes a request of each API: what is decoded costs no more memory
// than was counted before.
func FuzzDecode(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for key, a := range apis {
		for version := a.min; version <= a.max; version++ {
			req := kmsg.RequestForKey(key)
			req.SetVersion(version)
			fill(r, reflect.ValueOf(req).Elem())
			f.Add(key, version, req.AppendTo(nil))
		}
	}
	f.Fuzz(func(t *testing.T, key, version int16, p []byte) {
		a := apis[key]
		if a == nil || version < a.min || version > a.max {
			return
		}
		req := kmsg.RequestForKey(key)
		req.SetVersion(version)
		cost, err := checkCost(layoutOf(key, version), req.IsFlexible(), p)
		if err != nil {
			return
		}
		if req.ReadFrom(p) != nil {
			return // null where it may not be
		}
		if took := elements(reflect.ValueOf(req).Elem()); took > cost {
			t.Fatalf("it was said to cost %d and took %d", cost, took)
		}
	})
}

// elements is the size of all that arrays hold.
func elements(v reflect.Value) (size int) {
	switch {
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				size += elements(v.Field(i))
			}
		}
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Uint8:
		size = v.Len() * int(v.Type().Elem().Size())
		for i := range v.Len() {
			size += elements(v.Index(i))
		}
	}
	return size
}
