package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// A sabotage breaks a promise in one source file, and names the test that has to notice.
type sabotage struct {
	name       string
	file       string // from the module's root
	expression string // for sed
	pkg        string // such as ./internal/line
	test       string

	source []byte // the file as the expression leaves it
}

// read gives the cases that match pattern. Each is five strings with a NUL behind them.
func read(in io.Reader, pattern *regexp.Regexp) ([]*sabotage, error) {
	text, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	fields := strings.Split(string(text), "\x00")
	if len(fields)%5 != 1 {
		return nil, errors.New("a case is a name, a file, an expression, a package and a test")
	}
	var cases []*sabotage
	for f := fields; len(f) > 5; f = f[5:] {
		if pattern.MatchString(f[0]) {
			cases = append(cases, &sabotage{name: f[0], file: f[1], expression: f[2], pkg: f[3], test: f[4]})
		}
	}
	if len(cases) == 0 {
		return nil, fmt.Errorf("no case has a name that matches %q", pattern)
	}
	return cases, nil
}

// fit reports every case that does not fit the tree below root: its expression changes nothing
// or leaves no Go, or its test is missing.
func fit(root string, cases []*sabotage) error {
	var err error
	for _, c := range cases {
		if e := c.fit(root); e != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", c.name, e))
		}
	}
	return err
}

func (c *sabotage) fit(root string) error {
	before, err := os.ReadFile(filepath.Join(root, c.file))
	if err != nil {
		return err
	}
	sed := exec.Command("sed", c.expression)
	sed.Stdin = bytes.NewReader(before)
	if c.source, err = sed.CombinedOutput(); err != nil {
		return fmt.Errorf("sed: %w: %s", err, c.source)
	}
	if bytes.Equal(c.source, before) {
		return fmt.Errorf("the expression changes nothing in %s", c.file)
	}
	if _, err := parser.ParseFile(token.NewFileSet(), c.file, c.source, parser.SkipObjectResolution); err != nil {
		return err
	}
	tests, err := filepath.Glob(filepath.Join(root, c.pkg, "*_test.go"))
	if err != nil {
		return err
	}
	for _, name := range tests {
		if text, err := os.ReadFile(name); err != nil || bytes.Contains(text, []byte("\nfunc "+c.test+"(")) {
			return err
		}
	}
	return fmt.Errorf("%s has no %s", c.pkg, c.test)
}
