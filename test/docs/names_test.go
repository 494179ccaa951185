package docs

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

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

func TestContributingPointsToFunctionsThatExist(t *testing.T) {
	list := functionInFile.FindAllStringSubmatch(section(t, "CONTRIBUTING.md", "Reading the source"), -1)
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

// A listedFlag is what a document says of a flag of a program.
type listedFlag struct{ name, value string }

var (
	flagRow   = regexp.MustCompile("(?m)^\\| ((?:`-[a-z-]+` )+)\\| (.*?) ?\\|")
	flagName  = regexp.MustCompile("`-([a-z-]+)`")
	flagUsage = regexp.MustCompile(`(?m)^  -([a-z-]+)((?:.*\n)(?:    .*\n)*)`)
)

// listedFlags are those of the first table in text. Several flags of a row have one
// default each, or the same.
func listedFlags(text string) (list []listedFlag) {
	table, _, _ := strings.Cut(text, "\n`") // where the next program's begins
	for _, row := range flagRow.FindAllStringSubmatch(table, -1) {
		names := flagName.FindAllStringSubmatch(row[1], -1)
		value := strings.ReplaceAll(row[2], "`", "")
		values := strings.Split(value, ", ")
		for i, m := range names {
			if len(values) == len(names) {
				value = values[i]
			}
			list = append(list, listedFlag{m[1], value})
		}
	}
	return list
}

// usages are what a program says of its flags with -h, by name. Those of admin are
// the flags of all its commands.
func usages(t *testing.T, program string) map[string]string {
	t.Helper()
	commands := [][]string{{"-h"}}
	if program == "admin" {
		commands = nil
		for _, name := range []string{"topics", "groups", "reset", "delete", "create", "grow", "users", "user add", "user password", "user show", "user delete", "grant", "revoke", "token add", "token remove", "cert"} {
			commands = append(commands, append(strings.Fields(name), "-h"))
		}
	}
	all := make(map[string]string)
	for _, args := range commands {
		usage, err := exec.Command(brokertest.Program(t, program), args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s %q: %v", program, args, err)
		}
		mustFit(t, string(usage))
		for _, m := range flagUsage.FindAllStringSubmatch(string(usage), -1) {
			all[m[1]] = strings.Join(strings.Fields(m[2]), " ")
		}
	}
	delete(all, "version")
	return all
}

// mustFit says which lines a terminal of 80 columns would break, and whether a flag is
// in no group.
func mustFit(t *testing.T, usage string) {
	t.Helper()
	for line := range strings.Lines(usage) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
			t.Errorf("%q has %d columns", line, n)
		}
		if line == "Also:\n" {
			t.Errorf("flags are in no group:\n%s", usage)
		}
	}
}

// says reports whether a usage text names this default. What has none may have a
// sentence in its place.
func says(usage, value string) bool {
	if value == "" {
		_, given, found := strings.Cut(usage, "(default ")
		given, _, _ = strings.Cut(given, ")")
		return !found || strings.Contains(given, " ")
	}
	return regexp.MustCompile(`(^|[^\w.])` + regexp.QuoteMeta(value) + `((0m)?0?s)?($|[^\w.])`).MatchString(usage)
}

// The tables have every flag of the programs, with its default, and no other.
func TestDocumentsListTheFlagsAndTheirDefaults(t *testing.T) {
	for _, program := range []string{"broker", "producer", "consumer", "admin"} {
		name, title := "docs/guide.md", "Flags of the programs"
		if program == "broker" {
			name, title = "docs/operations.md", "Flags"
		}
		_, table, found := strings.Cut(section(t, name, title), "\n`"+program)
		if !found {
			t.Errorf("%s has no flags of %q", name, program)
		}
		table = table[strings.Index(table, "\n"):]
		known := usages(t, program)
		for _, f := range listedFlags(table) {
			usage, found := known[f.name]
			if !found {
				t.Errorf("%s lists -%s, which %s does not have", name, f.name, program)
			} else if !says(usage, f.value) {
				t.Errorf("%s says that -%s of %s is %q by default; -h says %q", name, f.name, program, f.value, usage)
			}
			delete(known, f.name)
		}
		for flag := range known {
			t.Errorf("%s does not list -%s of %s", name, flag, program)
		}
	}
}

// forServices are the names of the variables, behind the service's own name, in which
// Kubernetes and docker --link describe a service. That of a port may be a flag's: what
// describes a service differs there by its value.
var forServices = regexp.MustCompile(`^(name$|env-|service-|port-)`)

func TestNoFlagIsNamedAsAVariableThatDescribesAService(t *testing.T) {
	for _, program := range []string{"broker", "producer", "consumer", "admin"} {
		for name := range usages(t, program) {
			if forServices.MatchString(name) {
				t.Errorf("beside a service named mbus the environment sets -%s of %s", name, program)
			}
		}
	}
}

var makeTarget = regexp.MustCompile("`make ([a-z][a-z-]*)")

func TestDocumentsNameTargetsOfTheMakefile(t *testing.T) {
	makefile := document(t, "Makefile")
	for _, name := range documents(t) {
		for _, m := range makeTarget.FindAllStringSubmatch(document(t, name), -1) {
			if !strings.Contains(makefile, "\n"+m[1]+":") {
				t.Errorf("%s names make %s, which is not there", name, m[1])
			}
		}
	}
}
