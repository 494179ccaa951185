package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var quoted = regexp.MustCompile("`([^`]+)`")

// atStart are texts that operations.md quotes and the system writes.
var atStart = []string{"already in use", "permission denied"}

// An operator finds each line at WARN or ERROR in docs/operations.md, and what to do.
func TestOperationsListEachWarningAndError(t *testing.T) {
	rows := make(map[string]bool) // whether something logs it
	for line := range strings.Lines(section(t, "docs/operations.md", "What to do when")) {
		if cell, _, isRow := strings.Cut(strings.TrimPrefix(line, "| "), " |"); isRow && strings.HasPrefix(line, "| `") {
			for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
				rows[m[1]] = slices.Contains(atStart, m[1])
			}
		}
	}
	messages := logged(t)
	if len(messages) < 50 {
		t.Errorf("%d messages found in the source", len(messages))
	}
	for _, m := range slices.Sorted(maps.Keys(messages)) {
		listed := false
		for row := range rows {
			if strings.HasPrefix(m, row) { // the rest says what follows from it
				rows[row], listed = true, true
			}
		}
		if !listed {
			t.Errorf("%s: %q is logged as a warning or an error, and docs/operations.md does not list it", messages[m], m)
		}
	}
	source := sourceOfBroker(t)
	for row, found := range rows {
		if !found && !strings.Contains(source, row) {
			t.Errorf("docs/operations.md quotes %q, which is not logged", row)
		}
	}
}

// brokerSource is whether a file is part of the broker.
func brokerSource(name string) bool {
	return strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") && !strings.Contains(name, "test/") &&
		(strings.HasPrefix(name, "internal/") || strings.HasPrefix(name, "cmd/broker/"))
}

func sourceOfBroker(t *testing.T) string {
	var source strings.Builder
	for _, name := range files(t, brokerSource) {
		source.WriteString(document(t, name))
	}
	return source.String()
}

// logged are the messages that the broker logs at WARN or ERROR, with the file of each. The
// message of a call is a constant, or the parameter of a function that is called with one.
func logged(t *testing.T) map[string]string {
	t.Helper()
	s := &logSearch{t: t, files: make(map[string]*ast.File), wrappers: make(map[string]int), messages: make(map[string]string)}
	for _, name := range files(t, brokerSource) {
		file, err := parser.ParseFile(token.NewFileSet(), name, document(t, name), 0)
		if err != nil {
			t.Fatal(err)
		}
		s.files[name] = file
	}
	for before := -1; before < len(s.wrappers); { // wrappers of wrappers, too
		before = len(s.wrappers)
		for name, file := range s.files {
			for _, d := range file.Decls {
				s.declaration(name, d)
			}
		}
	}
	return s.messages
}

// A logSearch finds the messages of calls.
type logSearch struct {
	t        *testing.T
	files    map[string]*ast.File
	wrappers map[string]int // functions by directory and name, with the number of the parameter that is the message
	messages map[string]string
}

func (s *logSearch) declaration(file string, d ast.Decl) {
	f, ok := d.(*ast.FuncDecl)
	if !ok { // a variable may hold a function, which logs constants
		f = &ast.FuncDecl{Name: ast.NewIdent("of a variable"), Type: &ast.FuncType{Params: new(ast.FieldList)}}
	}
	ast.Inspect(d, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if i := s.messageOf(file, call); i >= 0 && i < len(call.Args) {
			s.message(file, f, call.Args[i])
		}
		return true
	})
}

// messageOf is the number of the argument that is logged as a warning or an error; -1 for
// other calls.
func (s *logSearch) messageOf(file string, call *ast.CallExpr) int {
	name := ""
	switch f := call.Fun.(type) {
	case *ast.Ident:
		name = f.Name
	case *ast.SelectorExpr: // of a logger, whatever its name is: a message, and pairs of names and values
		switch name = f.Sel.Name; {
		case (name == "Warn" || name == "Error") && (len(call.Args)%2 == 1 || call.Ellipsis.IsValid()):
			return 0
		case name == "Log" && len(call.Args) > 2: // the level may be one of both
			return 2
		}
	}
	if i, found := s.wrappers[path.Dir(file)+" "+name]; found {
		return i
	}
	return -1
}

func (s *logSearch) message(file string, f *ast.FuncDecl, arg ast.Expr) {
	switch arg := arg.(type) {
	case *ast.BinaryExpr: // the beginning is enough
		s.message(file, f, arg.X)
		return
	case *ast.BasicLit:
		text, err := strconv.Unquote(arg.Value)
		if err != nil {
			s.t.Fatal(err)
		}
		s.messages[text] = file
		return
	case *ast.Ident:
		n := 0
		for _, field := range f.Type.Params.List {
			for _, name := range field.Names {
				if name.Name == arg.Name {
					s.wrappers[path.Dir(file)+" "+f.Name.Name] = n
					return
				}
				n++
			}
		}
	}
	s.t.Errorf("%s: function %s logs a message that is not a constant", file, f.Name.Name)
}
