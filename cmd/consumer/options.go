package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"mbus/internal/consumer"
	"mbus/internal/flags"
	"mbus/internal/record"
)

const usage = `
Usage: consumer -topic TOPIC [flags]

Prints the messages of a topic that its group has not consumed yet, up to the
end of the topic. They count as consumed when all have been printed; if anything
goes wrong before, they come again. Groups are independent of each other.

  consumer -topic orders
  consumer -topic orders -group billing -n 10 -f '%o %k=%s\n'

A message is printed as "2024/06/10 11:00:01 [orders] first order", or as -f says:

  %s payload   %S its length in bytes, -1 for null    %t topic       %o offset
  %k key       %K its length in bytes, -1 for null    %p partition   %% percent sign
  %T time in milliseconds since 1970                  %h headers, as name=value,name=value
  \n \t \r \\ \0 \xNN: newline, tab, carriage return, backslash, NUL, any byte

Exit codes: 0 done, 1 error, 2 wrong usage, 3 no message (with -fail-empty).`

type options struct {
	addr      string
	request   consumer.Request
	format    format
	failEmpty bool
}

func parse(args []string) (opts options, code int, ok bool) {
	fs := flags.New("consumer", usage)
	host := fs.String("host", "127.0.0.1", "`HOST` that the broker runs on")
	port := fs.Int("port", 9991, "the broker's `PORT` for consumers")
	fs.StringVar(&opts.request.Topic, "topic", "", "`TOPIC` to consume (required)")
	fs.StringVar(&opts.request.Group, "group", "default", "`GROUP` to consume for")
	fs.Int64Var(&opts.request.N, "n", 0, "end after `N` messages; 0 is no limit")
	layout := fs.String("f", "", "print messages in this `FORMAT`")
	asJSON := fs.Bool("json", false, "print a JSON object a line, as kcat -J does and the format=json of PROTOCOL.md")
	fs.BoolVar(&opts.failEmpty, "fail-empty", false, "exit with 3 if there was no message")
	if code, ok := fs.Parse(args); !ok {
		return opts, code, false
	}
	if err := opts.check(*port); err != nil {
		return opts, fs.Fail("%v", err), false
	}
	if *asJSON && *layout != "" {
		return opts, fs.Fail("-f and -json exclude each other"), false
	}
	var err error
	if opts.format, err = chooseFormat(opts.request.Topic, *layout, *asJSON); err != nil {
		return opts, fs.Fail("-f: %v", err), false
	}
	opts.addr = net.JoinHostPort(*host, strconv.Itoa(*port))
	return opts, 0, true
}

// check reports the first setting that is missing or not allowed.
func (o *options) check(port int) error {
	switch {
	case o.request.Topic == "":
		return errors.New("-topic is missing")
	case port < 1 || port > 65535:
		return fmt.Errorf("-port is %d, not 1 to 65535", port)
	case o.request.N < 0:
		return fmt.Errorf("-n is %d, less than 0", o.request.N)
	}
	if err := record.CheckName("topic", o.request.Topic); err != nil {
		return err
	}
	return record.CheckName("group", o.request.Group)
}

func chooseFormat(topic, layout string, asJSON bool) (format, error) {
	switch {
	case asJSON:
		return jsonFormat(), nil
	case layout != "":
		return parseFormat(layout)
	}
	return defaultFormat(topic), nil
}
