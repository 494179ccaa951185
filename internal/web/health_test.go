package web

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"mbus/internal/broker"
	"mbus/internal/store"
	"mbus/internal/store/storefault"
)

// An illness is a state of the store that tests set.
type illness struct{ atomic.Pointer[store.Health] }

func (i *illness) wrap(inner store.Store) store.Store {
	return &storefault.Store{Store: inner, State: func(inner store.Store) store.Health {
		if h := i.Load(); h != nil {
			return *h
		}
		return inner.Health()
	}}
}

func TestHealthOfABrokerThatIsWell(t *testing.T) {
	r := newRig(t, Options{Version: "1.2.3"})
	for _, path := range []string{"/livez", "/readyz", "/readyz?exclude=logs&exclude=disk-space"} {
		if got := r.must(http.StatusOK, "GET", path, ""); got != "ok\n" {
			t.Errorf("%s: %q", path, got)
		}
	}
	got := r.report(http.StatusOK)
	if got.Status != statusOK || got.Version != "1.2.3" || len(got.Checks) != len(allChecks)-1 {
		t.Errorf("got %+v", got)
	}
	if got.Disk.Free <= 0 || got.Disk.Size < got.Disk.Free {
		t.Errorf("the disk is %+v", got.Disk)
	}
	for _, c := range got.Checks {
		if c.Status != statusOK || c.Detail != "" {
			t.Errorf("got %+v", c)
		}
	}
	r.must(http.StatusBadRequest, "GET", "/readyz?exclude=nothing", "")
}

func TestHealthSaysWhatIsWrong(t *testing.T) {
	var ill illness
	r := newRigOver(t, Options{}, ill.wrap)
	for _, c := range []struct {
		check, status, words string
		state                store.Health
	}{
		{broker.CheckDirectory, statusFailed, "read-only file system", store.Health{NotWritable: errors.New("read-only file system")}},
		{broker.CheckSpace, statusFailed, "3 MiB free and 64 MiB are reserved", store.Health{Disk: store.Disk{Free: 3 << 20, Reserve: 64 << 20, Full: true}}},
		{broker.CheckLogs, statusFailed, "2 partitions take no messages after an I/O error (input/output error)", store.Health{Failed: 2, Failure: errors.New("input/output error")}},
		{broker.CheckTopics, statusDegraded, "1 topic is damaged or missing", store.Health{Unusable: 1}},
	} {
		ill.Store(&c.state)
		want := http.StatusOK
		if c.status == statusFailed {
			want = http.StatusServiceUnavailable
		}
		got := r.report(want)
		if got.Status != c.status {
			t.Errorf("%s: the status of all is %q", c.check, got.Status)
		}
		for _, result := range got.Checks {
			switch {
			case result.Name != c.check && result.Status != statusOK:
				t.Errorf("%s: %+v", c.check, result)
			case result.Name == c.check && (result.Status != c.status || !strings.Contains(result.Detail, c.words) || !strings.HasSuffix(result.Detail, ".")):
				t.Errorf("%s: %+v, not with %q", c.check, result, c.words)
			}
		}
		status, answer, h := r.do("GET", "/readyz", "")
		if status != want || want != http.StatusOK && (!strings.Contains(answer, c.words) || h.Get("Retry-After") == "") {
			t.Errorf("%s: /readyz is %d %s", c.check, status, answer)
		}
		r.must(http.StatusOK, "GET", "/readyz?exclude="+c.check, "")
		r.must(http.StatusOK, "GET", "/livez", "")
		if got := r.scrape()[`mbus_healthy{check="`+c.check+`"}`]; got != 0 {
			t.Errorf("%s: mbus_healthy is %v", c.check, got)
		}
	}
}

// report is what /healthz answers.
func (r *rig) report(status int) (h healthReport) {
	r.Helper()
	answer := r.must(status, "GET", "/healthz", "")
	if err := json.Unmarshal([]byte(answer), &h); err != nil {
		r.Fatalf("%v in %q", err, answer)
	}
	return h
}
