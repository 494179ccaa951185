package gate

import (
	"bytes"
	"io"
	"net/http/httputil"
	"testing"
)

// The end of a chunked body is where net/http finds it, in whatever pieces the body comes, and nothing breaks it.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{
		"5\r\nhello\r\n0\r\n\r\nGET", "5;x=y\r\nhello\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n", "0\r\n\r\n", "5\nhello\n0\n\n",
		"fffffffffffffffff\r\n", "5\r\nhelloX\r\n", "zz\r\n", "0\r\na\r\n\r\n", "",
	} {
		f.Add([]byte(seed), byte(3))
	}
	f.Fuzz(func(t *testing.T, text []byte, piece byte) {
		whole, pieces := body{kind: bodyChunked}, body{kind: bodyChunked}
		n, err := whole.take(text)
		taken := 0
		var failed error
		for taken < len(text) && failed == nil && !pieces.ended {
			some, err := pieces.take(text[taken:min(len(text), taken+int(piece)+1)])
			taken, failed = taken+some, err
		}
		if whole.ended != pieces.ended || whole.ended && n != taken || (err == nil) != (failed == nil) {
			t.Fatalf("%q: whole %d, %v, %v, in pieces %d, %v, %v", text, n, whole.ended, err, taken, pieces.ended, failed)
		}
		if !whole.ended {
			return
		}
		rest := bytes.NewReader(text)
		if _, err := io.Copy(io.Discard, httputil.NewChunkedReader(rest)); err != nil {
			return // net/http refuses more: then the owner's server does
		}
	})
}

// The head of a request ends where its empty line does.
func FuzzHead(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\nrest"))
	f.Add([]byte("GET / HTTP/1.1\nHost: x\n\nrest"))
	f.Add([]byte("\n\r\n\r"))
	f.Fuzz(func(t *testing.T, text []byte) {
		n := headLength(text)
		if n < 0 || n > len(text) || n > 0 && text[n-1] != '\n' {
			t.Fatalf("%q: %d", text, n)
		}
		for i := range n {
			if headLength(text[:i]) != 0 {
				t.Fatalf("%q: %d, and %d before", text, n, i)
			}
		}
	})
}
