package main

import (
	"errors"
	"fmt"
	"time"

	"mbus/internal/client"
	"mbus/internal/flags"
	"mbus/internal/message"
	"mbus/internal/units"
)

// A command is one request to a broker.
type command struct {
	broker  client.Broker
	data    string        // the data directory of the broker, if it is on this machine
	line    string        // the request, with its LF
	timeout time.Duration // for connecting, and for the answer; 0 is five minutes
	asJSON  bool
	own     bool   // the broker's own topics are shown, too
	done    string // what is said when it is done; "" if nothing is to be changed
}

// commands are the commands by name.
var commands = map[string]*definition{
	"topics": {optional: []string{"topic"}},
	"groups": {optional: []string{"group", "topic"}},
	"reset":  {required: []string{"group", "topic", "to"}, executes: true, done: saying("the positions of group %q in topic %q are set", "group", "topic")},
	"delete": {optional: []string{"group", "topic"}, executes: true, one: true, done: deleted},
	"create": {required: []string{"topic"}, optional: []string{"partitions", "retention", "retention-unread", "retention-bytes"}, executes: true, done: saying("topic %q is made", "topic")},
	"grow":   {required: []string{"topic", "partitions"}, executes: true, done: saying("topic %q has grown", "topic")},
}

// saying makes a text with the values of flags in it.
func saying(format string, names ...string) func(map[string]*string) string {
	return func(values map[string]*string) string {
		args := make([]any, len(names))
		for i, name := range names {
			args[i] = *values[name]
		}
		return fmt.Sprintf(format, args...)
	}
}

func deleted(values map[string]*string) string {
	if *values["topic"] != "" {
		return saying("topic %q is deleted", "topic")(values)
	}
	return saying("group %q is deleted", "group")(values)
}

// A definition says which flags a command takes.
type definition struct {
	required, optional []string
	executes           bool // only with -execute
	one                bool // of the optional flags exactly one
	done               func(values map[string]*string) string
}

var usages = map[string]string{
	"topic":      "`TOPIC`: the topic's name",
	"group":      "`GROUP`: the group's name",
	"partitions": "`NUMBER`: how many partitions the topic is to have",

	"retention":        "`AGE`: the age at which the topic's messages are removed; 0 for never (default that of the broker)",
	"retention-unread": "`AGE`: the age at which they are removed if a group of consumers of lines has not consumed them; 0 for that of the others (default that of the broker)",
	"retention-bytes":  "`SIZE`: the size of a partition from which its oldest messages are removed; 0 for no bound (default that of the broker)",

	"to": "`POSITION`: where to go: beginning, end, an offset, -10, 2h, a time",
}

func parseCommand(name string, d *definition, args []string) (c *command, code int, ok bool) {
	fs := flags.New("admin "+name, usage)
	asJSON := fs.Bool("json", false, "print a JSON object a line")
	execute := new(bool)
	if d.executes {
		execute = fs.Bool("execute", false, "do it: without this flag it is only shown")
		fs.Acts("execute")
	}
	all := new(bool)
	if name == "topics" {
		all = fs.Bool("all", false, "list the broker's own topics, too, whose names begin with __")
	}
	values := make(map[string]*string)
	for _, option := range append(d.required, d.optional...) {
		values[option] = new(string)
		define(fs, values[option], option)
	}
	where := place{portFlag: "port"}
	where.define(fs, 9991, "consumers")
	fs.Group("What it is about", append(d.required, d.optional...)...)
	fs.Group("How", "execute", "all", "json")
	where.group(fs)
	fs.Group("Something else", "version")
	if code, ok := fs.Parse(args); !ok {
		return nil, code, false
	}
	if err := d.check(values); err != nil {
		return nil, fs.Fail("%v", err), false
	}
	broker, err := where.broker(fs)
	if err != nil {
		return nil, fs.Fail("%v", err), false
	}
	c = &command{broker: broker, data: where.data, timeout: where.timeout, asJSON: *asJSON, own: name != "topics" || *all || *values["topic"] != ""}
	if *execute {
		c.done = d.done(values)
	}
	c.line = requestLine(name, values, *asJSON, *execute)
	return c, 0, true
}

// define makes the flag of an option.
func define(fs *flags.Set, to *string, option string) {
	checked := func(check func(string) error) {
		fs.Func(option, usages[option], func(value string) error {
			*to = value
			return check(value)
		})
	}
	switch option {
	case "to":
		fs.PositionVar(to, option, usages[option])
	case "retention", "retention-unread":
		checked(func(value string) error { _, err := units.ParseDuration(value); return err })
	case "retention-bytes":
		checked(func(value string) error { _, err := units.ParseSize(value); return err })
	default:
		fs.StringVar(to, option, "", usages[option])
	}
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
			if err := message.CheckName(name, *v); err != nil {
				return err
			}
		}
	}
	return nil
}

func requestLine(name string, values map[string]*string, asJSON, execute bool) string {
	line := units.NewRequest("?" + name)
	for _, option := range []string{"group", "topic", "partitions", "retention", "retention-unread", "retention-bytes", "to"} {
		if v := values[option]; v != nil && *v != "" {
			line.Option(option, *v)
		}
	}
	if asJSON {
		line.Option("format", "json")
	}
	if execute {
		line.Word("execute")
	}
	return line.String()
}
