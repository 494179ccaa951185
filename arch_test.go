// Package mbus has no code: this test keeps the arrows between the packages.
package mbus

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// arrows says which packages of the module each package may import. The broker
// is in the middle: servers above it, what keeps messages below. Only
// cmd/broker names the store that is used.
var arrows = map[string][]string{
	"internal/batch":                 {"internal/batch/codec"},
	"internal/batch/codec":           {},
	"internal/batch/codec/codectest": {"internal/batch/codec"},
	"internal/units":                 {},
	"internal/flags":                 {"internal/units"},
	"internal/store":                 {"internal/batch"},
	"internal/batch/batchtest":       {"internal/batch", "internal/batch/codec", "internal/batch/codec/codectest"},
	"internal/store/storefault":      {"internal/store"},
	"internal/store/storetest":       {"internal/batch", "internal/batch/batchtest", "internal/store"},
	"internal/vfs":                   {},
	"internal/vfs/crashfs":           {"internal/vfs"},
	"internal/commitlog":             {"internal/batch", "internal/message", "internal/store", "internal/vfs"},
	"internal/jetstream":             {"internal/batch", "internal/message", "internal/store", "internal/vfs"},
	"internal/jetstream/enginetest":  {"internal/jetstream", "internal/store"},
	"internal/group":                 {"internal/store"},
	"internal/transfer":              {"internal/batch", "internal/broker", "internal/commitlog", "internal/message", "internal/store"},
	"internal/turns":                 {},
	"internal/auth":                  {"internal/turns"},
	"internal/broker":                {"internal/auth", "internal/batch", "internal/message", "internal/store", "internal/group", "internal/schedule", "internal/units"},
	"internal/schedule":              {"internal/batch", "internal/store"},
	"internal/message":               {"internal/batch"},
	"internal/tcpserver":             {"internal/turns"},
	"internal/cluster/clusterkey":    {},
	"internal/client":                {"internal/batch", "internal/flags", "internal/units"},
	"internal/coordinator":           {},
	"internal/kafka":                 {"internal/auth", "internal/tcpserver", "internal/batch", "internal/message", "internal/store", "internal/group", "internal/broker", "internal/coordinator", "internal/units"},
	"internal/delivery":              {"internal/batch", "internal/group", "internal/broker", "internal/units"},
	"internal/gate":                  {"internal/broker", "internal/tcpserver"},
	"internal/relay":                 {"internal/batch", "internal/broker", "internal/tcpserver", "internal/units"},
	"internal/publish":               {"internal/tcpserver", "internal/batch", "internal/message", "internal/broker"},
	"internal/line":                  {"internal/auth", "internal/delivery", "internal/publish", "internal/tcpserver", "internal/batch", "internal/message", "internal/group", "internal/broker", "internal/units"},
	"internal/web":                   {"internal/auth", "internal/cluster", "internal/delivery", "internal/publish", "internal/tcpserver", "internal/batch", "internal/message", "internal/group", "internal/broker", "internal/units"},
	"internal/cluster":               {"internal/store"},
	"cmd/broker":                     {"internal/flags", "internal/units", "internal/vfs", "internal/auth", "internal/tcpserver", "internal/cluster", "internal/cluster/clusterkey", "internal/commitlog", "internal/jetstream", "internal/store", "internal/broker", "internal/line", "internal/kafka", "internal/web", "internal/transfer", "internal/gate", "internal/relay"},
	"cmd/producer":                   {"internal/client", "internal/flags", "internal/message"},
	"cmd/consumer":                   {"internal/batch", "internal/client", "internal/flags", "internal/units", "internal/message"},
	"cmd/admin":                      {"internal/auth", "internal/client", "internal/cluster/clusterkey", "internal/flags", "internal/units", "internal/message"},
	"test/brokertest":                {},
	"test/oracle":                    {},
	"test/sabotage":                  {"internal/units"},
}

// forbidden are packages of others that would let a package do what is another
// one's part.
var forbidden = map[string][]string{
	"internal/batch":       {"net", "os", "syscall"},
	"internal/batch/codec": {"net", "os", "syscall"},
	"internal/message":     {"net", "os", "syscall"},
	"internal/store":       {"net", "os", "syscall"},
	"internal/group":       {"net", "os", "syscall"},
	"internal/broker":      {"net", "os", "syscall"},
	"internal/line":        {"io/fs", "path/filepath"},

	"internal/delivery": {"net", "os", "syscall"},

	"internal/coordinator": {"net", "os", "syscall"},
}

func TestImportsPointOneWay(t *testing.T) {
	packages := imports(t)
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		if strings.HasPrefix(name, "test/") && len(packages[name]) == 0 {
			continue // only tests
		}
		allowed, known := arrows[name]
		if !known {
			t.Errorf("%s is new: say in arrows what it may import", name)
			continue
		}
		for _, path := range packages[name] {
			if own, ok := strings.CutPrefix(path, "mbus/"); ok && !slices.Contains(allowed, own) {
				t.Errorf("%s imports %s", name, own)
			}
			if slices.Contains(forbidden[name], path) {
				t.Errorf("%s imports %s, which is not its part", name, path)
			}
		}
		for _, own := range allowed {
			if !slices.Contains(packages[name], "mbus/"+own) {
				t.Errorf("%s does not import %s: take it out of arrows", name, own)
			}
		}
	}
	for name := range arrows {
		if _, found := packages[name]; !found {
			t.Errorf("%s does not exist: take it out of arrows", name)
		}
	}
}

// The broker's own driver interface is not for fronts: Kafka's needs the chunk for sendfile.
func TestImportOfTheStoreInKafkaIsForChunksOnly(t *testing.T) {
	paths, err := filepath.Glob("internal/kafka/*.go")
	if err != nil || len(paths) == 0 {
		t.Fatal(err, len(paths))
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := s.X.(*ast.Ident); ok && x.Name == "store" && s.Sel.Name != "Chunk" {
				t.Errorf("%s uses store.%s: the broker has it", path, s.Sel.Name)
			}
			return true
		})
	}
}

// imports gives what each package of the module imports, tests left out.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	out, err := exec.Command("go", "list", "-e", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := make(map[string][]string)
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		if name, ok := strings.CutPrefix(words[0], "mbus/"); ok {
			packages[name] = words[1:]
		}
	}
	return packages
}
