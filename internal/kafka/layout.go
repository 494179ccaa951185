package kafka

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
)

// Layouts are how requests look on the wire, from the definitions of the Kafka
// protocol guide. They are walked before a request is decoded: decoding makes room
// for as many elements as an array claims, which for a hostile one is many times
// the bytes that came.
//
// A number is a field of so many bytes, s a string, b bytes (s and b may be null),
// [C … ] an array of elements that cost C bytes of memory each: decoded, and
// answered. @A, @A-B and @-B behind a field say in which versions it is there.
// Tagged fields follow where a version is flexible.
var layouts = parseLayouts(map[int16]string{
	0:  "s@3 2 4 [160 s@-12 16@13 [280 4 b]]",
	1:  "4@-14 4 4 4@3 1@4 4@7 4@7 [160 s@-12 16@13 [280 4 4@9 8 4@12 8@5 4]] [64 s@-12 16@13 [4 4]]@7 s@11",
	2:  "4 1@2 [128 s [120 4 4@4 8 4@-0]] 4@10",
	3:  "[200 16@10 s] 1@4 1@8-10 1@8",
	8:  "s 4@1 s@1 s@7 8@2-4 [128 s@-9 16@10 [160 4 8 8@1-1 4@6 s]]",
	9:  "s@-7 [128 s [96 4]]@-7 [160 s s@9 4@9 [128 s@-9 16@10 [96 4]]]@8 1@7",
	10: "s@-3 1@1 [160 s]@4",
	11: "s 4 4@1 s s@5 s [96 s b] s@8",
	12: "s 4 s s@3",
	13: "s s@-2 [160 s s s@5]@3",
	14: "s 4 s s@3 s@5 s@5 [96 s b]",
	15: "[256 s] 1@3",
	16: "[32 s]@4 [32 s]@5",
	18: "s@3 s@3",
	19: "[512 s 4 2 [64 4 [4 4]] [64 s s]] 4 1@1",
	20: "[200 s]@-5 [200 s 16]@6 4",
	21: "[128 s [64 4 8]] 4",
	22: "s 4 8@3 2@3",
	23: "4@3 [128 s [80 4 4@2 4]]",
	32: "[256 1 s [16 s]] 1@1 1@3",
	33: "[256 1 s [48 s s]] 1",
	35: "[128 s [64 4]]",
	37: "[200 s 4 [48 [4 4]]] 4 1",
	42: "[128 s]",
	44: "[256 1 s [64 s 1 s]] 1",
	47: "s [128 s [64 4]]",
	60: "1 1@1 1@2",
	68: "s s 4 s s 4 [16 s] s@1 s [64 16 [4 4]]",
})

// A field is one part of a layout.
type field struct {
	kind     fieldKind
	size     int // bytes, or cost of an element
	from, to int16
	elements []field
}

type fieldKind int

const (
	fixedField fieldKind = iota
	stringField
	bytesField
	arrayField
)

const anyVersion = 1<<15 - 1

func parseLayouts(texts map[int16]string) map[int16][]field {
	parsed := make(map[int16][]field, len(texts))
	for key, text := range texts {
		text = strings.NewReplacer("[", " [", "]", " ]").Replace(text)
		words := strings.Fields(text)
		parsed[key] = parseFields(&words)
	}
	return parsed
}

// parseFields takes words up to the end of an array, or of all.
func parseFields(words *[]string) (fields []field) {
	for len(*words) > 0 && !strings.HasPrefix((*words)[0], "]") {
		f := parseField((*words)[0])
		*words = (*words)[1:]
		if f.kind == arrayField {
			f.elements = parseFields(words)
			f.from, f.to = parseVersions((*words)[0][1:])
			*words = (*words)[1:]
		}
		fields = append(fields, f)
	}
	return fields
}

func parseField(word string) (f field) {
	word, versions, _ := strings.Cut(word, "@")
	if versions != "" {
		versions = "@" + versions
	}
	f.from, f.to = parseVersions(versions)
	switch word[0] {
	case 's':
		f.kind = stringField
	case 'b':
		f.kind = bytesField
	case '[':
		f.kind, f.size = arrayField, number(word[1:])
	default:
		f.size = number(word)
	}
	return f
}

