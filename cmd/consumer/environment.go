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

// variable begins the names of what a command is told of its message. No flag of a
// program of mbus is named like one of them: what one command is told must not tell
// another what to do.
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

// inherited is the part of our environment that a command gets. What a command further
// up was told of its own message is not in it. MBUS_PORT, which is for us, is not either:
// a producer has another port. It is named as that of the programs that have the same.
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
