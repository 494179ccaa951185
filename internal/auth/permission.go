package auth

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// An Operation is something that a user may be allowed to do; a value may have several.
type Operation uint8

const (
	Describe Operation = 1 << iota // see names, numbers and offsets; each other one implies it
	Consume                        // of a topic: read messages; of a group: be a member, and set its positions
	Publish                        // of a topic: publish messages, which creates it where the broker does that
	Admin                          // create, configure and delete; on topics "*": the broker as a whole
)

// AllOperations are all of them.
const AllOperations = Describe | Consume | Publish | Admin

var operationNames = []string{"describe", "consume", "publish", "admin"}

func (o Operation) String() string { return strings.Join(o.Names(), ",") }

// ParseOperations reads names with commas between them, or "all".
func ParseOperations(text string) (o Operation, err error) {
	if text == "all" {
		return Consume | Publish | Admin, nil
	}
	for name := range strings.SplitSeq(text, ",") {
		i := slices.Index(operationNames, name)
		if i < 0 {
			return 0, fmt.Errorf("%q is no operation: it takes publish, consume, admin or describe, with commas between them, or all", name)
		}
		o |= 1 << i
	}
	return o, nil
}

// Names are those of the operations that a value has.
func (o Operation) Names() []string {
	names := []string{}
	for i, name := range operationNames {
		if o&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// MarshalJSON makes a list of names.
func (o Operation) MarshalJSON() ([]byte, error) { return json.Marshal(o.Names()) }

// UnmarshalJSON reads a list of names, or one text with commas between them.
func (o *Operation) UnmarshalJSON(p []byte) (err error) {
	var text string
	if json.Unmarshal(p, &text) != nil {
		var names []string
		if err := json.Unmarshal(p, &names); err != nil {
			return err
		}
		text = strings.Join(names, ",")
	}
	*o, err = ParseOperations(text)
	return err
}

// A Kind is a kind of what permissions are for.
type Kind string

// The kinds.
const (
	Topic Kind = "topic"
	Group Kind = "group"
)

// A Permission allows operations on all topics, or groups, that a pattern matches. The pattern is a name,
// or the beginning of names and a "*".
type Permission struct {
	Operations Operation `json:"operations"`
	Kind       Kind      `json:"kind"`
	Pattern    string    `json:"pattern"`
}

// maxPattern is the length of the longest pattern, in bytes. Groups of Kafka clients may have longer
// names than topics.
const maxPattern = 1024

// Check says why a permission can't be kept; the error is ErrInvalid.
func (p Permission) Check() error {
	all := map[Kind]Operation{Topic: AllOperations, Group: AllOperations &^ Publish}[p.Kind]
	switch {
	case all == 0:
		return invalid("a permission is for a topic or a group, not for %q", p.Kind)
	case p.Operations == 0:
		return invalid("a permission has one operation at least")
	case p.Operations&^all != 0:
		return invalid("nobody can be allowed to %v a %s", p.Operations&^all, p.Kind)
	case p.Pattern == "" || len(p.Pattern) > maxPattern:
		return invalid("a pattern has 1 to %d bytes: a name, or the beginning of names and *", maxPattern)
	case strings.Contains(p.Pattern[:len(p.Pattern)-1], "*"):
		return invalid("pattern %q: a * stands at the end only", p.Pattern)
	}
	return nil
}

// add adds permissions to others: those of one pattern become one.
func add(to []Permission, more ...Permission) []Permission {
	to = slices.Clone(to)
	at := byPattern(to)
	for _, p := range more {
		if i, found := at[p.pattern()]; found {
			to[i].Operations |= p.Operations
		} else {
			at[p.pattern()] = len(to)
			to = append(to, p)
		}
	}
	slices.SortFunc(to, func(a, b Permission) int {
		return cmp.Or(cmp.Compare(b.Kind, a.Kind), cmp.Compare(a.Pattern, b.Pattern))
	})
	return to
}

// remove takes operations away from the permissions with the same patterns.
func remove(from []Permission, less ...Permission) []Permission {
	from = slices.Clone(from)
	at := byPattern(from)
	for _, p := range less {
		if i, found := at[p.pattern()]; found {
			from[i].Operations &^= p.Operations
		}
	}
	return slices.DeleteFunc(from, func(p Permission) bool { return p.Operations == 0 })
}

// pattern is the permission without operations.
func (p Permission) pattern() Permission { return Permission{0, p.Kind, p.Pattern} }

// byPattern are the indexes of permissions by pattern.
func byPattern(all []Permission) map[Permission]int {
	at := make(map[Permission]int, len(all))
	for i, p := range all {
		at[p.pattern()] = i
	}
	return at
}

// Rules answer what permissions of one kind allow, in a time that does not depend on their number.
type rules struct {
	names    map[string]Operation
	prefixes []prefix // by text
}

// A prefix is the beginning of names. What its own beginnings allow is among its operations.
type prefix struct {
	text   string
	allows Operation
	parent int // the longest other prefix that it begins with; -1 for none
}

func newRules(all []Permission, kind Kind) rules {
	r := rules{names: make(map[string]Operation)}
	for _, p := range add(nil, all...) { // one of a pattern
		if text, isPrefix := strings.CutSuffix(p.Pattern, "*"); p.Kind != kind {
			continue
		} else if isPrefix {
			r.prefixes = append(r.prefixes, prefix{text, p.Operations, -1})
		} else {
			r.names[p.Pattern] |= p.Operations
		}
	}
	slices.SortFunc(r.prefixes, func(a, b prefix) int { return strings.Compare(a.text, b.text) })
	for i := range r.prefixes {
		p := &r.prefixes[i]
		for p.parent = i - 1; p.parent >= 0 && !strings.HasPrefix(p.text, r.prefixes[p.parent].text); {
			p.parent = r.prefixes[p.parent].parent
		}
		if p.parent >= 0 {
			p.allows |= r.prefixes[p.parent].allows
		}
	}
	return r
}

// allowed is what may be done with a name.
func (r *rules) allowed(name string) Operation {
	o := r.names[name]
	i, found := slices.BinarySearchFunc(r.prefixes, name, func(p prefix, name string) int { return strings.Compare(p.text, name) })
	if !found {
		i--
	}
	for ; i >= 0; i = r.prefixes[i].parent {
		if strings.HasPrefix(name, r.prefixes[i].text) {
			o |= r.prefixes[i].allows
			break
		}
	}
	if o != 0 {
		o |= Describe
	}
	return o
}
