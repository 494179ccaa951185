package docs

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"mbus/test/brokertest"
)

// section is the part of a document under a heading of the second level.
func section(t *testing.T, name, title string) string {
	t.Helper()
	_, text, found := strings.Cut(document(t, name), "\n## "+title+"\n")
	if !found {
		t.Fatalf("%s has no part %q", name, title)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

var functionInFile = regexp.MustCompile("`(\\w+)`\\s+in\\s+`([\\w/.]+\\.go)`")

func TestReadmePointsToFunctionsThatExist(t *testing.T) {
	list := functionInFile.FindAllStringSubmatch(section(t, "README.md", "Reading the source"), -1)
	for _, m := range list {
		function := regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + m[1] + `\(`)
		if !function.MatchString(document(t, m[2])) {
			t.Errorf("there is no function %s in %s", m[1], m[2])
		}
	}
	if len(list) < 6 {
		t.Errorf("%d functions named", len(list))
	}
}

var (
	flagRow   = regexp.MustCompile("(?m)^\\| (`-[a-z-]+` )+\\|")
	flagName  = regexp.MustCompile("`-([a-z-]+)`")
	flagUsage = regexp.MustCompile(`(?m)^  -([a-z-]+)`)
)

// The tables have every flag of the programs and no other.
func TestReadmeListsTheFlags(t *testing.T) {
	list := section(t, "README.md", "Flags")
	for _, name := range []string{"broker", "producer", "consumer"} {
		_, table, found := strings.Cut(list, "\n`"+name+"`\n")
		if !found {
			t.Errorf("README.md has no flags of %q", name)
		}
		table, _, _ = strings.Cut(table, "\n`") // the next program's
		listed := make(map[string]bool)
		for _, row := range flagRow.FindAllString(table, -1) {
			for _, m := range flagName.FindAllStringSubmatch(row, -1) {
				listed[m[1]] = true
			}
		}
		usage, err := exec.Command(brokertest.Program(t, name), "-h").CombinedOutput()
		if err != nil {
			t.Fatalf("%s -h: %v", name, err)
		}
		for _, m := range flagUsage.FindAllStringSubmatch(string(usage), -1) {
			if !listed[m[1]] && m[1] != "version" {
				t.Errorf("README.md does not list -%s of %s", m[1], name)
			}
			delete(listed, m[1])
		}
		for flag := range listed {
			t.Errorf("README.md lists -%s, which %s does not have", flag, name)
		}
	}
}
