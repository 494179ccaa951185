package gate

import (
	"bytes"
	"errors"
	"net/http"
)

// A body finds the end of the body of a request or an answer (RFC 9112, section 6). A copy goes on by itself.
type body struct {
	kind  bodyKind
	left  int64 // bytes of the body, or of the chunk
	part  chunkPart
	line  int  // bytes of the line that goes on
	text  bool // which has more than its end
	ended bool
}

type bodyKind uint8

const (
	bodyNone    bodyKind = iota
	bodyLength           // has so many bytes
	bodyChunked          // has chunks
	bodyToEnd            // ends with the connection
)

// A chunkPart is what follows in a chunked body.
type chunkPart uint8

const (
	chunkSize chunkPart = iota
	chunkExtension
	chunkData
	chunkEnd // the line end behind the data
	chunkTrailer
)

// maxChunkLine bounds a line of a chunked body, in bytes, as net/http does.
const maxChunkLine = 4096

var errChunk = errors.New("the chunks of a body can't be read")

// bodyOf is what follows a head, of which net/http has read the length and the encodings.
func bodyOf(length int64, encodings []string, toEnd bool) body {
	switch {
	case len(encodings) > 0:
		return body{kind: bodyChunked}
	case length > 0:
		return body{kind: bodyLength, left: length}
	case length < 0 && toEnd:
		return body{kind: bodyToEnd}
	}
	return body{ended: true}
}

// requestBody is the body of a request.
func requestBody(r *http.Request) body { return bodyOf(r.ContentLength, r.TransferEncoding, false) }

// take takes bytes, and says how many of them are of the body.
func (b *body) take(p []byte) (n int, err error) {
	for n < len(p) && !b.ended {
		switch b.kind {
		case bodyToEnd:
			return len(p), nil
		case bodyLength:
			some := min(b.left, int64(len(p)-n))
			n += int(some)
			b.left -= some
			b.ended = b.left == 0
		default:
			some, err := b.takeChunk(p[n:])
			if n += some; err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// takeChunk takes some bytes of a chunked body.
func (b *body) takeChunk(p []byte) (int, error) {
	switch b.part {
	case chunkData:
		n := min(b.left, int64(len(p)))
		if b.left -= n; b.left == 0 {
			b.begin(chunkEnd)
		}
		return int(n), nil
	case chunkSize:
		return 1, b.takeSize(p[0])
	}
	end := bytes.IndexByte(p, '\n') + 1
	isWhole := end > 0
	if !isWhole {
		end = len(p)
	}
	b.line += end
	b.text = b.text || len(bytes.Trim(p[:end], "\r\n")) > 0
	switch {
	case b.line > maxChunkLine, b.part == chunkEnd && b.text:
		return end, errChunk
	case !isWhole:
	case b.part == chunkEnd:
		b.begin(chunkSize)
	case b.part == chunkExtension && b.left > 0:
		b.begin(chunkData)
	case b.part == chunkTrailer && !b.text:
		b.ended = true
	default:
		b.begin(chunkTrailer)
	}
	return end, nil
}

func (b *body) begin(part chunkPart) { b.part, b.line, b.text = part, 0, false }

// takeSize takes a byte of the size of a chunk.
func (b *body) takeSize(c byte) error {
	digit := int64(0)
	switch {
	case c >= '0' && c <= '9':
		digit = int64(c - '0')
	case c >= 'a' && c <= 'f':
		digit = int64(c-'a') + 10
	case c >= 'A' && c <= 'F':
		digit = int64(c-'A') + 10
	case b.line > 0 && (c == '\r' || c == ';' || c == ' ' || c == '\t'):
		b.begin(chunkExtension)
		return nil
	case b.line > 0 && c == '\n':
		if b.begin(chunkTrailer); b.left > 0 {
			b.begin(chunkData)
		}
		return nil
	default:
		return errChunk
	}
	if b.line == 0 {
		b.left = 0
	}
	if b.line++; b.line > 15 {
		return errChunk
	}
	b.left = b.left<<4 | digit
	return nil
}
