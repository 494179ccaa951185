package docs

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mbus/test/brokertest"
)

func TestCommandsOfTheSecurityPageDoWhatIsSaid(t *testing.T) { commandsDo(t, "docs/security.md", 5) }

// The page is about other machines: its broker listens for them, and its clients reach it by an address that is not
// loopback.
func TestCommandsOfTheSecurityPageDoSoOverANetwork(t *testing.T) {
	if !brokertest.OwnNetwork(t) {
		return
	}
	s := newScratch(t)
	s.remote = brokertest.Foreign
	s.runDocument("docs/security.md", 5)
}

var operationInCode = regexp.MustCompile("`([A-Z]+ /[^`]*)`")

// Each operation of HTTP has one row that says which permission it needs.
func TestEachOperationHasItsPermissionOnTheSecurityPage(t *testing.T) {
	b := brokertest.Start(t, t.TempDir())
	answer, err := http.Get("http://" + b.HTTP() + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	var served struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(text, &served); err != nil || len(served.Paths) < 20 {
		t.Fatalf("%d paths, %v", len(served.Paths), err)
	}
	rows := make(map[string]int)
	for line := range strings.Lines(section(t, "docs/security.md", "Users and permissions")) {
		cell, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " |")
		for _, m := range operationInCode.FindAllStringSubmatch(cell, -1) {
			rows[m[1]]++
		}
	}
	methods := []string{"get", "head", "post", "put", "patch", "delete"}
	for path, of := range served.Paths {
		for method := range of {
			if name := strings.ToUpper(method) + " " + path; slices.Contains(methods, method) {
				if rows[name] == 0 {
					t.Errorf("docs/security.md does not say which permission %s needs", name)
				}
				delete(rows, name)
			}
		}
	}
	for name := range rows {
		t.Errorf("docs/security.md has %s, which is not served", name)
	}
}
