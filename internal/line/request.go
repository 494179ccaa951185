package line

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"mbus/internal/broker"
	"mbus/internal/delivery"
	"mbus/internal/group"
	"mbus/internal/message"
	"mbus/internal/units"
)

// A format is how messages travel on a connection.
type format string

const (
	formatLines format = "lines"
	formatJSON  format = "json"
	formatBatch format = "batch"
)

// A request is what the first line of a connection asks for. PROTOCOL.md says
// what the options mean.
type request struct {
	topic  string
	id     *broker.TopicID // of the topic; nil for any
	group  string
	format format
	keyed  bool

	deliver delivery.Options // consumers
	redrive bool
	toAll   bool // a redrive publishes letters to all groups, not to the one that failed each

	at    time.Time     // producers: when the messages are due; zero for at once
	delay time.Duration // or so long after they have come

	stream broker.StreamRequest // producers: that the messages are numbered in; ID is 0 for none
	admin  *adminRequest        // nil for messages

	now   time.Time       // when the request came, by the broker's clock
	named map[string]bool // the options that were given
}

// An option sets a field of the request from its value.
type option func(r *request, value string) error

// The options that each port knows, and each kind of administration.
var (
	producerOptions = map[string]option{
		"format": setFormat, "keyed": setKeyed, "delay": setDelay, "at": setAt,
		"id": setID, "producer": setProducer, "first": setFirst, "new": set(func(r *request) { r.stream.New = true }),
	}
	consumerOptions = map[string]option{
		"format": setFormat, "keyed": setKeyed, "group": setGroup, "id": setID, "n": setN,
		"partition": setPartition,
		"follow":    set(func(r *request) { r.deliver.Follow = true }), "ack": set(func(r *request) { r.deliver.Ack = true }),
		"confirm": set(func(r *request) { r.deliver.Confirm = true }), "ordered": set(func(r *request) { r.deliver.Ordered = true }),
		"redrive": set(func(r *request) { r.redrive = true }), "to": setTo,
		"start": setStart, "from": setFrom, "window": setWindow, "ack-timeout": setAckTimeout,
		"retry": setRetry, "attempts": setAttempts,
	}
)

// set is an option without a value.
func set(f func(*request)) option {
	return func(r *request, value string) error {
		if value != "" {
			return fmt.Errorf("it takes no value, not %q", value)
		}
		f(r)
		return nil
	}
}

func setStart(r *request, value string) error {
	if value != "beginning" && value != "end" {
		return fmt.Errorf("it takes beginning or end, not %q", value)
	}
	r.deliver.StartEnd = value == "end"
	return nil
}

func setTo(r *request, value string) error {
	if value != "all" && value != "group" {
		return fmt.Errorf("it takes group, the one that failed each letter, or all, not %q", value)
	}
	r.toAll = value == "all"
	return nil
}

func setFrom(r *request, value string) (err error) {
	r.deliver.From, err = parseFrom(value, r.now)
	return err
}

// setPartition reads the numbers of partitions: N, or a list of them with commas between.
func setPartition(r *request, value string) error {
	for text := range strings.SplitSeq(value, ",") {
		n, err := number(text, 0)
		if err != nil {
			return err
		}
		r.deliver.Partitions = append(r.deliver.Partitions, int(min(n, math.MaxInt32))) // a topic has fewer
	}
	slices.Sort(r.deliver.Partitions)
	r.deliver.Partitions = slices.Compact(r.deliver.Partitions)
	return nil
}

// parseFrom reads a position; nil is the group's, which kcat calls stored. A time without a
// zone is UTC.
func parseFrom(value string, now time.Time) (*units.Position, error) {
	if value == "stored" {
		return nil, nil
	}
	p, err := units.ParsePosition(value, now, time.UTC)
	if err != nil {
		return nil, fmt.Errorf("%w, not %q", err, value)
	}
	return p, nil
}

