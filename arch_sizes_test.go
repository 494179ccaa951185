package mbus

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The limits of a type. A type that needs more holds a second noun: find it, and give it
// the part of the state that is its own.
const (
	maxFields    = 20
	maxMethods   = 40
	maxEmbedding = 1 // levels: an embedded type embeds nothing
	maxFunction  = 60
	maxFile      = 500
)

// A typeSize is what the ratchet counts of one type.
type typeSize struct {
	fields, methods int
	embeds          []string // types of the same package
}

// A packageSize is what the ratchet counts of one package, its tests left out.
type packageSize struct {
	lines int
	types map[string]*typeSize
}

func TestArchitectureTypesStaySmall(t *testing.T) {
	for name, p := range sizes(t) {
		for _, typeName := range slices.Sorted(maps.Keys(p.types)) {
			size := p.types[typeName]
			if size.fields > maxFields {
				t.Errorf("%s: type %s has %d fields, the limit is %d", name, typeName, size.fields, maxFields)
			}
			if size.methods > maxMethods {
				t.Errorf("%s: type %s has %d methods, the limit is %d", name, typeName, size.methods, maxMethods)
			}
			if n := p.embedding(typeName); n > maxEmbedding {
				t.Errorf("%s: type %s embeds at %d levels, the limit is %d", name, typeName, n, maxEmbedding)
			}
		}
	}
}

func TestArchitecturePackagesDoNotGrow(t *testing.T) {
	found := sizes(t)
	for _, name := range slices.Sorted(maps.Keys(found)) {
		switch limit, known := packageLines[name]; {
		case !known:
			t.Errorf("%s is new: say in packageLines how many lines it may have", name)
		case found[name].lines > limit:
			t.Errorf("%s has %d lines, the limit is %d: shrink it, or raise the limit with a reason in the commit", name, found[name].lines, limit)
		case found[name].lines < limit*9/10-50:
			t.Errorf("%s has %d lines, the limit is %d: lower the limit, so that the package stays as small", name, found[name].lines, limit)
		}
	}
	for name := range packageLines {
		if found[name] == nil {
			t.Errorf("%s does not exist: take it out of packageLines", name)
		}
	}
}

// embedding is the number of levels at which a type embeds others of its package.
func (p *packageSize) embedding(typeName string) (levels int) {
	size := p.types[typeName]
	if size == nil {
		return 0
	}
	for _, e := range size.embeds {
		levels = max(levels, 1+p.embedding(e))
	}
	return levels
}

// sizes parses the source of each package below cmd and internal.
func sizes(t *testing.T) map[string]*packageSize {
	t.Helper()
	packages := make(map[string]*packageSize)
	for _, root := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			name := filepath.ToSlash(filepath.Dir(path))
			if packages[name] == nil {
				packages[name] = &packageSize{types: make(map[string]*typeSize)}
			}
			packages[name].add(t, path)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return packages
}

// add counts a file.
func (p *packageSize) add(t *testing.T, path string) {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	lines := set.File(file.Pos()).LineCount()
	if p.lines += lines; lines > maxFile {
		t.Errorf("%s has %d lines, the limit is %d", path, lines, maxFile)
	}
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if n := set.Position(d.End()).Line - set.Position(d.Pos()).Line + 1; n > maxFunction {
				t.Errorf("%s: function %s has %d lines, the limit is %d", path, d.Name.Name, n, maxFunction)
			}
			if d.Recv != nil {
				p.typeSize(typeName(d.Recv.List[0].Type)).methods++
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				if s, ok := s.(*ast.TypeSpec); ok {
					p.addType(s)
				}
			}
		}
	}
}

// addType counts the fields of a struct type.
func (p *packageSize) addType(s *ast.TypeSpec) {
	st, ok := s.Type.(*ast.StructType)
	if !ok {
		return
	}
	size := p.typeSize(s.Name.Name)
	for _, f := range st.Fields.List {
		if size.fields += max(1, len(f.Names)); len(f.Names) == 0 {
			size.embeds = append(size.embeds, typeName(f.Type))
		}
	}
}

func (p *packageSize) typeSize(name string) *typeSize {
	if p.types[name] == nil {
		p.types[name] = new(typeSize)
	}
	return p.types[name]
}

// typeName is the name of a type of the same package, without pointer and parameters.
func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.IndexExpr:
		return typeName(e.X)
	case *ast.IndexListExpr:
		return typeName(e.X)
	case *ast.Ident:
		return e.Name
	}
	return "" // of another package
}

// packageLines are the most lines that each package may have, its tests left out. A limit
// is raised by hand, with the reason in the commit, or not at all.
var packageLines = map[string]int{
	"cmd/admin":                      1850,
	"cmd/broker":                     1800,
	"cmd/consumer":                   2750,
	"cmd/producer":                   300,
	"internal/batch":                 950,
	"internal/batch/batchtest":       250,
	"internal/batch/codec":           500,
	"internal/batch/codec/codectest": 250,
	"internal/broker":                7800,
	"internal/auth":                  1400,
	"internal/client":                2250,
	"internal/cluster":               880,
	"internal/cluster/clusterkey":    300,
	"internal/commitlog":             11750,
	"internal/coordinator":           1500,
	"internal/delivery":              3950,
	"internal/flags":                 700,
	"internal/group":                 3480,
	"internal/jetstream":             5850,
	"internal/jetstream/enginetest":  150,
	"internal/kafka":                 6600,
	"internal/line":                  2700,
	"internal/message":               950,
	"internal/publish":               600,
	"internal/gate":                  1200,
	"internal/relay":                 1150,
	"internal/schedule":              1850,
	"internal/store":                 660,
	"internal/store/storefault":      260,
	"internal/store/storetest":       2550,
	"internal/tcpserver":             5250,
	"internal/transfer":              1060,
	"internal/turns":                 300,
	"internal/units":                 450,
	"internal/vfs":                   620,
	"internal/web":                   9600,
	"internal/vfs/crashfs":           950,
}
