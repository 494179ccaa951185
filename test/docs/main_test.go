// Package docs checks the documents: what they show is run, where they point
// exists.
package docs

import (
	"os"
	"path/filepath"
	"testing"

	"mbus/test/brokertest"
)

func TestMain(m *testing.M) { brokertest.Main(m) }

// document reads a file of the module's root.
func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(t), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := brokertest.Root()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
