package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"mbus/test/brokertest"
)

var auditClient = regexp.MustCompile(`client=\S+`)

// The first line of the audit trail that the document shows is that of a token which may not read payroll.
func TestLineOfTheAuditTrailIsTrue(t *testing.T) {
	brokertest.NeedTools(t, "curl")
	s := newSecured(t)
	lines := indented(section(t, "docs/security.md", "The audit trail"))
	if len(lines) != 2 {
		t.Fatalf("lines: %q", lines)
	}
	if _, err := s.run([]string{"curl -s -H @alice.header 'https://bus.example:9992/topics/payroll/messages?from=beginning'"}, ""); err != nil {
		t.Fatal(err)
	}
	want := auditClient.ReplaceAllString(lines[0], "client=CLIENT")
	brokertest.Await(t, patience, "the log has "+want, func() bool {
		return strings.Contains(auditClient.ReplaceAllString(s.broker.Output(), "client=CLIENT"), want+"\n")
	})
}

var errorInRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")

// Each error that the guide explains is said by a program, or by the broker.
func TestErrorsOverTLSThatTheGuideExplainsAreSaid(t *testing.T) {
	var sources strings.Builder
	for _, dir := range []string{"client", "auth", "broker", "line", "tcpserver"} {
		files, err := filepath.Glob(filepath.Join(root(t), "internal", dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if !strings.HasSuffix(name, "_test.go") {
				text, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				sources.Write(text)
			}
		}
	}
	rows := errorInRow.FindAllStringSubmatch(section(t, "docs/guide.md", "Over TLS, as a user"), -1)
	if len(rows) < 9 {
		t.Fatalf("errors: %q", rows)
	}
	for _, row := range rows {
		text := strings.NewReplacer(`"alice"`, "%q", "-DENIED ", "", ": ", "...").Replace(row[1]) // errors wrap others
		for part := range strings.SplitSeq(text, "...") {
			if part = strings.Trim(part, `" `); !strings.Contains(sources.String(), part) {
				t.Errorf("nobody says %q of the error %q", part, row[1])
			}
		}
	}
}

var (
	makeCommand = regexp.MustCompile("`make ([a-z-]+)")
	madeFile    = regexp.MustCompile("(?:`| |^)(?:\\./)?((?:scripts|internal|test|cmd|docs)/[\\w./-]+)")
)

// The commands of CONTRIBUTING.md name rules of the Makefile, packages and files that there are.
func TestContributingCommandsExist(t *testing.T) {
	text, rules := document(t, "CONTRIBUTING.md"), document(t, "Makefile")
	commands := makeCommand.FindAllStringSubmatch(text, -1)
	for _, m := range commands {
		if !regexp.MustCompile(`(?m)^` + m[1] + `\b[^:=\n]*:`).MatchString(rules) {
			t.Errorf("the Makefile has no rule for make %s", m[1])
		}
	}
	files := madeFile.FindAllStringSubmatch(text, -1)
	for _, m := range files {
		name := strings.TrimRight(m[1], ".")
		if _, err := os.Stat(filepath.Join(root(t), name)); err != nil && !strings.HasPrefix(m[1], "internal/kafka/NN_") {
			t.Errorf("CONTRIBUTING.md names %s: %v", name, err)
		}
	}
	if len(commands) < 12 || len(files) < 20 {
		t.Errorf("found %d commands of make and %d files", len(commands), len(files))
	}
}
