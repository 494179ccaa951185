package web

import (
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// document is the OpenAPI document of a rig's server.
func (r *rig) document() object {
	r.Helper()
	return get[object](r, "GET", "/openapi.json", "")
}

// at goes down a document.
func at(v any, path ...string) any {
	for _, name := range path {
		m, ok := v.(object)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

// each calls f with each operation of a document.
func each(doc object, f func(path, method string, op object)) {
	paths := at(doc, "paths").(object)
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		item := paths[path].(object)
		for _, method := range slices.Sorted(maps.Keys(item)) {
			f(path, method, item[method].(object))
		}
	}
}

func TestTheOpenAPIDocumentIsWellFormed(t *testing.T) {
	r := newRig(t, Options{Version: "1.2.3"})
	doc := r.document()
	if doc["openapi"] != "3.1.0" || at(doc, "info", "title") != "mbus" || at(doc, "info", "version") != "1.2.3" {
		t.Errorf("openapi %v, info %v", doc["openapi"], doc["info"])
	}
	tags := make(map[any]bool)
	for _, tag := range doc["tags"].([]any) {
		if name := at(tag, "name"); tags[name] || name == "" {
			t.Errorf("tag %q is there twice, or has no name", name)
		} else {
			tags[name] = true
		}
	}
	ids := make(map[any]bool)
	each(doc, func(path, method string, op object) {
		name := method + " " + path
		if !slices.Contains([]string{"get", "post", "put", "patch", "delete"}, method) || !strings.HasPrefix(path, "/") || strings.Contains(path, "...") {
			t.Errorf("%s is no operation", name)
		}
		if id := op["operationId"]; ids[id] || id == nil || id == "" {
			t.Errorf("%s: operationId %v is there twice, or missing", name, id)
		}
		ids[op["operationId"]] = true
		if of := op["tags"].([]any); len(of) != 1 || !tags[of[0]] {
			t.Errorf("%s has the tags %v", name, of)
		}
		if op["summary"] == "" {
			t.Errorf("%s has no summary", name)
		}
		checkParameters(t, name, path, op)
		checkResponses(t, name, op)
	})
	if len(ids) < 15 {
		t.Errorf("only %d operations", len(ids))
	}
	checkSchemas(t, doc, doc)
}

// checkParameters compares the parameters of a path with those that are described.
func checkParameters(t *testing.T, name, path string, op object) {
	inPath := make(map[any]bool)
	for _, m := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
		inPath[m[1]] = true
	}
	seen := make(map[string]bool)
	params, _ := op["parameters"].([]any)
	for _, p := range params {
		in, of := at(p, "in"), at(p, "name")
		key := fmt.Sprint(in, " ", of)
		if seen[key] || at(p, "schema") == nil {
			t.Errorf("%s: parameter %s is there twice, or has no schema", name, key)
		}
		seen[key] = true
		switch in {
		case "path":
			if !inPath[of] || at(p, "required") != true {
				t.Errorf("%s: parameter %s of the path is not there, or not required", name, of)
			}
			delete(inPath, of)
		case "query", "header":
			if about, _ := at(p, "description").(string); about == "" {
				t.Errorf("%s: parameter %s has no description", name, of)
			}
		default:
			t.Errorf("%s: parameter %s is in %v", name, of, in)
		}
	}
	if len(inPath) > 0 {
		t.Errorf("%s: parameters of the path without a description: %v", name, inPath)
	}
}

func checkResponses(t *testing.T, name string, op object) {
	responses := op["responses"].(object)
	if len(responses) < 2 {
		t.Errorf("%s has %d responses: one of success and the default", name, len(responses))
	}
	for status, response := range responses {
		if about, _ := at(response, "description").(string); about == "" {
			t.Errorf("%s: response %s has no description", name, status)
		}
		content, _ := at(response, "content").(object)
		for media := range content {
			if _, _, err := mime.ParseMediaType(media); err != nil {
				t.Errorf("%s: response %s: %v: %q", name, status, err, media)
			}
		}
	}
}

// checkSchemas looks for references that lead nowhere, and types that JSON has not.
func checkSchemas(t *testing.T, doc object, v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			checkSchemas(t, doc, e)
		}
	case object:
		if ref, ok := v["$ref"].(string); ok && at(doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...) == nil {
			t.Errorf("%s leads nowhere", ref)
		}
		for _, name := range slices.Collect(strings.SplitSeq(fmt.Sprint(v["type"]), " ")) {
			known := []string{"string", "integer", "number", "boolean", "array", "object", "null"}
			if name = strings.Trim(name, "[]"); v["properties"] != nil && v["type"] != nil && !slices.Contains(known, name) {
				t.Errorf("type %q", name)
			}
		}
		for _, e := range v {
			checkSchemas(t, doc, e)
		}
	}
}

// fitsSchema reports, by an error, whether a JSON value has the schema.
func fitsSchema(doc object, schema, v any) error {
	s, _ := schema.(object)
	if ref, ok := s["$ref"].(string); ok {
		return fitsSchema(doc, at(doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...), v)
	}
	if any, ok := s["anyOf"].([]any); ok {
		var err error
		for _, one := range any {
			if err = fitsSchema(doc, one, v); err == nil {
				return nil
			}
		}
		return err
	}
	if s["type"] == nil {
		return nil
	}
	kind := map[reflect.Kind]string{reflect.Invalid: "null", reflect.String: "string", reflect.Float64: "number", reflect.Bool: "boolean", reflect.Slice: "array", reflect.Map: "object"}[reflect.ValueOf(v).Kind()]
	if f, ok := v.(float64); ok && f == float64(int64(f)) && strings.Contains(fmt.Sprint(s["type"]), "integer") {
		kind = "integer"
	}
	if !strings.Contains(fmt.Sprint(s["type"]), kind) {
		return fmt.Errorf("%v is not of type %v", v, s["type"])
	}
	return fitsMembers(doc, s, v)
}

