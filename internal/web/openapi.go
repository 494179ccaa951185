package web

import (
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"mbus/internal/auth"
)

// openAPIOperations describe the others.
func openAPIOperations() []operation {
	return []operation{{
		id: "getOpenAPI", method: http.MethodGet, path: "/openapi.json", tag: "Observe",
		summary: "This document: all operations, in OpenAPI 3.1",
		answers: asJSON("the document", map[string]any{}),
		serve: func(c *call) error {
			return c.json(http.StatusOK, newDocument(slices.Collect(maps.Values(c.server.router.operations)), c.server.opts.Version))
		},
	}}
}

// An object is one of JSON.
type object = map[string]any

// newDocument is the OpenAPI document of operations, those for browsers left out.
func newDocument(list []*operation, version string) object {
	s := schemas{}
	s.of(reflect.TypeFor[problem]())
	paths, tags := object{}, []object{}
	slices.SortFunc(list, func(a, b *operation) int { return strings.Compare(a.path+" "+a.method, b.path+" "+b.method) })
	for _, op := range list {
		if op.isPage {
			continue
		}
		path := strings.ReplaceAll(op.path, "...}", "}")
		path = strings.TrimSuffix(path, "{$}")
		if paths[path] == nil {
			paths[path] = object{}
		}
		paths[path].(object)[strings.ToLower(op.method)] = s.operation(op)
		if !slices.ContainsFunc(tags, func(t object) bool { return t["name"] == op.tag }) {
			tags = append(tags, object{"name": op.tag})
		}
	}
	if version == "" {
		version = "unknown"
	}
	return object{
		"openapi": "3.1.0",
		"info": object{
			"title": "mbus", "version": version,
			"description": "Publish, consume, look at and operate a message bus. Each GET is a HEAD, too. An error is a problem document of RFC 9457 with a code of its own.",
		},
		"servers": []object{{"url": "/"}},
		"tags":    tags, "paths": paths,
		"components": object{"schemas": s, "securitySchemes": securitySchemes},
		"security":   []object{{"password": []string{}}, {"token": []string{}}, {"certificate": []string{}}, {"session": []string{}}, {}},
	}
}

// securitySchemes are the ways to log in. Without users nobody needs to.
var securitySchemes = object{
	"password":    object{"type": "http", "scheme": "basic", "description": "Name and password of a user, over TLS or on a loopback address."},
	"token":       object{"type": "http", "scheme": "bearer", "bearerFormat": "mbus_…", "description": "A token of a user, or the operator's."},
	"certificate": object{"type": "mutualTLS", "description": "The name in the client's certificate is the user."},
	"session":     object{"type": "apiKey", "in": "cookie", "name": cookieSecure, "description": "The log-in of the page for browsers. Behind the name are a hyphen and the port, if the address has one."},
}

// Schemas are those of the types of bodies, by name.
type schemas map[string]object

// operation describes one.
func (s schemas) operation(op *operation) object {
	doc := object{"operationId": op.id, "tags": []string{op.tag}, "summary": op.summary, "responses": s.responses(op)}
	if params := parameters(op); len(params) > 0 {
		doc["parameters"] = params
	}
	if len(op.bodies) > 0 {
		doc["requestBody"] = object{"content": s.content(op.bodies, op.body)}
	}
	if op.audience == forAnyone {
		doc["security"] = []object{}
	}
	if op.changes {
		doc["description"] = "It changes something: a browser may send it from a page of the broker only."
	}
	return doc
}

// parameters are those of the path, the query and the header.
func parameters(op *operation) (all []object) {
	for part := range strings.SplitSeq(op.path, "/") {
		name, isName := strings.CutPrefix(part, "{")
		if !isName || part == "{$}" {
			continue
		}
		name = strings.TrimSuffix(strings.TrimSuffix(name, "}"), "...")
		schema := object{"type": "string"}
		if name == "partition" || name == "offset" {
			schema = object{"type": "integer", "format": "int64", "minimum": 0}
		}
		all = append(all, object{"name": name, "in": "path", "required": true, "schema": schema})
	}
	for i := range op.params {
		all = append(all, parameter(&op.params[i], "query"))
	}
	for i := range op.headers {
		if name := op.headers[i].name; name != "Accept" && name != "Content-Type" && name != "Authorization" { // which OpenAPI has elsewhere
			all = append(all, parameter(&op.headers[i], "header"))
		}
	}
	return all
}

