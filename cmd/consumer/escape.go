package main

import (
	"errors"
	"fmt"
	"strconv"
)

var escapes = map[byte]byte{'n': '\n', 't': '\t', 'r': '\r', '\\': '\\'}

// unescape decodes the escape sequence that s begins with and returns its
// length: \n \t \r \\, \xNN with two hexadecimal digits, and \0 with up to two
// more octal ones.
func unescape(s string) (c byte, n int, err error) {
	if len(s) < 2 {
		return 0, 0, errors.New(`\ at the end: write \\ for a backslash`)
	}
	switch {
	case s[1] == 'x':
		v, err := strconv.ParseUint(s[2:min(len(s), 4)], 16, 8)
		if err != nil || len(s) < 4 {
			return 0, 0, fmt.Errorf(`\x without two hexadecimal digits in %q`, s)
		}
		return byte(v), 4, nil
	case s[1] == '0':
		n = 2
		for n < len(s) && n < 4 && '0' <= s[n] && s[n] <= '7' {
			c = c<<3 | (s[n] - '0')
			n++
		}
		return c, n, nil
	}
	c, ok := escapes[s[1]]
	if !ok {
		return 0, 0, fmt.Errorf("unknown escape %q", s[:2])
	}
	return c, 2, nil
}
