package kafka

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"mbus/internal/auth"
	"mbus/internal/broker"
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

// FuzzLogin sends messages of a log-in: nobody is logged in by one that is made without the password.
func FuzzLogin(f *testing.F) {
	users := auth.New(func(string, []byte) error { return nil })
	credentials, err := auth.NewCredentials("secret")
	if err != nil {
		f.Fatal(err)
	}
	if err := users.Change("alice", func(u *auth.User, _ bool) error { u.SetCredentials(credentials...); return nil }); err != nil {
		f.Fatal(err)
	}
	for _, message := range []string{"\x00alice\x00wrong", "alice\x00alice\x00", "n,,n=alice,r=nonce", "y,a=alice,n=alice,r=nonce,x=y", "p=tls-unique,,n=alice,r=x", "c=biws,r=nonce,p=AAAA"} {
		f.Add([]byte(message), []byte("c=biws,r=nonce,p="))
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		if id, err := plainLogin(users.Users, first, broker.Client{}); err == nil && !bytes.Equal(first, []byte("\x00alice\x00secret")) && !bytes.Equal(first, []byte("alice\x00alice\x00secret")) {
			t.Fatalf("PLAIN: %+v", id)
		}
		for _, m := range auth.Mechanisms {
			e := users.Exchange(m)
			if _, id, err := e.Step(first); err != nil || id.Name != "" {
				if id.Name != "" {
					t.Fatalf("%s: %+v", m, id)
				}
				continue
			}
			if _, id, err := e.Step(second); err == nil {
				t.Fatalf("%s: %+v", m, id)
			}
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
