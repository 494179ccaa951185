package line

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"mbus/internal/broker"
)

// A verdict is what a client with ack says of messages that it was sent. PROTOCOL.md has
// the forms.
type verdict struct {
	kind     byte   // '+', '=' or '-'
	from, to uint64 // the numbers of the messages, both included; the same unless it is a range
	failure         // of '-'
}

// A failure is what a client says of a message that has failed.
type failure struct {
	retry    time.Duration // until the message comes again, if hasRetry
	hasRetry bool          // otherwise the connection's counts
	dead     bool          // it does not come again
	reason   string
}

// parseCount is parseVerdict for what most answers are, "+N". ok is false for all others, and
// for some that are rare.
func parseCount(p []byte, end int) (n uint64, ok bool) {
	const digits = 18 // that can't overflow
	if end < 2 || end > 1+digits || p[0] != '+' {
		return 0, false
	}
	for _, c := range p[1:end] {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

// parseVerdict reads an answer from the beginning of p, up to the LF at end. If that
// is below 0, or too far, the line is too long. The error is an *answerError.
func parseVerdict(p []byte, end int) (v verdict, err error) {
	if end < 0 || end >= broker.RequestLine {
		return verdict{}, answer("BADREQUEST", "an answer is longer than %d bytes", broker.RequestLine)
	}
	line := bytes.TrimSuffix(p[:end], []byte("\r"))
	if len(line) == 0 {
		return verdict{}, unknownVerdict(line)
	}
	v.kind = line[0]
	numbers, text, more := bytes.Cut(line[1:], []byte(" "))
	switch {
	case v.kind == '-':
		if v.failure, err = parseFailure(string(text)); err != nil {
			return verdict{}, answer("BADREQUEST", "%q: %w", line, err)
		}
	case v.kind != '+' && v.kind != '=', more:
		return verdict{}, unknownVerdict(line)
	}
	first, last, isRange := bytes.Cut(numbers, []byte("-"))
	v.from, err = strconv.ParseUint(string(first), 10, 63)
	if v.to = v.from; err == nil && isRange && v.kind == '=' {
		v.to, err = strconv.ParseUint(string(last), 10, 63)
	} else if isRange {
		return verdict{}, unknownVerdict(line)
	}
	if err != nil || v.to < v.from {
		return verdict{}, unknownVerdict(line)
	}
	return v, nil
}

func unknownVerdict(line []byte) error {
	return answer("BADREQUEST", "%q is neither +N, =N or =N-M, nor -N and a reason", line)
}

// parseFailure reads what follows the number of a message that has failed: options,
// each once at most, and the reason. A second space ends the options, too.
func parseFailure(text string) (f failure, err error) {
	for {
		word, rest, _ := strings.Cut(text, " ")
		value, isRetry := strings.CutPrefix(word, "retry=")
		switch {
		case isRetry && !f.hasRetry:
			f.hasRetry = true
			if f.retry, err = duration(value); err != nil {
				return failure{}, err
			}
		case word == "dead" && !f.dead:
			f.dead = true
		default:
			f.reason = strings.TrimPrefix(text, " ")
			return f, nil
		}
		text = rest
	}
}

// notes writes what the verdict is about: N, or N-M.
func (v verdict) notes(dst []byte) []byte {
	dst = strconv.AppendUint(dst, v.from, 10)
	if v.to != v.from {
		dst = strconv.AppendUint(append(dst, '-'), v.to, 10)
	}
	return dst
}
