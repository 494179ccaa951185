package kafka

import (
	"bytes"
	"reflect"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A field is one field of a request on the wire. checkCost walks a request's fields before kmsg
// decodes it, because kmsg allocates as many elements as an array's count says, up to one for
// each byte that is left, and loops over tagged fields as often as their count says, up to 4
// billion times.
type field struct {
	kind     fieldKind
	size     int     // bytes of a number, or before a struct; memory that an element of an array takes
	elements []field // of an element, or of a struct
	plain    bool    // the elements are numbers or strings, which no tagged fields follow
}

type fieldKind int

const (
	numberField fieldKind = iota
	stringField           // may be null
	bytesField            // may be null
	arrayField            // may be null
	structField           // where it may be null, behind a byte, which is negative for null
)

// handlingCost is about what a handler and its response take for each element, in
// bytes, beside the element itself.
const handlingCost = 168

// layoutOf is how requests of a version look on the wire, found with kmsg's encoder: the
// fields of its structs stand in the order of the wire, and a field is in a version if
// another value changes what is encoded. Tagged fields are left out.
func layoutOf(key, version int16) []field {
	p := probe{kmsg.RequestForKey(key)}
	p.SetVersion(version)
	return p.fields(reflect.ValueOf(p.Request).Elem())
}

// A probe is a request of which one field after the other is changed. It has one
// element in the arrays whose elements are looked at.
type probe struct{ kmsg.Request }

func (p probe) encoded() []byte { return p.AppendTo(nil) }

// fields are those of a struct that is a part of the request.
func (p probe) fields(v reflect.Value) (fields []field) {
	if d, ok := v.Addr().Interface().(interface{ Default() }); ok {
		d.Default()
	}
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; name == "Version" || name == "UnknownTags" {
			continue
		}
		if f, ok := p.field(v.Field(i)); ok {
			fields = append(fields, f)
		}
	}
	return fields
}

// field finds out what a field is on the wire; ok is false if the version does not have
// it, or has it as a tagged field, which is encoded only with a value of its own.
func (p probe) field(v reflect.Value) (f field, ok bool) {
	old := reflect.ValueOf(v.Interface())
	defer func() { v.Set(old) }()
	switch v.Kind() {
	case reflect.Slice:
		if v.Type().Elem().Kind() != reflect.Uint8 {
			return p.array(v)
		}
		return field{kind: bytesField}, p.grows(v, reflect.ValueOf([]byte{1}), 1)
	case reflect.Pointer:
		if v.Type().Elem().Kind() == reflect.Struct {
			return p.structure(v)
		}
		return field{kind: stringField}, p.grows(v, reflect.ValueOf(kmsg.StringPtr("x")), 1)
	case reflect.String:
		return field{kind: stringField}, p.grows(v, reflect.ValueOf(v.String()+"x"), 1)
	case reflect.Struct:
		f = field{kind: structField, elements: p.fields(v)}
		return f, len(f.elements) > 0
	}
	return field{kind: numberField, size: int(v.Type().Size())}, p.grows(v, other(v), 0)
}

// grows reports whether a value changes what is encoded and makes it longer by n bytes.
func (p probe) grows(v, value reflect.Value, n int) bool {
	before := p.encoded()
	v.Set(value)
	after := p.encoded()
	return len(after)-len(before) == n && !bytes.Equal(before, after)
}

// other is another number, truth value or id than v.
func other(v reflect.Value) reflect.Value {
	o := reflect.New(v.Type()).Elem()
	o.Set(v)
	switch o.Kind() {
	case reflect.Bool:
		o.SetBool(!o.Bool())
	case reflect.Array:
		o.Index(0).SetUint(o.Index(0).Uint() ^ 1)
	default:
		o.SetInt(o.Int() ^ 1)
	}
	return o
}

// array finds out what an array is: its first element adds as much as its second.
func (p probe) array(v reflect.Value) (field, bool) {
	v.Set(reflect.MakeSlice(v.Type(), 0, 2))
	f := field{kind: arrayField, size: int(v.Type().Elem().Size())}
	none := len(p.encoded())
	v.SetLen(1)
	if v.Index(0).Kind() == reflect.Struct {
		f.elements = p.fields(v.Index(0))
	} else {
		f.plain = true
		element, _ := p.field(v.Index(0))
		f.elements = []field{element}
	}
	if !f.plain || f.elements[0].kind == stringField { // numbers cost no more
		f.size += handlingCost
	}
	one := len(p.encoded())
	v.SetLen(2)
	v.Index(1).Set(v.Index(0))
	two := len(p.encoded())
	return f, one > none && two-one == one-none
}

// structure finds out what a struct is that may be null.
func (p probe) structure(v reflect.Value) (field, bool) {
	v.SetZero()
	null := p.encoded()
	v.Set(reflect.New(v.Type().Elem()))
	f := field{kind: structField, size: 1, elements: p.fields(v.Elem())}
	for i, b := range p.encoded() {
		if i < len(null) && b != null[i] {
			return f, null[i] == 0xff // a tagged field would change the number of tagged fields first
		}
	}
	return f, false
}