// maxWindow is the largest window, in messages: what a client has not acknowledged takes
// memory of the broker.
const maxWindow = 100_000

func setWindow(r *request, value string) error {
	n, err := number(value, 1)
	r.deliver.Window = min(n, maxWindow)
	return err
}

func setAttempts(r *request, value string) error {
	n, err := number(value, 0)
	r.deliver.Retry.Attempts = int(min(n, math.MaxInt32))
	return err
}

// number reads a decimal number that is at least the least.
func number(value string, least int64) (int64, error) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < least || value[0] == '+' {
		return 0, fmt.Errorf("it takes a number from %d, not %q", least, value)
	}
	return n, nil
}

func setAckTimeout(r *request, value string) (err error) {
	r.deliver.AckTimeout, err = duration(value)
	return err
}

func setRetry(r *request, value string) (err error) {
	r.deliver.Retry.Backoff, err = duration(value)
	r.deliver.Retry.Bound = max(r.deliver.Retry.Backoff, broker.RetryBound)
	return err
}

// duration reads one that is above 0.
func duration(value string) (time.Duration, error) {
	d, err := units.ParseDuration(value)
	if err == nil && d == 0 {
		err = errors.New("it takes a duration above 0")
	}
	if err != nil {
		return 0, fmt.Errorf("%w, not %q", err, value)
	}
	return d, nil
}

func setDelay(r *request, value string) (err error) {
	r.delay, err = duration(value)
	return err
}

func setAt(r *request, value string) error {
	at, err := units.ParseTime(value, time.UTC)
	if err != nil {
		return fmt.Errorf("%w, not %q", err, value)
	}
	r.at = at
	if _, err := strconv.ParseUint(value, 10, 64); err == nil {
		_, err = broker.ParseDeliverAt(value) // which knows seconds from milliseconds
		return err
	}
	return nil
}

func setFormat(r *request, value string) error {
	switch r.format = format(value); r.format {
	case formatLines, formatJSON, formatBatch:
		return nil
	}
	return fmt.Errorf("it takes lines, json or batch, not %q", value)
}

func setKeyed(r *request, value string) error {
	return set(func(r *request) { r.keyed = true })(r, value)
}

func setGroup(r *request, value string) error {
	r.group = value
	return message.CheckName("group", value)
}

func setN(r *request, value string) (err error) {
	r.deliver.N, err = number(value, 1)
	return err
}

// parseRequest reads a request line, without its LF, that came at the time now.
func parseRequest(line []byte, options map[string]option, now time.Time) (*request, error) {
	line = bytes.TrimSuffix(line, []byte("\r"))
	if err := foreign(line); err != nil {
		return nil, err
	}
	if bytes.HasPrefix(line, []byte(message.ByteOrderMark)) {
		return nil, errors.New("a byte order mark (EF BB BF) is before the topic: save the text as UTF-8 without it")
	}
	topic, query, hasQuery := strings.Cut(string(line), "?")
	r := &request{topic: topic, group: group.Default, format: formatLines, now: now, named: make(map[string]bool)}
	r.stream.First = 1
	r.deliver.Retry = group.Retry{Backoff: broker.RetryBackoff, Bound: broker.RetryBound, Attempts: broker.RetryAttempts}
	if topic == "" && hasQuery && options["group"] != nil {
		return r, r.parseAdmin(query)
	}
	if topic == "" && hasQuery {
		return nil, errors.New("this is the port for producers: requests of administration go to the port for consumers, which is 9991 by default")
	}
	if err := message.CheckName("topic", topic); err != nil {
		return nil, err
	}
	if hasQuery {
		if err := r.parseOptions(query, options); err != nil {
			return nil, err
		}
	}
	return r, r.check()
}

