package mbus

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// transport is what only tcpserver may know of a connection, by package.
var transport = map[string][]string{
	"net":     {"Conn", "TCPConn", "UnixConn", "Buffers", "Dial", "Dialer", "Listen"},
	"syscall": {"Conn", "RawConn", "Read", "Write", "Recvfrom", "Sendto", "Sendfile", "SetsockoptInt"},
	"tls":     {"Conn", "Config", "Server", "Client"},
	"unix":    {"GetsockoptInt", "GetsockoptTCPInfo", "IoctlGetInt", "SetsockoptInt"},
}

// The fronts and delivery have a tcpserver.Conn, or no connection at all, and do not get under
// it by a type assertion.
func TestOnlyTCPServerKnowsTheTransport(t *testing.T) {
	for _, front := range []string{"line", "kafka", "delivery", "coordinator"} {
		names, err := filepath.Glob(filepath.Join("internal", front, "*.go"))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s has no files, %v", front, err)
		}
		for _, name := range names {
			if !strings.HasSuffix(name, "_test.go") {
				findTransport(t, name)
			}
		}
	}
}

func findTransport(t *testing.T, name string) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if p, ok := n.X.(*ast.Ident); ok && p.Obj == nil && slices.Contains(transport[p.Name], n.Sel.Name) {
				t.Errorf("%s: %s.%s is for tcpserver", files.Position(n.Pos()), p.Name, n.Sel.Name)
			}
		case *ast.TypeAssertExpr:
			if x := lastName(n.X); x == "net" || x == "nc" || x == "conn" {
				t.Errorf("%s: a type assertion on a connection", files.Position(n.Pos()))
			}
		}
		return true
	})
}

// lastName is the name of a variable or field.
func lastName(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.SelectorExpr:
		return x.Sel.Name
	}
	return ""
}
