package units

import (
	"fmt"
	"net/url"
	"strings"
)

// Escape writes the value of an option of a request line: a blank is %20, and characters with a
// meaning there, such as &, %, + and line feeds, are escaped as well.
func Escape(value string) string {
	return strings.ReplaceAll(url.QueryEscape(value), "+", "%20")
}

// Unescape reads the value of an option. It keeps plus signs, because times have them.
func Unescape(value string) (string, error) {
	v, err := url.PathUnescape(value)
	if err != nil {
		return "", fmt.Errorf("%w: a percent sign is written %%25", err)
	}
	return v, nil
}

// A Request is a request line of the line protocol while it is written: a topic or a command, and
// options. Names of topics need no escaping; see message.CheckName.
type Request struct {
	line    strings.Builder
	options int
}

// NewRequest begins a request for a topic, or an administrative one for a command, which begins with
// a question mark.
func NewRequest(subject string) *Request {
	r := new(Request)
	r.line.WriteString(subject)
	if strings.HasPrefix(subject, "?") {
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
