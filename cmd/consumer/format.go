package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"mbus/internal/batch"
	"mbus/internal/message"
)

// A received message is a record and its source.
type received struct {
	topic     string
	partition int
	attempt   int // counts its deliveries from 1; 0 where the broker does not say it
	*batch.Record
}

// headerAttempt is the broker's header of a message that it delivers once more on a
// connection with acknowledgements. It is not of the message.
const headerAttempt = "mbus-attempt"

// takeAttempt takes the number of the attempt out of the message's headers.
func (m *received) takeAttempt() {
	m.attempt = 1
	if v, ok := m.TakeHeader(headerAttempt); ok {
		if n, err := strconv.Atoi(string(v)); err == nil {
			m.attempt = n
		}
	}
}

// place is where the message is, for people.
func (m *received) place() string {
	return fmt.Sprintf("%s/%d offset %d", m.topic, m.partition, m.Offset)
}

// A step appends a part of what is printed for a message.
type step func(dst []byte, m *received) []byte

// A format is the steps to print a message. Its steps may keep state, so it is
// for one goroutine.
type format []step

func (f format) append(dst []byte, m *received) []byte {
	for _, s := range f {
		dst = s(dst, m)
	}
	return dst
}

// defaultFormat prints: 2024/06/10 11:00:01 [orders] first order. contents changes the steps
// that print what is in messages.
func defaultFormat(topic string, contents func(step) step) format {
	return format{localTime(), literal(" [" + topic + "] "), contents(payload), literal("\n")}
}

// jsonFormat prints a line of JSON.
func jsonFormat(contents func(step) step) format {
	return format{contents(func(dst []byte, m *received) []byte {
		dst = message.AppendJSON(dst, message.Origin{Broker: 1, Topic: m.topic, Partition: m.partition, Attempt: m.attempt}, m.Record)
		return append(dst, '\n')
	})}
}

// parseFormat makes the format that s describes with the tokens and escapes of
// kcat's -f. What it does not know is an error, as a mistake would otherwise be
// printed with every message. contents changes the steps that print what is in messages.
func parseFormat(s string, contents func(step) step) (format, error) {
	var f format
	var text []byte
	for s != "" {
		switch s[0] {
		case '\\':
			c, n, err := unescape(s)
			if err != nil {
				return nil, err
			}
			text, s = append(text, c), s[n:]
		case '%':
			t, err := token(s)
			if err != nil {
				return nil, err
			}
			if t == nil {
				text = append(text, '%')
			} else {
				f, text = append(f.text(text), contents(t)), nil
			}
			s = s[2:]
		default:
			text, s = append(text, s[0]), s[1:]
		}
	}
	return f.text(text), nil
}

// text adds what is to be printed as it stands.
func (f format) text(p []byte) format {
	if len(p) == 0 {
		return f
	}
	return append(f, literal(string(p)))
}

// token returns the step for the token that s begins with, nil for %%.
func token(s string) (step, error) {
	if len(s) < 2 {
		return nil, errors.New("% at the end: write %% for a percent sign")
	}
	t, ok := tokens[s[1]]
	if !ok {
		return nil, fmt.Errorf("unknown token %q", s[:2])
	}
	return t, nil
}

var tokens = map[byte]step{
	'%': nil,
	't': func(dst []byte, m *received) []byte { return append(dst, m.topic...) },
	'p': func(dst []byte, m *received) []byte { return strconv.AppendInt(dst, int64(m.partition), 10) },
	'o': func(dst []byte, m *received) []byte { return strconv.AppendInt(dst, m.Offset, 10) },
	'k': func(dst []byte, m *received) []byte { return append(dst, m.Key...) },
	'K': func(dst []byte, m *received) []byte { return appendLength(dst, m.Key) },
	's': payload,
	'S': func(dst []byte, m *received) []byte { return appendLength(dst, m.Value) },
	'T': func(dst []byte, m *received) []byte { return strconv.AppendInt(dst, m.Timestamp, 10) },
	'h': appendHeaders,
	'a': func(dst []byte, m *received) []byte { return strconv.AppendInt(dst, int64(m.attempt), 10) },
}

func payload(dst []byte, m *received) []byte { return append(dst, m.Value...) }

func appendLength(dst, p []byte) []byte {
	if p == nil {
		return append(dst, "-1"...)
	}
	return strconv.AppendInt(dst, int64(len(p)), 10)
}

// appendHeaders writes k=v,k2=v2, and NULL for a null value.
func appendHeaders(dst []byte, m *received) []byte {
	first := true
	for k, v := range m.Headers() {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(append(dst, k...), '=')
		if v == nil {
			v = []byte("NULL")
		}
		dst = append(dst, v...)
	}
	return dst
}

func literal(s string) step {
	return func(dst []byte, _ *received) []byte { return append(dst, s...) }
}

// localTime writes a message's time. Messages come in thousands per second, so
// the text is kept while the second stays the same.
func localTime() step {
	var second int64
	var text []byte
	return func(dst []byte, m *received) []byte {
		t := time.UnixMilli(m.Timestamp)
		if s := t.Unix(); s != second || text == nil {
			second, text = s, t.AppendFormat(text[:0], "2006/01/02 15:04:05")
		}
		return append(dst, text...)
	}
}
