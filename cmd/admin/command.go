package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"mbus/internal/flags"
	"mbus/internal/record"
)

// A command is one request to a broker.
type command struct {
	addr   string
	line   string // the request, with its LF
	asJSON bool
}

// commands are the commands by name.
var commands = map[string]*definition{
	"topics": {optional: []string{"topic"}},
	"groups": {optional: []string{"group", "topic"}},
	"reset":  {required: []string{"group", "topic", "to"}, executes: true},
	"delete": {optional: []string{"group", "topic"}, executes: true, one: true},
	"create": {required: []string{"topic"}, optional: []string{"partitions", "retention", "retention-unread", "retention-bytes"}, executes: true},
	"grow":   {required: []string{"topic", "partitions"}, executes: true},
}

// A definition says which flags a command takes.
type definition struct {
	required, optional []string
	executes           bool // only with -execute
	one                bool // of the optional flags exactly one
}

var usages = map[string]string{
	"topic":      "the `TOPIC`",
	"group":      "the `GROUP`",
	"partitions": "how many partitions the topic is to have: the `NUMBER`",

	"retention":        "`AGE` at which the topic's messages are removed; 0 for never (default that of the broker)",
	"retention-unread": "`AGE` at which they are removed if a group of consumers of lines has not consumed them; 0 for that of the others (default that of the broker)",
	"retention-bytes":  "`SIZE` of a partition from which its oldest messages are removed; 0 for no bound (default that of the broker)",

	"to": "the `POSITION` to go to: beginning, end, an offset, -10, 2h, a time",
}

func parseCommand(name string, d *definition, args []string) (c *command, code int, ok bool) {
	fs := flags.New("admin "+name, usage)
	host := fs.String("host", "127.0.0.1", "`HOST` that the broker runs on")
	port := fs.Int("port", 9991, "the broker's `PORT` for consumers")
	asJSON := fs.Bool("json", false, "print a JSON object a line")
	execute := new(bool)
	if d.executes {
		execute = fs.Bool("execute", false, "do it: without this flag it is only shown")
		fs.Acts("execute")
	}
	values := make(map[string]*string)
	for _, option := range append(d.required, d.optional...) {
		values[option] = fs.String(option, "", usages[option])
	}
	if code, ok := fs.Parse(args); !ok {
		return nil, code, false
	}
	if *port < 1 || *port > 65535 {
		return nil, fs.Fail("-port is %d, not 1 to 65535", *port), false
	}
	if err := d.check(values); err != nil {
		return nil, fs.Fail("%v", err), false
	}
	addr, err := flags.Address(*host, *port)
	if err != nil {
		return nil, fs.Fail("-host: %v", err), false
	}
	c = &command{addr: addr, asJSON: *asJSON}
	c.line = requestLine(name, values, *asJSON, *execute)
	return c, 0, true
}

// check reports the first flag that is missing or not allowed.
func (d *definition) check(values map[string]*string) error {
	for _, name := range d.required {
		if *values[name] == "" {
			return fmt.Errorf("-%s is missing", name)
		}
	}
	if d.one && (*values["topic"] == "") == (*values["group"] == "") {
		return errors.New("it takes either -topic or -group")
	}
	for _, name := range []string{"topic", "group"} {
		if v := values[name]; v != nil && *v != "" {
			if err := record.CheckName(name, *v); err != nil {
				return err
			}
		}
	}
	return nil
}

func requestLine(name string, values map[string]*string, asJSON, execute bool) string {
	var b strings.Builder
	b.WriteString("?" + name)
	for _, option := range []string{"group", "topic", "partitions", "retention", "retention-unread", "retention-bytes", "to"} {
		if v := values[option]; v != nil && *v != "" {
			b.WriteString("&" + option + "=" + url.QueryEscape(*v))
		}
	}
	if asJSON {
		b.WriteString("&format=json")
	}
	if execute {
		b.WriteString("&execute")
	}
	return b.String() + "\n"
}
