package line

import (
	"bytes"
	"strconv"
	"strings"

	"mbus/internal/broker"
	"mbus/internal/delivery"
)

// An ack is one acknowledgement of a client: a line. PROTOCOL.md has the forms.
type ack struct {
	kind           byte             // '+', '=' or '-'
	delivery.Range                  // the numbers of the messages; First and Last are the same unless kind is '='
	failure        delivery.Failure // of '-'
}

// parseCount is parseAck for what most acknowledgements are, "+N". ok is false for all others, and
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

// parseAck reads an acknowledgement from the beginning of p, up to the LF at end. If that
// is below 0, or too far, the line is too long. The error is an *errorLine.
func parseAck(p []byte, end int) (a ack, err error) {
	if end < 0 || end >= broker.RequestLine {
		return ack{}, errorLinef("BADREQUEST", "an answer is longer than %d bytes", broker.RequestLine)
	}
	line := bytes.TrimSuffix(p[:end], []byte("\r"))
	if len(line) == 0 {
		return ack{}, unknownAck(line)
	}
	a.kind = line[0]
	numbers, text, more := bytes.Cut(line[1:], []byte(" "))
	switch {
	case a.kind == '-':
		if a.failure, err = parseFailure(string(text)); err != nil {
			return ack{}, errorLinef("BADREQUEST", "%q: %w", line, err)
		}
	case a.kind != '+' && a.kind != '=', more:
		return ack{}, unknownAck(line)
	}
	first, last, isRange := bytes.Cut(numbers, []byte("-"))
	a.First, err = strconv.ParseUint(string(first), 10, 63)
	if a.Last = a.First; err == nil && isRange && a.kind == '=' {
		a.Last, err = strconv.ParseUint(string(last), 10, 63)
	} else if isRange {
		return ack{}, unknownAck(line)
	}
	if err != nil || a.Last < a.First {
		return ack{}, unknownAck(line)
	}
	return a, nil
}

func unknownAck(line []byte) error {
	return errorLinef("BADREQUEST", "%q is neither +N, =N or =N-M, nor -N and a reason", line)
}

// parseFailure reads what follows the number of a message that has failed: options,
// each once at most, and the reason. A second space ends the options, too.
func parseFailure(text string) (f delivery.Failure, err error) {
	for {
		word, rest, _ := strings.Cut(text, " ")
		value, isRetry := strings.CutPrefix(word, "retry=")
		switch {
		case isRetry && !f.HasRetry:
			f.HasRetry = true
			if f.Retry, err = duration(value); err != nil {
				return delivery.Failure{}, err
			}
		case word == "dead" && !f.Dead:
			f.Dead = true
		default:
			f.Reason = strings.TrimPrefix(text, " ")
			return f, nil
		}
		text = rest
	}
}

// appendRange writes a range: N, or N-M.
func appendRange(dst []byte, r delivery.Range) []byte {
	dst = strconv.AppendUint(dst, r.First, 10)
	if r.Last != r.First {
		dst = strconv.AppendUint(append(dst, '-'), r.Last, 10)
	}
	return dst
}