func parameter(p *param, in string) object {
	kind := p.kind
	if kind == "" {
		kind = "string"
	}
	schema := object{"type": kind}
	if kind == "integer" {
		schema["format"] = "int64"
	}
	doc := object{"name": p.name, "in": in, "description": p.about, "schema": schema}
	if p.must {
		doc["required"] = true
	}
	if kind == "boolean" {
		doc["allowEmptyValue"] = true
	}
	if p.many {
		doc["schema"] = object{"type": "array", "items": schema}
	}
	if p.example != "" {
		var example any = p.example
		if n, err := strconv.ParseInt(p.example, 10, 64); err == nil && kind == "integer" {
			example = n
		}
		schema["examples"] = []any{example}
	}
	return doc
}

// responses are the answers by status, and the problem documents. Answers of one status are one response.
func (s schemas) responses(op *operation) object {
	all := object{"default": object{
		"description": "a problem, whose code says which",
		"content":     object{"application/problem+json": object{"schema": s.of(reflect.TypeFor[problem]())}},
	}}
	for _, a := range op.answers {
		status := strconv.Itoa(a.status)
		response, more := all[status].(object)
		if !more {
			response = object{"description": a.about}
			all[status] = response
		} else {
			response["description"] = response["description"].(string) + "; or " + a.about
		}
		if len(a.types) == 0 {
			continue
		}
		content := s.content(a.types, a.body)
		if before, found := response["content"].(object); found {
			maps.Copy(content, before)
		}
		response["content"] = content
	}
	return all
}

// content has a media type for each of types. JSON has the schema of body.
func (s schemas) content(types []string, body any) object {
	all := object{}
	for _, t := range types {
		media := object{}
		if body != nil && strings.HasSuffix(t, "json") && !strings.Contains(t, "ndjson") {
			media["schema"] = s.of(reflect.TypeOf(body))
		}
		all[t] = media
	}
	return all
}

var (
	typeOfTime = reflect.TypeFor[time.Time]()
	typeOfRaw  = reflect.TypeFor[json.RawMessage]()
	typeOfOps  = reflect.TypeFor[auth.Operation]()
)

// of is the schema of a type; a struct's is a reference to components.
func (s schemas) of(t reflect.Type) object {
	switch {
	case t == typeOfTime:
		return object{"type": "string", "format": "date-time"}
	case t == typeOfRaw:
		return object{}
	case t == typeOfOps:
		return object{"type": "array", "items": object{"type": "string", "enum": auth.AllOperations.Names()}}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return nullable(s.of(t.Elem()))
	case reflect.Struct:
		return s.structure(t)
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{"type": "string", "contentEncoding": "base64"}
		}
		return object{"type": "array", "items": s.of(t.Elem())}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.Interface:
		return object{}
	default:
		return object{"type": "integer", "format": "int64"}
	}
}

// nullable is a schema that takes null, too.
func nullable(schema object) object {
	if kind, simple := schema["type"].(string); simple {
		schema["type"] = []string{kind, "null"}
		return schema
	}
	return object{"anyOf": []object{schema, {"type": "null"}}}
}

// structure is the schema of a struct.
func (s schemas) structure(t reflect.Type) object {
	ref := object{"$ref": "#/components/schemas/" + t.Name()}
	if s[t.Name()] != nil && t.Name() != "" {
		return ref
	}
	doc := object{"type": "object"}
	if t.Name() != "" {
		s[t.Name()] = doc // before its fields, which may have the type
	}
	properties, required := object{}, []string{}
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" || !f.IsExported() || name == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		properties[name] = s.of(f.Type)
		if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") {
			required = append(required, name)
		}
	}
	doc["properties"], doc["required"] = properties, required
	if t.Name() == "" {
		return doc
	}
	return ref
}
