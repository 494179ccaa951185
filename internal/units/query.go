package units

import (
	"fmt"
	"net/url"
	"strings"
)

// Escape writes the value of an option of a request line: a blank is %20, and what
// stands for itself there, such as &, %, + and line feeds, has its two digits, too.
func Escape(value string) string {
	return strings.ReplaceAll(url.QueryEscape(value), "+", "%20")
}

// Unescape reads the value of an option. A plus sign stays one, because times have
// them.
func Unescape(value string) (string, error) {
	v, err := url.PathUnescape(value)
	if err != nil {
		return "", fmt.Errorf("%w: a percent sign is written %%25", err)
	}
	return v, nil
}

// A Request is a line of the line protocol that is being written: what it is about,
// and options. Names of topics need no escaping; see message.CheckName.
type Request struct {
	line    strings.Builder
	options int
}

// NewRequest begins a request: about a topic, or of administration if what begins
// with a question mark.
func NewRequest(what string) *Request {
	r := new(Request)
	r.line.WriteString(what)
	if strings.HasPrefix(what, "?") {
		r.options++
	}
	return r
}

// Option adds an option with its value.
func (r *Request) Option(name, value string) {
	r.Word(name)
	r.line.WriteString("=" + Escape(value))
}

// Word adds an option that has no value.
func (r *Request) Word(name string) {
	separator := "&"
	if r.options == 0 {
		separator = "?"
	}
	r.options++
	r.line.WriteString(separator + name)
}

// String is the line, with its LF.
func (r *Request) String() string { return r.line.String() + "\n" }
