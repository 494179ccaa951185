package line

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"mbus/internal/group"
	"mbus/internal/record"
)

// A format is how messages travel on a connection.
type format string

const (
	formatLines format = "lines"
	formatJSON  format = "json"
	formatBatch format = "batch"
)

// A request is what the first line of a connection asks for.
type request struct {
	topic  string
	group  string
	format format
	keyed  bool
	n      int64 // messages at most; 0 for all
}

// An option sets a field of the request from its value.
type option func(r *request, value string) error

// The options that each port knows; PROTOCOL.md says what they mean.
var (
	producerOptions = map[string]option{"format": setFormat, "keyed": setKeyed}
	consumerOptions = map[string]option{"format": setFormat, "keyed": setKeyed, "group": setGroup, "n": setN}
)

func setFormat(r *request, value string) error {
	switch r.format = format(value); r.format {
	case formatLines, formatJSON, formatBatch:
		return nil
	}
	return fmt.Errorf("format is %q: it takes lines, json or batch", value)
}

func setKeyed(r *request, value string) error {
	if value != "" {
		return fmt.Errorf("keyed takes no value, not %q", value)
	}
	r.keyed = true
	return nil
}

func setGroup(r *request, value string) error {
	r.group = value
	return record.CheckName("group", value)
}

func setN(r *request, value string) error {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 1 {
		return fmt.Errorf("n is %q: it takes a number from 1", value)
	}
	r.n = n
	return nil
}

// parseRequest reads a request line, without its LF.
func parseRequest(line []byte, options map[string]option) (*request, error) {
	line = bytes.TrimSuffix(line, []byte("\r"))
	if name := foreign(line); name != "" {
		return nil, fmt.Errorf("this is mbus's line protocol, not %s", name)
	}
	topic, query, hasQuery := strings.Cut(string(line), "?")
	if err := record.CheckName("topic", topic); err != nil {
		return nil, err
	}
	r := &request{topic: topic, group: group.Default, format: formatLines}
	if !hasQuery {
		return r, nil
	}
	seen := make(map[string]bool)
	for _, o := range strings.Split(query, "&") {
		name, value, _ := strings.Cut(o, "=")
		set := options[name]
		if set == nil {
			return nil, fmt.Errorf("unknown option %q: this port knows %s", name, known(options))
		}
		if seen[name] {
			return nil, fmt.Errorf("option %q is given twice", name)
		}
		seen[name] = true
		value, err := url.QueryUnescape(value)
		if err != nil {
			return nil, fmt.Errorf("option %q: %w", name, err)
		}
		if err := set(r, value); err != nil {
			return nil, err
		}
	}
	if r.keyed && r.format != formatLines {
		return nil, errors.New("keyed goes with format=lines: the other formats have keys of their own")
	}
	return r, nil
}

func known(options map[string]option) string {
	names := make([]string, 0, len(options))
	for name := range options {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// foreign names the protocol that p is the beginning of, if it is one that
// other programs can be made to speak to this port; browsers above all.
func foreign(p []byte) string {
	switch {
	case len(p) > 0 && p[0] == 0x16: // a TLS handshake record
		return "TLS"
	case bytes.HasPrefix(p, []byte("SSH-")):
		return "SSH"
	case bytes.HasPrefix(bytes.ToLower(p), []byte("host:")):
		return "HTTP"
	}
	verb, rest, ok := bytes.Cut(p, []byte(" "))
	if ok && (bytes.Contains(rest, []byte("HTTP/")) || slices.Contains(verbs, string(verb))) {
		return "HTTP"
	}
	return ""
}

// verbs are the methods of RFC 9110 and RFC 5789.
var verbs = []string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
