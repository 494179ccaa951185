package clients

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// jars is where Maven puts the Java client, which stays for the next time.
const jars = "../../build/java"

// installJava makes sure that the client is that of pom.xml.
var installJava = sync.OnceValue(func() error {
	for _, program := range []string{"javac", "mvn"} { // java runs a source with javac's compiler
		if _, err := exec.LookPath(program); err != nil {
			return err
		}
	}
	const project = "pom.xml"
	want, err := os.ReadFile(filepath.Join("java", project))
	if err != nil {
		return err
	}
	if got, _ := os.ReadFile(filepath.Join(jars, project)); bytes.Equal(want, got) {
		return nil
	}
	dir, err := filepath.Abs(jars)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	mvn := exec.Command("mvn", "-B", "-q", "dependency:copy-dependencies", "-DoutputDirectory="+dir)
	mvn.Dir = "java"
	if out, err := mvn.CombinedOutput(); err != nil {
		return fmt.Errorf("mvn: %w\n%s", err, out)
	}
	return os.WriteFile(filepath.Join(dir, project), want, 0o644) // they are all there
})

// java runs the Java client against the broker at an address. Where it can't be had the test is skipped, but not in
// continuous integration.
func java(t *testing.T, address string, more ...string) {
	t.Helper()
	switch err := installJava(); {
	case err != nil && os.Getenv("CI") == "":
		reason, _, _ := strings.Cut(err.Error(), "\n")
		t.Skip("the Java client is not run: it needs a JDK, and Maven with its repository: " + reason)
	case err != nil:
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience) // it compiles first
	defer cancel()
	args := append([]string{"-XX:TieredStopAtLevel=1", "-cp", filepath.Join(jars, "*"), filepath.Join("java", "Clients.java"), address}, more...)
	if out, err := exec.CommandContext(ctx, "java", args...).CombinedOutput(); err != nil {
		t.Errorf("java: %v\n%s", err, out)
	}
}

func TestJava(t *testing.T) { java(t, start(t).address) }

func TestJavaLogsIn(t *testing.T) {
	s := startSecured(t)
	java(t, s.address, s.authority, "admin", password)
}
