package message

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"unicode/utf8"

	"mbus/internal/batch"
)

// partitionKey is the attribute that becomes the key of a record.
const partitionKey = "partitionkey"

// ParseCloudEvent makes a record of an event in the JSON format of CloudEvents 1.0, as the Kafka binding has
// it in binary mode: attributes become headers that begin with ce_, and partitionkey is the key, too.
func ParseCloudEvent(p []byte) (m Parsed, err error) {
	if !utf8.Valid(p) {
		return m, errors.New("a cloud event is JSON in UTF-8")
	}
	members, err := membersOf(p)
	if err != nil {
		return m, fmt.Errorf("a cloud event is one JSON object: %w", err)
	}
	e := CloudEvent{}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if name == "data" || name == "data_base64" || string(members[name]) == "null" {
			continue
		}
		value, err := attributeText(members[name])
		if err != nil {
			return m, fmt.Errorf("attribute %q: %w", name, err)
		}
		if name == "datacontenttype" {
			e.Type = value
			continue
		}
		e.set(name, value)
	}
	if err := e.readData(members); err != nil {
		return m, err
	}
	return e.Record()
}

// maxMembers bounds the members and attributes of an event: each takes some 100 bytes in memory, however
// short it is, and is looked for among those before. An event has ten or twenty.
const maxMembers = 256

// membersOf reads a JSON object.
func membersOf(p []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(p))
	members := make(map[string]json.RawMessage)
	if err := begins(d, '{'); err != nil {
		return nil, err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		if _, twice := members[name.(string)]; twice {
			return nil, fmt.Errorf("it has member %q twice", name)
		}
		if members[name.(string)] = value; len(members) > maxMembers {
			return nil, fmt.Errorf("it has more than %d members", maxMembers)
		}
	}
	return members, ends(d)
}

// begins reads the first token of a document.
func begins(d *json.Decoder, want json.Delim) error {
	t, err := d.Token()
	if err == nil && t != want {
		err = fmt.Errorf("it begins with %v, not with %v", t, want)
	}
	return err
}

// ends reads the last token of a document, behind which nothing may be.
func ends(d *json.Decoder) error {
	if _, err := d.Token(); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows it")
	}
	return nil
}

// SplitCloudEvents appends each event of a batch, which is a JSON array, in a line.
func SplitCloudEvents(lines, p []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(p))
	if err := begins(d, '['); err != nil {
		return nil, err
	}
	out := bytes.NewBuffer(lines)
	for d.More() {
		var event json.RawMessage
		if err := d.Decode(&event); err != nil {
			return nil, err
		}
		if err := json.Compact(out, event); err != nil {
			return nil, err
		}
		out.WriteByte('\n')
	}
	return out.Bytes(), ends(d)
}

// attributeText is the value of an attribute as text: a string, a number or a truth value has one.
func attributeText(p json.RawMessage) (string, error) {
	switch p[0] {
	case '{', '[':
		return "", errors.New("it takes a string, a number, true or false")
	case '"':
		var s string
		err := json.Unmarshal(p, &s)
		return s, err
	}
	if bytes.ContainsAny(p, ".eE") && p[0] != 't' && p[0] != 'f' {
		return "", errors.New("a number is a whole one")
	}
	return string(p), nil
}

// readData reads the data of an event. Data without a type is JSON.
func (e *CloudEvent) readData(members map[string]json.RawMessage) (err error) {
	data, encoded := members["data"], members["data_base64"]
	hasData, isEncoded := len(data) > 0 && string(data) != "null", len(encoded) > 0 && string(encoded) != "null"
	switch {
	case hasData && isEncoded:
		return errors.New(`"data" and "data_base64" exclude each other`)
	case isEncoded:
		var text string
		if err := json.Unmarshal(encoded, &text); err != nil {
			return errors.New(`"data_base64" takes a string`)
		}
		if e.Data, err = base64.StdEncoding.DecodeString(text); err != nil {
			return errors.New(`"data_base64" is not base64`)
		}
	case hasData && e.Type == "":
		e.Type, e.Data = "application/json", data
	case hasData && data[0] == '"' && !isJSON(e.Type):
		var text string
		if err := json.Unmarshal(data, &text); err != nil {
			return err
		}
		e.Data = []byte(text)
	case hasData:
		e.Data = data
	}
	return nil
}

// Record makes a record of an event. The error says which attribute is missing, or wrong.
func (e *CloudEvent) Record() (m Parsed, err error) {
	for _, name := range []string{"specversion", "id", "source", "type"} {
		if e.index(name) < 0 {
			return m, fmt.Errorf("a cloud event has attribute %q", name)
		}
	}
	if IsEventFormat(e.Type) { // in the log it would be taken for a whole event, without the attributes
		return m, fmt.Errorf("attribute %q: the data can't be an event of its own", "datacontenttype")
	}
	if len(e.Attributes) > maxMembers {
		return m, fmt.Errorf("a cloud event has at most %d attributes", maxMembers)
	}
	m.Value = e.Data
	for i, a := range e.Attributes {
		if err := a.check(); err != nil {
			return m, fmt.Errorf("attribute %q: %w", a.Name, err)
		}
		if e.index(a.Name) < i {
			return m, fmt.Errorf("attribute %q is there twice", a.Name)
		}
		if a.Name == partitionKey {
			m.Key = []byte(a.Value)
		}
		m.Headers = append(m.Headers, batch.Header{Key: AttributePrefix + a.Name, Value: []byte(a.Value)})
	}
	if e.Type != "" {
		m.Headers = append(m.Headers, batch.Header{Key: ContentType, Value: []byte(e.Type)})
	}
	return m, nil
}
