package web

import (
	"bytes"
	"fmt"
	"net/http"
	"time"
)

// An answerWriter is an http.ResponseWriter into memory, for an answer that net/http does not write.
type answerWriter struct {
	header http.Header
	out    []byte
	isLast bool // of its connection
}

// newAnswer is the last answer of a connection.
func newAnswer(h http.Header) *answerWriter {
	h.Set("Connection", "close")
	return &answerWriter{header: h}
}

func (a *answerWriter) Header() http.Header { return a.header }

func (a *answerWriter) WriteHeader(status int) {
	a.isLast = a.header.Get("Connection") == "close"
	a.header.Del("Connection") // which appendEnd writes
	a.out = appendEnd(appendHead(a.out, status, a.header), a.isLast)
}

func (a *answerWriter) Write(p []byte) (int, error) {
	a.out = append(a.out, p...)
	return len(p), nil
}

// appendHead appends a status line and headers as net/http writes them, but for Date and those behind it.
func appendHead(p []byte, status int, h http.Header) []byte {
	b := bytes.NewBuffer(p)
	fmt.Fprintf(b, "HTTP/1.1 %03d %s\r\n", status, http.StatusText(status))
	_ = h.Write(b) // a buffer takes all
	return b.Bytes()
}

// appendEnd ends the header.
func appendEnd(p []byte, isLast bool) []byte {
	p = time.Now().UTC().AppendFormat(append(p, "Date: "...), http.TimeFormat)
	if isLast {
		p = append(p, "\r\nConnection: close"...)
	}
	return append(p, "\r\n\r\n"...)
}