func fitsMembers(doc, s object, v any) error {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if err := fitsSchema(doc, s["items"], e); err != nil {
				return err
			}
		}
	case object:
		properties, _ := s["properties"].(object)
		required, _ := s["required"].([]any)
		for _, name := range required {
			if _, found := v[name.(string)]; !found {
				return fmt.Errorf("%v is missing in %v", name, v)
			}
		}
		for name, e := range v {
			of := properties[name]
			if of == nil {
				of = s["additionalProperties"]
			}
			if of == nil {
				return fmt.Errorf("%q is not in the schema", name)
			}
			if err := fitsSchema(doc, of, e); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// samples are bodies, and queries where the required ones are not enough, by operationId. TOKEN is
// that of a message that is leased.
var samples = map[string]struct{ query, kind, body string }{
	"publish":         {kind: "application/octet-stream", body: "message"},
	"publishFile":     {kind: "application/octet-stream", body: "message"},
	"createTopic":     {kind: typeJSON, body: `{"topic":"made"}`},
	"alterTopic":      {kind: typeJSON, body: `{"partitions":2}`},
	"ackTokens":       {kind: typeJSON, body: `{"tokens":["TOKEN"]}`},
	"failTokens":      {kind: typeJSON, body: `{"tokens":["TOKEN"]}`},
	"extendTokens":    {kind: typeJSON, body: `{"tokens":["TOKEN"]}`},
	"consumeMessages": {query: "group=reader"},

	"putUser":           {kind: typeJSON, body: `{"password":"secret"}`},
	"grantPermissions":  {kind: typeJSON, body: `{"permissions":[{"operations":["publish"],"kind":"topic","pattern":"o*"}]}`},
	"revokePermissions": {kind: typeJSON, body: `{"permissions":[{"operations":["publish"],"kind":"topic","pattern":"o*"}]}`},
	"addToken":          {kind: typeJSON, body: `{"expires":"90d"}`},
}

// Each operation of the document is there, answers as the document says, and refuses a parameter that
// the document does not have.
func TestEachOperationOfTheOpenAPIDocumentAnswersAsItSays(t *testing.T) {
	r := newRig(t, Options{NodeID: 1, Cluster: newNodesOfTest()})
	r.publish("orders", "first", "second", "third", "fourth")
	r.letters("letter")
	get[groupReset](r, "POST", "/groups/billing/reset?topic=orders&to=0&execute", "")
	tokens := get[leasedMessages](r, "POST", "/topics/orders/groups/workers/lease?max=3", "").Messages
	tokenID := r.addUser("alice", "secret", "publish topic o*").token
	doc := r.document()
	each(doc, func(path, method string, op object) {
		id := op["operationId"].(string)
		sample, name := samples[id], strings.ToUpper(method)+" "+path
		topic := "orders"
		if strings.HasSuffix(path, "/redrive") || strings.HasSuffix(path, "/discard") {
			topic = "orders.dlq"
		}
		group := "billing"
		if strings.HasPrefix(path, "/topics/") {
			group = "workers"
		}
		target := strings.NewReplacer("{topic}", topic, "{group}", group, "{partition}", "0", "{offset}", "1", "{connection}", r.connection(), "{node}", "3", "{user}", "alice", "{token}", tokenID).Replace(path)
		query := url.Values{}
		params, _ := op["parameters"].([]any)
		for _, p := range params {
			if at(p, "in") == "query" && at(p, "required") == true {
				query.Set(at(p, "name").(string), fmt.Sprint(at(p, "schema", "examples").([]any)[0]))
			}
		}
		headers := []string{"Content-Type", sample.kind}
		if sample.kind == "" {
			headers = nil
		}
		all := strings.Trim(query.Encode()+"&"+sample.query, "&")
		if strings.Contains(sample.body, "TOKEN") {
			sample.body, tokens = strings.ReplaceAll(sample.body, "TOKEN", tokens[0].Token), tokens[1:]
		}
		status, answer, h := r.do(strings.ToUpper(method), target+"?"+all, sample.body, headers...)
		response := at(op, "responses", fmt.Sprint(status))
		if response == nil {
			t.Errorf("%s: status %d is not in the document: %s", name, status, answer)
			return
		}
		if err := r.checkAnswer(doc, response, h.Get("Content-Type"), answer); err != nil {
			t.Errorf("%s: %v: %.300s", name, err, answer)
		}
		if status, answer, _ = r.do(strings.ToUpper(method), target+"?no-such-parameter&"+all, sample.body, headers...); status != 400 {
			t.Errorf("%s with an unknown parameter: status %d: %s", name, status, answer)
		}
	})
}

// checkAnswer compares an answer with what the document says of it.
func (r *rig) checkAnswer(doc object, response any, contentType, answer string) error {
	content, _ := at(response, "content").(object)
	if len(content) == 0 && answer == "" {
		return nil
	}
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return fmt.Errorf("type %q: %w", contentType, err)
	}
	media, found := content[kind]
	if !found {
		return fmt.Errorf("type %q is not in the document", kind)
	}
	schema := at(media, "schema")
	if schema == nil {
		return nil
	}
	var v any
	if err := json.Unmarshal([]byte(answer), &v); err != nil {
		return err
	}
	return fitsSchema(doc, schema, v)
}

// connection is the id of a connection that is there.
func (r *rig) connection() string { return fmt.Sprint(r.connections("")[0].ID) }
