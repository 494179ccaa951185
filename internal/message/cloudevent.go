package message

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"mbus/internal/batch"
)

// A CloudEvent is a record as an event of CloudEvents 1.0. In the log it is as the Kafka binding has
// it: attributes in headers that begin with ce_, or a whole event as JSON. Any other record is an
// event, too: the attributes that each event must have are made of where the record lies.
type CloudEvent struct {
	Attributes []Attribute // by the order of the headers, and then those that were made
	Type       string      // of the data; "" for an unknown one
	Data       []byte      // nil for none
	Whole      bool        // Data is the whole event as JSON, and there are no attributes
}

// An Attribute has a name of CloudEvents, and a value in UTF-8.
type Attribute struct{ Name, Value string }

const (
	// AttributePrefix is the beginning of the key of a header with an attribute.
	AttributePrefix = "ce_"
	// ContentType is the key of the header with the type of the data.
	ContentType = "content-type"
	// TypeCloudEvent is the type of a whole event.
	TypeCloudEvent = "application/cloudevents+json"
)

// ReadCloudEvent makes an event of a record, which it refers to.
func ReadCloudEvent(from Origin, r *batch.Record) CloudEvent {
	e := CloudEvent{Data: r.Value}
	for k, v := range r.Headers() {
		name, isAttribute := strings.CutPrefix(string(k), AttributePrefix)
		switch {
		case strings.EqualFold(string(k), ContentType):
			e.Type = strings.ToValidUTF8(string(v), "\uFFFD")
		case isAttribute && len(e.Attributes) < maxMembers: // no event has more
			if a := (Attribute{name, strings.ToValidUTF8(string(v), "\uFFFD")}); a.check() == nil {
				e.set(a.Name, a.Value)
			}
		}
	}
	if isMedia(e.Type, TypeCloudEvent) && isObject(r.Value) {
		return CloudEvent{Type: e.Type, Data: r.Value, Whole: true}
	}
	e.complete(from, r)
	return e
}

// complete adds the attributes that are missing.
func (e *CloudEvent) complete(from Origin, r *batch.Record) {
	e.add("specversion", "1.0")
	e.add("id", strconv.Itoa(from.Partition)+":"+strconv.FormatInt(r.Offset, 10))
	e.add("source", "/topics/"+from.Topic)
	if e.add("type", "mbus.message") && e.index("time") < 0 {
		if at := time.UnixMilli(r.Timestamp).UTC(); 0 <= at.Year() && at.Year() <= 9999 {
			e.add("time", at.Format("2006-01-02T15:04:05.000Z07:00"))
		}
	}
	if r.Key != nil && utf8.Valid(r.Key) {
		e.add("partitionkey", string(r.Key))
	}
}

func (e *CloudEvent) index(name string) int {
	for i := range e.Attributes {
		if e.Attributes[i].Name == name {
			return i
		}
	}
	return -1
}

// set sets an attribute: of several headers the last one counts.
func (e *CloudEvent) set(name, value string) {
	if i := e.index(name); i >= 0 {
		e.Attributes[i].Value = value
		return
	}
	e.Attributes = append(e.Attributes, Attribute{name, value})
}

// add adds an attribute, unless it is there.
func (e *CloudEvent) add(name, value string) bool {
	if e.index(name) >= 0 {
		return false
	}
	e.Attributes = append(e.Attributes, Attribute{name, value})
	return true
}

// check finds what no attribute may be. The error does not have the name.
func (a Attribute) check() error {
	switch {
	case !isAttributeName(a.Name) || !utf8.ValidString(a.Value):
		return errors.New("a name takes a-z and 0-9, and a value UTF-8")
	case a.Name == "specversion" && a.Value != "1.0":
		return fmt.Errorf("it takes 1.0, not %q", a.Value)
	case a.Value == "" && slices.Contains([]string{"id", "source", "type", "subject", "dataschema"}, a.Name):
		return errors.New("it is empty")
	case a.Name == "time":
		// RFC 3339 has leap seconds, and package time does not.
		if _, err := time.Parse(time.RFC3339, strings.Replace(a.Value, ":60", ":59", 1)); err != nil {
			return fmt.Errorf("it takes a time such as 2026-11-22T10:00:00Z, not %q", a.Value)
		}
	}
	return nil
}

// isAttributeName says whether a name may be that of an attribute, and none of the JSON format's own.
func isAttributeName(name string) bool {
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return name != "" && name != "data" && name != "datacontenttype"
}

// isMedia says whether a content type is of a media type, whatever its parameters are.
func isMedia(contentType, media string) bool {
	t, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(t), media)
}

// IsEventFormat says whether a media type is that of whole events, in any format.
func IsEventFormat(media string) bool {
	return len(media) >= len(eventFormats) && strings.EqualFold(media[:len(eventFormats)], eventFormats)
}

// eventFormats is the beginning of the media type of events in whichever format.
const eventFormats = "application/cloudevents"

func isObject(p []byte) bool {
	return json.Valid(p) && utf8.Valid(p) && bytes.TrimLeft(p, " \t\r\n")[0] == '{'
}

// isJSON says whether data of a content type is JSON.
func isJSON(contentType string) bool {
	t, _, _ := strings.Cut(contentType, ";")
	t = strings.ToLower(strings.TrimSpace(t))
	return strings.HasSuffix(t, "/json") || strings.HasSuffix(t, "+json")
}

// AppendJSON appends the event in the JSON format of CloudEvents, on one line without LF.
func (e *CloudEvent) AppendJSON(dst []byte) []byte {
	if e.Whole {
		return appendCompact(dst, e.Data)
	}
	sep := byte('{')
	for _, a := range e.Attributes {
		dst = appendString(append(dst, sep), a.Name)
		dst = appendString(append(dst, ':'), a.Value)
		sep = ','
	}
	if e.Type != "" {
		dst = appendString(append(dst, `,"datacontenttype":`...), e.Type)
	}
	switch {
	case e.Data == nil:
	case !utf8.Valid(e.Data):
		dst = base64.StdEncoding.AppendEncode(append(dst, `,"data_base64":"`...), e.Data)
		dst = append(dst, '"')
	case isJSON(e.Type) && json.Valid(e.Data):
		dst = appendCompact(append(dst, `,"data":`...), e.Data)
	default:
		dst = appendString(append(dst, `,"data":`...), e.Data)
	}
	return append(dst, '}')
}

// appendCompact appends JSON, which is valid, on one line.
func appendCompact(dst, p []byte) []byte {
	b := bytes.NewBuffer(dst)
	if err := json.Compact(b, p); err != nil {
		panic(err)
	}
	return b.Bytes()
}
