package main

import (
	"fmt"
	"unicode/utf8"
)

// harmless has the step print nothing that a terminal obeys: the contents of messages are
// anybody's, and could set its title, or its keys. Bytes that are no text, and control
// characters other than LF and TAB, are printed as the escapes of -f, or of JSON.
func harmless(s step) step     { return escaping(s, false) }
func harmlessJSON(s step) step { return escaping(s, true) }

func escaping(s step, json bool) step {
	var buf []byte
	return func(dst []byte, m *received) []byte {
		buf = s(buf[:0], m)
		return appendHarmless(dst, buf, json)
	}
}

// asItIs leaves the step as it is.
func asItIs(s step) step { return s }

func appendHarmless(dst, text []byte, json bool) []byte {
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r != '\n' && r != '\t' && r < ' ', r == 0x7f, r == utf8.RuneError && n == 1:
			dst = fmt.Appendf(dst, escapeFormat(json), text[0])
		case 0x80 <= r && r <= 0x9f: // one byte for terminals that don't know UTF-8, such as CSI
			dst = fmt.Appendf(dst, escapeFormat(json), r)
		default:
			dst = append(dst, text[:n]...)
		}
		text = text[n:]
	}
	return dst
}

// escapeFormat prints a control character.
func escapeFormat(json bool) string {
	if json {
		return `\u%04x`
	}
	return `\x%02x`
}
