package message

import (
	"bytes"
	"errors"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// peek skips white space and returns the byte after it.
func (w *walker) peek() byte {
	for w.p[0] == ' ' || w.p[0] == '\t' || w.p[0] == '\n' || w.p[0] == '\r' {
		w.p = w.p[1:]
	}
	return w.p[0]
}

// skip skips a value of any kind.
func (w *walker) skip() {
	for depth := 0; ; {
		switch w.peek() {
		case '"':
			w.rawString()
		case '{', '[':
			depth++
			w.p = w.p[1:]
		case '}', ']':
			depth--
			w.p = w.p[1:]
		case ',', ':': // only inside a list or an object
			w.p = w.p[1:]
			continue
		default:
			w.p = w.p[bytes.IndexAny(w.p, ",:]} \t\r\n"):]
		}
		if depth == 0 {
			return
		}
	}
}

// rawString reads a string and returns the bytes between its quotes.
func (w *walker) rawString() []byte {
	end := 1
	for w.p[end] != '"' {
		if w.p[end] == '\\' {
			end++
		}
		end++
	}
	s := w.p[1:end]
	w.p = w.p[end+1:]
	return s
}

// text reads a string and returns its value, which is never nil.
func (w *walker) text() ([]byte, error) {
	s := w.rawString()
	i := bytes.IndexByte(s, '\\')
	if i < 0 {
		return s, nil
	}
	n, buf := len(w.m.unescaped), w.m.unescaped
	for ; i >= 0; i = bytes.IndexByte(s, '\\') {
		buf = append(buf, s[:i]...)
		r, size, err := escape(s[i:])
		if err != nil {
			return nil, err
		}
		buf = utf8.AppendRune(buf, r)
		s = s[i+size:]
	}
	w.m.unescaped = append(buf, s...)
	return w.unescapedFrom(n), nil
}

// unescapedFrom is the part of the buffer behind its first n bytes.
func (w *walker) unescapedFrom(n int) []byte {
	if n == len(w.m.unescaped) {
		return []byte{} // not null
	}
	return w.m.unescaped[n:len(w.m.unescaped):len(w.m.unescaped)]
}

var plainEscapes = [256]rune{
	'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t',
}

// escape decodes the escape sequence that s begins with and returns its length.
// Half of a surrogate pair is an error, because it stands for no character.
func escape(s []byte) (r rune, size int, err error) {
	if s[1] != 'u' {
		return plainEscapes[s[1]], 2, nil
	}
	r = hex4(s[2:])
	if !utf16.IsSurrogate(r) {
		return r, 6, nil
	}
	if len(s) >= 12 && s[6] == '\\' && s[7] == 'u' {
		if r = utf16.DecodeRune(r, hex4(s[8:])); r != utf8.RuneError {
			return r, 12, nil
		}
	}
	return 0, 0, errors.New(`json: half of a surrogate pair in a \u escape`)
}

func hex4(s []byte) rune {
	v, _ := strconv.ParseUint(string(s[:4]), 16, 16)
	return rune(v)
}
