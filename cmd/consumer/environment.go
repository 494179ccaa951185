package main

import (
	"bytes"
	"encoding/base64"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"mbus/internal/message"
)

// maxVariable is the longest value of a variable that a command gets, in bytes: Linux
// takes variables of 128 KiB with their name. A longer key, and longer headers, are left
// out.
const maxVariable = 120 << 10

// variable begins the names of the variables that describe a command's message. No flag of a
// program of mbus has such a name, because the description of a message must not set a flag of
// a program that the command runs.
const variable = "MBUS_MSG_"

// environment is that of a command for the message: ours, and the message's.
func environment(m *received, group string) []string {
	env := inherited(os.Environ())
	add := func(name, value string) { env = append(env, variable+name+"="+value) }
	add("TOPIC", m.topic)
	add("PARTITION", strconv.Itoa(m.partition))
	add("OFFSET", strconv.FormatInt(m.Offset, 10))
	add("TIMESTAMP", strconv.FormatInt(m.Timestamp, 10))
	add("SIZE", strconv.Itoa(len(m.Value)))
	add("ATTEMPT", strconv.Itoa(m.attempt))
	add("GROUP", group)
	if m.Key != nil {
		add("KEY_SIZE", strconv.Itoa(len(m.Key)))
		addText(add, "KEY", m.Key)
	}
	if m.HeaderCount() > 0 {
		headers, encoded := message.AppendHeaders(nil, m.Record)
		name := "HEADERS"
		if encoded {
			name = "HEADERS_BASE64"
		}
		if len(headers) <= maxVariable {
			add(name, string(headers))
		}
	}
	return env
}

// inherited is the part of our environment that a command gets, without the variables of a
// message that an outer command has. MBUS_PORT is renamed to the variables of the programs
// with the same port, because a producer has another one.
func inherited(environ []string) []string {
	var env []string
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		switch {
		case strings.HasPrefix(name, variable):
		case name == "MBUS_PORT":
			for _, own := range []string{"MBUS_CONSUMER_PORT", "MBUS_ADMIN_PORT"} {
				if _, ok := os.LookupEnv(own); !ok {
					env = append(env, own+"="+value)
				}
			}
		default:
			env = append(env, v)
		}
	}
	return env
}

// addText adds what is text as it is, and what is not in base64, with that behind its
// name.
func addText(add func(name, value string), name string, value []byte) {
	text := string(value)
	if !utf8.Valid(value) || bytes.IndexByte(value, 0) >= 0 {
		name, text = name+"_BASE64", base64.StdEncoding.EncodeToString(value)
	}
	if len(text) <= maxVariable {
		add(name, text)
	}
}
