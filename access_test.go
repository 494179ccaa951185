package mbus

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"mbus/internal/broker"
)

// withoutView are the methods of the broker that reach no topic and no group by themselves:
// what they get has come from a View. All others are methods of View.
var withoutView = []string{
	"As", "Close", "Leave", "Options", "Now", "Check", "CheckConfig", "CheckTimes", // no topic, or one that a View has given
	"AwaitPositions", "SyncPositions", "AwaitCommits", "PositionsUnusable", // whether something is durable, or can be
	"PositionsLost", "StartAtEnd", "Bury", "Once", // a topic and a position that a View has given
	"Users", "Login", "LoginFailed", "Refused", // who a client is, and how many were refused; only a View changes users
	"Exposure",        // what protects nobody
	"Sweep", "Retain", // the broker's own work
}

func TestTheBrokerGivesNothingWithoutAView(t *testing.T) {
	b := reflect.TypeFor[*broker.Broker]()
	for i := range b.NumMethod() {
		if name := b.Method(i).Name; !slices.Contains(withoutView, name) {
			t.Errorf("broker.Broker has the method %s: it is for broker.View, or is named here with the reason", name)
		}
	}
	for _, name := range withoutView {
		if _, has := b.MethodByName(name); !has {
			t.Errorf("broker.Broker has no method %s", name)
		}
	}
}

// Each method of View asks for access, itself or by way of another one.
func TestEachMethodOfAViewAsksForAccess(t *testing.T) {
	paths, err := filepath.Glob("internal/broker/*.go")
	if err != nil {
		t.Fatal(err)
	}
	calls := make(map[string][]string) // of the view, by method
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv == nil || receiver(f) != "View" {
				continue
			}
			name := f.Recv.List[0].Names[0].Name
			method := f.Name.Name
			calls[method] = nil
			ast.Inspect(f.Body, func(n ast.Node) bool {
				if c, ok := n.(*ast.CallExpr); ok && len(c.Args) > 0 { // May(v, ...)
					f, isName := c.Fun.(*ast.Ident)
					if x, ok := c.Args[0].(*ast.Ident); ok && isName && x.Name == name {
						calls[method] = append(calls[method], f.Name)
					}
				}
				if s, ok := n.(*ast.SelectorExpr); ok {
					if x, ok := s.X.(*ast.Ident); ok && x.Name == name {
						calls[method] = append(calls[method], s.Sel.Name)
					}
				}
				return true
			})
		}
	}
	asks := map[string]bool{"Allow": true, "May": true, "NewRedrive": true} // whose methods ask
	for again := true; again; {
		again = false
		for name, of := range calls {
			if !asks[name] && slices.ContainsFunc(of, func(called string) bool { return asks[called] }) {
				asks[name], again = true, true
			}
		}
	}
	if len(calls) < 20 {
		t.Errorf("only %d methods were found", len(calls))
	}
	for name := range calls {
		if !asks[name] {
			t.Errorf("View.%s does not ask for access", name)
		}
	}
}

// receiver is the type that a method is of.
func receiver(f *ast.FuncDecl) string {
	of := f.Recv.List[0].Type
	if p, ok := of.(*ast.StarExpr); ok {
		of = p.X
	}
	if id, ok := of.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}