func (r *request) parseOptions(query string, options map[string]option) error {
	for _, o := range strings.Split(query, "&") {
		name, value, _ := strings.Cut(o, "=")
		set := options[name]
		if set == nil {
			return unknown(name, options)
		}
		if r.named[name] {
			return fmt.Errorf("option %q is given twice", name)
		}
		r.named[name] = true
		value, err := units.Unescape(value)
		if err == nil {
			err = set(r, value)
		}
		if err != nil {
			return fmt.Errorf("option %q: %w", name, err)
		}
	}
	return nil
}

// without lists options, and the option that each needs.
var without = []struct{ options, needed string }{
	{"confirm", "ack"},
	{"ordered", "ack"},
	{"window", "ack"},
	{"ack-timeout", "ack"},
	{"retry", "ack"},
	{"attempts", "ack"},
	{"to", "redrive"},
	{"first", "producer"},
	{"new", "producer"},
}

// exclusive lists pairs of options that exclude each other.
var exclusive = [][2]string{
	{"from", "group"},
	{"from", "ack"},
	{"from", "start"},
	{"redrive", "ack"},
	{"redrive", "follow"},
	{"redrive", "from"},
	{"delay", "at"},
}

// check finds options that don't go together.
func (r *request) check() error {
	if r.keyed && r.format != formatLines {
		return errors.New("keyed goes with format=lines: the other formats have keys of their own")
	}
	if r.deliver.Confirm && r.format == formatLines {
		return errors.New("confirm goes with format=json or format=batch: among lines it looks like a message")
	}
	for _, w := range without {
		if r.named[w.options] && !r.named[w.needed] {
			return fmt.Errorf("option %q goes with %q", w.options, w.needed)
		}
	}
	for _, e := range exclusive {
		if r.named[e[0]] && r.named[e[1]] && (e[0] != "from" || r.deliver.From != nil) {
			return fmt.Errorf("options %q and %q exclude each other", e[0], e[1])
		}
	}
	if r.redrive && !r.named["group"] {
		r.group = broker.RedriveGroup
	}
	if r.redrive && !strings.HasSuffix(r.topic, message.DeadLetters) {
		return fmt.Errorf("option %q goes with a topic that ends in %q", "redrive", message.DeadLetters)
	}
	return nil
}

// unknown is the error for an option that the port does not have. It lists those that it has,
// or names the other port.
func unknown(name string, options map[string]option) error {
	switch {
	case options["delay"] != nil && consumerOptions[name] != nil:
		return fmt.Errorf("option %q is for consumers, and this is the port for producers: that for consumers is 9991 by default", name)
	case options["n"] != nil && producerOptions[name] != nil:
		return fmt.Errorf("option %q is for producers, and this is the port for consumers: that for producers is 9990 by default", name)
	}
	return fmt.Errorf("unknown option %q: this port knows %s", name, known(options))
}

func known(options map[string]option) string {
	names := make([]string, 0, len(options))
	for name := range options {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// errHTTP says that a client speaks HTTP.
var errHTTP = errors.New("this is mbus's line protocol, not HTTP")

// foreign is the error for input that begins like another protocol. Browsers, above all, can be
// made to send one to this port.
func foreign(p []byte) error {
	verb, rest, ok := bytes.Cut(p, []byte(" "))
	switch {
	case len(p) > 0 && p[0] == 0x16: // a TLS handshake record
		return errors.New("this is mbus's line protocol, without TLS")
	case len(p) >= 4 && p[0] == 0 && p[1] == 0: // the size of a request
		return errors.New("this is mbus's line protocol: the port for Kafka clients is 9092 by default")
	case bytes.HasPrefix(p, []byte("SSH-")):
		return errors.New("this is mbus's line protocol, not SSH")
	case bytes.HasPrefix(bytes.ToLower(p), []byte("host:")), ok && (bytes.Contains(rest, []byte("HTTP/")) || slices.Contains(verbs, string(verb))):
		return errHTTP
	}
	return nil
}

// verbs are the methods of RFC 9110 and RFC 5789.
var verbs = []string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
