package web

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"syscall"

	"mbus/internal/auth"
	"mbus/internal/broker"
	"mbus/internal/delivery"
	"mbus/internal/group"
	"mbus/internal/publish"
)

// A problem is an error as RFC 9457 has it. Code is that of the line protocol.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Code   string `json:"code"`

	// Extra are members that an operation adds; nil for none.
	Extra map[string]any `json:"-"`

	allow string // methods, with status 405
}

func (p *problem) Error() string { return p.Code + " " + p.Detail }

// Codes beside those of delivery.Code.
const (
	codeBadRequest = "BADREQUEST"
	codeBadMessage = "BADMESSAGE"
	codeNotFound   = "NOTFOUND"
	codeDenied     = "DENIED"
	codeConflict   = "CONFLICT"
)

var errStopping = &problem{Status: http.StatusServiceUnavailable, Code: "SHUTDOWN", Detail: "the broker is stopping"}

// badRequest is an error for a request that can't be understood.
func badRequest(format string, args ...any) error {
	return &problem{Status: http.StatusBadRequest, Code: codeBadRequest, Detail: fmt.Errorf(format, args...).Error()}
}

// statuses are those of codes. Others are 500.
var statuses = map[string]int{
	"BADREQUEST": http.StatusBadRequest, "BADMESSAGE": http.StatusBadRequest, "INCOMPLETE": http.StatusBadRequest,
	"DENIED": http.StatusForbidden, codeUnauthenticated: http.StatusUnauthorized,
	"GONE": http.StatusNotFound, "NOTFOUND": http.StatusNotFound,
	"GAP":    http.StatusGone,
	"EXISTS": http.StatusConflict, "REPLACED": http.StatusConflict, "CONFLICT": http.StatusConflict,
	"TOOLARGE": http.StatusRequestEntityTooLarge,
	"TIMEOUT":  http.StatusRequestTimeout,
	"BUSY":     http.StatusTooManyRequests,
	"FAILED":   http.StatusServiceUnavailable, "SHUTDOWN": http.StatusServiceUnavailable,
	"FULL": http.StatusInsufficientStorage,
}

// toProblem makes an error of the broker one that the client gets.
func toProblem(err error) *problem {
	var p *problem
	if errors.As(err, &p) {
		return p
	}
	if p := loginProblem(err); p != nil {
		return p
	}
	var inUse *group.InUseError
	if errors.As(err, &inUse) { // which does not end by itself
		return &problem{Status: http.StatusConflict, Code: "BUSY", Detail: err.Error()}
	}
	var wrong *publish.Error
	if errors.As(err, &wrong) {
		return &problem{Status: statuses[wrong.Code], Code: wrong.Code, Detail: err.Error()}
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return &problem{Status: http.StatusRequestEntityTooLarge, Code: "TOOLARGE", Detail: err.Error()}
	}
	if errors.Is(err, broker.ErrTooManyTopics) || errors.Is(err, auth.ErrLeft) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		return &problem{Status: http.StatusServiceUnavailable, Code: "BUSY", Detail: err.Error()}
	}
	code := cmp.Or(userCode(err), delivery.Code(err))
	status := statuses[code]
	if status == 0 {
		status = http.StatusInternalServerError
	}
	return &problem{Status: status, Code: code, Detail: err.Error()}
}

const typeProblem = "application/problem+json"

// document is the problem as JSON, with an LF.
func (p *problem) document() []byte {
	doc := map[string]any{
		"type": "urn:mbus:problem:" + strings.ToLower(p.Code), "title": http.StatusText(p.Status), "status": p.Status, "code": p.Code,
	}
	if p.Detail != "" {
		doc["detail"] = p.Detail
	}
	for name, v := range p.Extra {
		doc[name] = v
	}
	body, err := json.Marshal(doc)
	if err != nil { // of Extra, which is ours
		panic(err)
	}
	return append(body, '\n')
}

// write answers with the problem.
func (p *problem) write(w http.ResponseWriter) {
	body, h := p.document(), w.Header()
	h.Set("Content-Type", typeProblem)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if p.allow != "" {
		h.Set("Allow", p.allow)
	}
	if p.Status == http.StatusTooManyRequests || p.Status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "1")
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // the client may have gone
}

// answer is the last one of a connection, with its header.
func (p *problem) answer() []byte {
	a := newAnswer(make(http.Header))
	setPolicies(a.header)
	p.write(a)
	return a.out
}

// toAnswer makes a problem document of what net/http answers to a request that it can't read: a status line,
// the type text/plain, and a text that begins with the status, or none.
func toAnswer(text []byte) []byte {
	line, rest, _ := bytes.Cut(text, []byte("\r\n"))
	var status int
	if _, err := fmt.Sscanf(string(line), "HTTP/1.1 %d ", &status); err != nil || status < 400 {
		return text
	}
	p := &problem{Status: status, Code: codeBadRequest, Detail: "the request can't be understood"}
	_, why, _ := bytes.Cut(rest, []byte("\r\n\r\n"))
	why = bytes.TrimPrefix(why, fmt.Appendf(nil, "%d %s", status, http.StatusText(status)))
	if status == http.StatusRequestHeaderFieldsTooLarge {
		p.Code, p.Detail = "TOOLARGE", fmt.Sprintf("the request line and the headers have more than %d bytes", broker.HTTPHeader)
	} else if why = bytes.TrimPrefix(why, []byte(": ")); len(why) > 0 {
		p.Detail += ": " + string(why)
	}
	return p.answer()
}
