package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// tree makes a module with a promise and a test of it.
func tree(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	for name, text := range map[string]string{
		"go.mod":    "module tree\n",
		"a.go":      "package tree\n\nfunc two() int { return 2 }\n",
		"a_test.go": "package tree\n\nimport \"testing\"\n\nfunc TestTwo(t *testing.T) {\n\tif two() != 2 {\n\t\tt.Fatal(two())\n\t}\n}\n",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestOnlyATestThatFailsHasNoticed(t *testing.T) {
	r := runner{root: tree(t), flags: quick, dir: t.TempDir(), building: make(chan struct{}, 1)}
	for expression, want := range map[string]string{
		"s/return 2/return 3/":                        "",
		"s/return 2/return 1 + 1/":                    "TestTwo did not notice",
		"s/return 2/return x/":                        "go test -c: exit status 1: ",
		"s/return 2/panic(\"broken\")/":               "",
		"s/package tree/&; func init() { panic(2) }/": "the sabotaged build does something else than fail TestTwo: exit status 2: panic: 2",
	} {
		c := &sabotage{file: "a.go", expression: expression, pkg: ".", test: "TestTwo"}
		if err := c.fit(r.root); err != nil {
			t.Fatal(err)
		}
		if said, err := r.try(c); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %v", expression, said, err)
		}
	}
	if said, err := r.prove(".", []string{"TestTwo"}); err != nil {
		t.Error(said, err)
	}
	if said, err := r.prove(".", []string{"TestTwo", "TestThree"}); err == nil || !strings.HasPrefix(err.Error(), "as it is, these tests do not pass: TestThree\n") {
		t.Errorf("a test that is missing: %s, %v", said, err)
	}
}

// A test that meets what is broken only now and then has shown that it can.
func TestWhatIsMissedOnceMayBeNoticedLater(t *testing.T) {
	r := runner{root: tree(t), flags: quick, dir: t.TempDir(), building: make(chan struct{}, 1)}
	runs := filepath.Join(t.TempDir(), "runs")
	t.Setenv("RUNS", runs)
	nth := "s/int { return 2 }/int { f, _ := os.OpenFile(os.Getenv(\"RUNS\"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); f.Write([]byte{0}); s, _ := f.Stat(); if s.Size() == N { return 3 }; return 2 }/; s/package tree/&; import \"os\"/"
	for n, want := range map[string]string{"2": "notices in run 2 after", "3": "notices in run 3 after", "5": ""} {
		if err := os.RemoveAll(runs); err != nil {
			t.Fatal(err)
		}
		c := &sabotage{file: "a.go", expression: strings.ReplaceAll(nth, "N {", n+" {"), pkg: ".", test: "TestTwo"}
		if err := c.fit(r.root); err != nil {
			t.Fatal(err)
		}
		if said, err := r.try(c); (err == nil) != (want != "") || !strings.Contains(said, want) {
			t.Errorf("run %s is red: %q, %v", n, said, err)
		}
	}
}

// The end of a log tells what has failed, why, and how to run it alone.
func TestFailuresStandAtTheEnd(t *testing.T) {
	r := runner{root: tree(t), flags: quick, dir: t.TempDir(), building: make(chan struct{}, 1)}
	cases := []*sabotage{
		{name: "count to two (or so)", file: "a.go", expression: "s/return 2/return 1 + 1/", pkg: ".", test: "TestTwo"},
		{name: "count what isn't there", file: "a.go", expression: "s/return 2/return x/", pkg: ".", test: "TestTwo"},
		{name: "count to three", file: "a.go", expression: "s/return 2/return 3/", pkg: ".", test: "TestTwo"},
	}
	if err := fit(r.root, cases); err != nil {
		t.Fatal(err)
	}
	jobs := r.jobs(cases)
	got := summary(runAll(jobs), len(jobs)).Error()
	for _, want := range []string{
		"2 of 4 FAILED:\n",
		"\n  count to two (or so): TestTwo did not notice in 3 runs\n    scripts/sabotage.sh '^count to two \\(or so\\)$'",
		"\n  count what isn't there: go test -c: exit status 1: ",
		"changed.go:3:25: undefined: x\n    scripts/sabotage.sh '^count what isn'\\''t there$'",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if n := strings.Count(got, "\n"); n != 4 || t.Failed() {
		t.Errorf("%d lines: %s", n+1, got)
	}
	if err := summary(runAll(jobs[:1]), 1); err != nil {
		t.Error(err)
	}
	if alone, want := jobs[0].alone, "go test -count=1 -run '^(TestTwo)$' ."; alone != want {
		t.Errorf("%s, not %s", alone, want)
	}
}

func TestCasesThatDoNotFitAreFoundFirst(t *testing.T) {
	root := tree(t)
	for _, c := range []struct{ file, expression, test, want string }{
		{"a.go", "s/2/3/", "TestTwo", ""},
		{"b.go", "s/2/3/", "TestTwo", "no such file"},
		{"a.go", "s/three/3/", "TestTwo", "changes nothing"},
		{"a.go", "s/2/(/", "TestTwo", "expected"},
		{"a.go", "s/2", "TestTwo", "sed"},
		{"a.go", "s/2/3/", "TestThree", "has no TestThree"},
	} {
		cases := []*sabotage{{name: "case", file: c.file, expression: c.expression, pkg: ".", test: c.test}}
		if err := fit(root, cases); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestCasesAreFiveStrings(t *testing.T) {
	all := regexp.MustCompile("")
	for text, want := range map[string]int{
		"a\x00f\x00s\x00p\x00t\x00":                          1,
		"a\x00f\x00s\x00p\x00t\x00b\x00f\x00s\x00p\x00t\x00": 2,
		"a\x00f\x00s\x00p\x00":                               0,
		"":                                                   0,
	} {
		cases, err := read(strings.NewReader(text), all)
		if len(cases) != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %d cases, %v", text, len(cases), err)
		}
	}
	if cases, err := read(strings.NewReader("a\x00f\x00s\x00p\x00t\x00"), regexp.MustCompile("b")); err == nil {
		t.Errorf("%d cases match, none of which has such a name", len(cases))
	}
}
