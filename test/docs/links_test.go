package docs

import (
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// files lists the module's files by their paths from the root, without those
// of Git and what make builds.
func files(t *testing.T, keep func(path string) bool) []string {
	t.Helper()
	var list []string
	top := root(t)
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, path)
		switch {
		case err != nil:
			return err
		case d.IsDir() && (rel == ".git" || rel == "build" || rel == "data"):
			return fs.SkipDir
		case d.Type().IsRegular() && keep(rel):
			list = append(list, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func documents(t *testing.T) []string {
	list := files(t, func(path string) bool { return strings.HasSuffix(path, ".md") })
	if len(list) == 0 {
		t.Fatal("no document found")
	}
	return list
}

var (
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	mention  = regexp.MustCompile(`\b([a-z]+/)*[A-Z]{3,}\.md\b`)
	codeSpan = regexp.MustCompile("`[^`\n]*`")
)

func TestDocumentLinksLeadSomewhere(t *testing.T) {
	for _, name := range documents(t) {
		_, prose := blocks(document(t, name))
		for _, m := range link.FindAllStringSubmatch(codeSpan.ReplaceAllString(prose, ""), -1) {
			if problem := follow(t, name, m[1]); problem != "" {
				t.Errorf("%s: link to %q: %s", name, m[1], problem)
			}
		}
	}
}

// follow says what is wrong with a link of the document from, if anything.
// What lies on other hosts is not looked at.
func follow(t *testing.T, from, target string) string {
	u, err := url.Parse(target)
	if err != nil {
		return err.Error()
	}
	if u.Scheme != "" || u.Host != "" {
		return ""
	}
	path := from
	if u.Path != "" {
		path = filepath.Join(filepath.Dir(from), u.Path)
	}
	if _, err := os.Stat(filepath.Join(root(t), path)); err != nil {
		return "no such file"
	}
	if u.Fragment == "" {
		return ""
	}
	_, prose := blocks(document(t, path))
	if !anchors(prose)[u.Fragment] {
		return "no such heading"
	}
	return ""
}

func TestDocumentsMentionedExist(t *testing.T) {
	for _, name := range documents(t) {
		for _, m := range mention.FindAllString(document(t, name), -1) {
			beside := filepath.Join(root(t), filepath.Dir(name), m)
			if !exists(filepath.Join(root(t), m)) && !exists(beside) {
				t.Errorf("%s mentions %s, which does not exist", name, m)
			}
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestDocumentsAndSourcesNameNoMachine(t *testing.T) {
	words := append(registryHosts(t), root(t)+"/")
	if above := filepath.Dir(root(t)); above != "/" && above != filepath.Clean(os.TempDir()) { // programs may name that
		words = append(words, above+"/")
	}
	if home, err := os.UserHomeDir(); err == nil && home != "/" {
		words = append(words, home+"/")
	}
	text := func(path string) bool {
		return filepath.Ext(path) != ".sum" && !strings.Contains(path, "testdata")
	}
	for _, path := range files(t, text) {
		content := document(t, path)
		for _, word := range words {
			if strings.Contains(content, word) {
				t.Errorf("%s has %q, which is true of one machine only", path, word)
			}
		}
	}
}

// registryHosts asks Go where it loads modules from.
func registryHosts(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOPROXY", "GOSUMDB").Output()
	if err != nil {
		t.Fatal(err)
	}
	var hosts []string
	for _, word := range strings.FieldsFunc(string(out), func(r rune) bool { return strings.ContainsRune(", |\n", r) }) {
		if u, err := url.Parse(word); err == nil && u.Host != "" {
			word = u.Host
		}
		if strings.Contains(word, ".") {
			hosts = append(hosts, word)
		}
	}
	return hosts
}
