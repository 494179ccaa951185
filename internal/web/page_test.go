package web

import (
	"bufio"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// evil is text that would be markup if it were not escaped.
const evil = `"'><script>alert(1)</script><img src=x onerror=alert(1)>{{.}}` + "\u202e\x00"

// form sends a form as a browser does, and returns where it leads.
func (r *rig) form(status int, path string, fields ...string) (body, location string) {
	r.Helper()
	values := make(url.Values)
	for i := 0; i < len(fields); i += 2 {
		values.Add(fields[i], fields[i+1])
	}
	got, body, h := r.do("POST", path, values.Encode(), "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin")
	if got != status {
		r.Fatalf("POST %s: status %d, not %d: %s", path, got, status, body)
	}
	return body, h.Get("Location")
}

func TestViewsAreThereWithoutATopic(t *testing.T) {
	r := newRig(t, Options{})
	for path, words := range map[string]string{
		"/": "There is no topic yet", "/ui/groups": "There is no group yet", "/ui/dead": "There are no dead letters", "/ui/health": "All is well",
	} {
		if got := r.must(http.StatusOK, "GET", path, ""); !strings.Contains(got, words) {
			t.Errorf("%s: %q is missing in %s", path, words, got)
		}
	}
	for _, path := range []string{"/ui/topics/none", "/ui/groups/none", "/ui/dead/none.dlq"} {
		status, body, h := r.do("GET", path, "")
		if status != http.StatusNotFound || h.Get("Content-Type") != typeHTML || !strings.Contains(body, "GONE") {
			t.Errorf("%s: %d, %s, %s", path, status, h.Get("Content-Type"), body)
		}
	}
}

// No page has code or styles in itself: the content policy would not let them work.
func TestPagesHaveNoInlineCodeAndEscapeAll(t *testing.T) {
	r := newRig(t, Options{})
	r.partitions("orders", 1)
	_, location := r.form(http.StatusSeeOther, "/ui/topics/orders/publish", "value", evil, "key", evil, "headers", "a: "+evil)
	r.drain("orders?group=billing")
	inline := regexp.MustCompile(`(?i)<script>|<script [^>]*>[^<]|<style|\son[a-z]+\s*=\s*["']|\sstyle=|javascript:|<img src=x`)
	for _, path := range []string{location, "/", "/ui/topics/orders", "/ui/topics/orders?find=" + url.QueryEscape(evil), "/ui/groups", "/ui/groups/billing", "/?match=" + url.QueryEscape(evil)} {
		status, body, h := r.do("GET", path, "")
		if found := inline.FindString(body); status != http.StatusOK || found != "" {
			t.Errorf("%s: %d, %q in %s", path, status, found, body)
		}
		if got := h.Get("Content-Security-Policy"); !strings.Contains(got, "script-src 'self'") || strings.Contains(got, "unsafe") {
			t.Errorf("%s: policy %q", path, got)
		}
	}
}

func TestAssetsAreKeptByBrowsersAndAreSmall(t *testing.T) {
	r := newRig(t, Options{})
	page := r.must(http.StatusOK, "GET", "/", "")
	sum := len(page)
	for _, path := range regexp.MustCompile(`/assets/[a-z0-9.]+`).FindAllString(page, -1) {
		status, body, h := r.do("GET", path, "")
		if status != http.StatusOK || !strings.Contains(h.Get("Cache-Control"), "immutable") || h.Get("Content-Type") == "" {
			t.Errorf("%s: %d, %v", path, status, h)
		}
		sum += len(body)
	}
	if sum > 150_000 {
		t.Errorf("the page takes %d bytes", sum)
	}
	r.must(http.StatusNotFound, "GET", "/assets/app.000000000000.js", "")
	r.must(http.StatusFound, "GET", "/favicon.ico", "") // of the browsers that show an answer of the API
}

func TestNumbersStreamSendsWhatHasChanged(t *testing.T) {
	r := newRig(t, Options{})
	r.partitions("orders", 1)
	resp, err := http.Get(r.url + "/ui/numbers")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	await := func(words string) string {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), words) {
				return lines.Text()
			}
		}
		t.Fatalf("the stream ends before %q: %v", words, lines.Err())
		return ""
	}
	await(`"topics":{"orders":[0,0,0,0,0,0,0,0]}`)
	if got := await(`"status":"ok"`); strings.Contains(got, "topics") {
		t.Errorf("nothing has changed, and it sends %s", got)
	}
	r.form(http.StatusSeeOther, "/ui/topics/orders/publish", "value", "first")
	await(`"orders":[1,0,1,`)
}
