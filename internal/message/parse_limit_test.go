package message

import (
	"strings"
	"testing"
)

// Headers take more memory than their bytes in a line, which a connection keeps no longer than it needs it.
func TestHeadersAreBounded(t *testing.T) {
	var m Parsed
	line := func(n int) []byte {
		return []byte(`{"headers":["",null` + strings.Repeat(`,"",null`, n-1) + `]}`)
	}
	if err := ParseJSON(line(maxHeaders+1), &m); err == nil || len(m.Headers) != maxHeaders {
		t.Errorf("%d headers, error %v", len(m.Headers), err)
	}
	if err := ParseJSON(line(maxHeaders), &m); err != nil {
		t.Error(err)
	}
	if m.Trim(64 << 10); cap(m.Headers) != 0 {
		t.Errorf("space for %d headers is kept", cap(m.Headers))
	}
}