// parseVersions reads what stands behind a field.
func parseVersions(text string) (from, to int16) {
	if text == "" {
		return 0, anyVersion
	}
	low, high, both := strings.Cut(text[1:], "-")
	to = anyVersion
	if low != "" {
		from = int16(number(low))
	}
	if both {
		to = int16(number(high))
	}
	return from, to
}

// number panics, as the program starts, if a layout is wrong.
func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic("kafka: a layout has " + strconv.Quote(text))
	}
	return n
}

// Bounds of what a decoded request may cost, in bytes: a multiple of what came,
// and some more, so that a request that names many small things is not refused.
const (
	costFactor = 4
	costSlack  = 2 << 20
	tagCost    = 64 // of a tagged field that nobody knows
)

var (
	errLayout = errors.New("the request is not laid out as its version says")
	errCost   = errors.New("the request has too many elements for its size")
)

// checkLayout walks a request's body and returns what it costs in memory.
func checkLayout(key, version int16, flexible bool, p []byte) (cost int, err error) {
	w := newWalk(version, flexible, p)
	w.fields(layouts[key])
	return w.cost, w.err
}

func newWalk(version int16, flexible bool, p []byte) *walk {
	return &walk{version: version, flexible: flexible, p: p, limit: costFactor*len(p) + costSlack}
}

// A walk is what is left of a request.
type walk struct {
	version  int16
	flexible bool
	p        []byte
	cost     int
	limit    int
	err      error
}

func (w *walk) fields(fields []field) {
	for i := range fields {
		if f := &fields[i]; w.err == nil && f.from <= w.version && w.version <= f.to {
			w.field(f)
		}
	}
	if w.flexible && w.err == nil {
		w.tags()
	}
}

func (w *walk) field(f *field) {
	switch f.kind {
	case fixedField:
		w.skip(f.size)
	case stringField:
		w.skip(max(0, w.length(2)))
	case bytesField:
		w.skip(max(0, w.length(4)))
	case arrayField:
		n := max(0, w.length(4))
		if w.pay(n, f.size); w.err != nil {
			return
		}
		for range n {
			if w.err != nil {
				return
			}
			if f.plain() {
				w.field(&f.elements[0])
			} else {
				w.fields(f.elements)
			}
		}
	}
}

// plain says that an array's elements are numbers or strings: they have no tagged
// fields, as structures have.
func (f *field) plain() bool {
	return len(f.elements) == 1 && (f.elements[0].kind == fixedField || f.elements[0].kind == stringField)
}

func (w *walk) skip(n int) {
	if n > len(w.p) {
		w.err = errLayout
		return
	}
	w.p = w.p[n:]
}

// length reads a length of size bytes, or a compact one; -1 is null.
func (w *walk) length(size int) int {
	if w.flexible {
		n, read := binary.Uvarint(w.p)
		if read <= 0 || n > uint64(len(w.p)) {
			w.err = errLayout
			return 0
		}
		w.p = w.p[read:]
		return int(n) - 1
	}
	if len(w.p) < size {
		w.err = errLayout
		return 0
	}
	n := int(int16(binary.BigEndian.Uint16(w.p)))
	if size == 4 {
		n = int(int32(binary.BigEndian.Uint32(w.p)))
	}
	w.p = w.p[size:]
	return n
}

// pay counts what n elements cost. Each has a byte at least.
func (w *walk) pay(n, each int) {
	if n > len(w.p) {
		w.err = errLayout
		return
	}
	if w.cost += n * each; w.cost > w.limit {
		w.err = errCost
	}
}

func (w *walk) tags() {
	count, n := binary.Uvarint(w.p)
	if n <= 0 || count > uint64(len(w.p)) {
		w.err = errLayout
		return
	}
	w.pay(int(count), tagCost)
	if w.err != nil {
		return
	}
	rest, err := skipTags(w.p)
	if w.p = rest; err != nil {
		w.err = errLayout
	}
}
