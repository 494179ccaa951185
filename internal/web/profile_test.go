package web

import (
	"net/http"
	"strings"
	"testing"
)

func TestProfilesWithDebugOnly(t *testing.T) {
	paths := []string{"/debug/pprof/", "/debug/pprof/heap?debug=1", "/debug/pprof/goroutine?debug=2", "/debug/pprof/cmdline", "/debug/pprof/trace?seconds=0"}
	off, on := newRig(t, Options{}), newRig(t, Options{Debug: true})
	for _, path := range paths {
		if got := off.must(http.StatusNotFound, "GET", path, ""); !strings.Contains(got, "-debug") {
			t.Errorf("%s: %s", path, got)
		}
		if got := on.must(http.StatusOK, "GET", path, ""); got == "" {
			t.Errorf("%s is empty", path)
		}
		on.must(http.StatusForbidden, "GET", path, "", "Sec-Fetch-Site", "cross-site")
	}
	on.must(http.StatusNotFound, "GET", "/debug/pprof/nothing", "")
}
