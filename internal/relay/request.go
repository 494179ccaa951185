package relay

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"mbus/internal/broker"
	"mbus/internal/units"
)

// A request is what the first lines of a client ask for, as far as a relay has to know it.
type request struct {
	line     []byte // that of the request, without its end, nor the numbers of its messages
	first    uint64 // number of the client's first message
	producer int64  // id of the stream of numbers
	isOwn    bool   // the client has not numbered them: the relay has
	isNew    bool   // nothing was sent of the stream before
	isBatch  bool   // format=batch
}

// parse reads the line of a request, without its LF. It reports false for one that an owner refuses, or that can't have
// numbers: then what the client sends is passed on as it is.
func parse(line []byte) (*request, bool) {
	line = bytes.TrimSuffix(line, []byte("\r"))
	topic, query, hasQuery := strings.Cut(string(line), "?")
	if topic == "" || strings.ContainsAny(topic, " \t") {
		return nil, false
	}
	r := &request{first: 1}
	kept := topic
	sign := "?"
	seen := make(map[string]bool)
	for o := range strings.SplitSeq(query, "&") {
		if !hasQuery {
			break
		}
		name, value, _ := strings.Cut(o, "=")
		if seen[name] {
			return nil, false
		}
		seen[name] = true
		switch n, err := strconv.ParseInt(value, 10, 64); {
		case name != "producer" && name != "first" && name != "new":
			kept, sign = kept+sign+o, "&"
			if plain, err := units.Unescape(value); err == nil && name == "format" {
				r.isBatch = plain == "batch"
			}
		case name == "new" && value == "":
			r.isNew = true
		case err != nil || n < 1 || value[0] == '+':
			return nil, false
		case name == "producer":
			r.producer = n
		default:
			r.first = uint64(n)
		}
	}
	if r.producer == 0 {
		if seen["first"] || seen["new"] {
			return nil, false
		}
		r.isOwn, r.isNew, r.producer = true, true, rand.Int64()|1
	}
	r.line = []byte(kept)
	return r, len(line)+maxNumbers < broker.RequestLine
}

// maxNumbers is the most bytes that text adds to a line.
const maxNumbers = len("&producer=9223372036854775807&first=9223372036854775807&new\n")

// text is the line of the request for messages from number first on. The owner need not look for what was stored of a new
// stream.
func (r *request) text(first uint64, isNew bool) []byte {
	sign := "?"
	if bytes.IndexByte(r.line, '?') >= 0 {
		sign = "&"
	}
	text := fmt.Appendf(nil, "%s%sproducer=%d&first=%d", r.line, sign, r.producer, first)
	if isNew {
		text = append(text, "&new"...)
	}
	return append(text, '\n')
}

// isLogin says whether a line is one of AUTH, which may stand before the request.
func isLogin(line []byte) bool {
	const verb = "AUTH"
	return len(line) > len(verb) && bytes.EqualFold(line[:len(verb)], []byte(verb)) && (line[len(verb)] == ' ' || line[len(verb)] == '\t')
}
