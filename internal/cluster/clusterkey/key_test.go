package clusterkey

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// vector is the line of the secret 0, 1, … 31. It was computed by another program, as were its derivations.
const vector = "mbus-cluster-key-1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9jDc0p"

func vectorKey(t testing.TB) *Key {
	t.Helper()
	k, err := Parse(vector)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestLineIsThatOfTheVector(t *testing.T) {
	k := vectorKey(t)
	for i, b := range k.secret {
		if int(b) != i {
			t.Fatalf("byte %d is %d", i, b)
		}
	}
	if k.Line() != vector {
		t.Errorf("%q", k.Line())
	}
}

func TestNewKeysDifferAndCanBeRead(t *testing.T) {
	a, b := New(), New()
	if a.Line() == b.Line() || a.ID() == b.ID() {
		t.Error("two keys are equal")
	}
	read, err := Parse(a.Line() + "\n")
	if err != nil || *read != *a {
		t.Errorf("%v, %v", read, err)
	}
}

// Each letter that differs, and each letter that is missing, is noticed.
func TestParseRefusesLinesThatAreNotWhole(t *testing.T) {
	for i := range vector {
		if _, err := Parse(vector[:i]); err == nil {
			t.Errorf("%d letters are a key", i)
		}
		other := []byte(vector)
		if other[i]++; string(other) == vector {
			continue
		}
		if _, err := Parse(string(other)); err == nil {
			t.Errorf("letter %d may be another one", i)
		}
	}
	for _, line := range []string{"", "\n", vector + "A", vector + "\n" + vector, "-----BEGIN PRIVATE KEY-----", strings.ToLower(vector)} {
		if _, err := Parse(line); err == nil {
			t.Errorf("%q is a key", line)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(vector)
	f.Add(prefix)
	f.Add(" " + vector + "\r\n")
	f.Fuzz(func(t *testing.T, line string) {
		k, err := Parse(line)
		if err == nil && k.Line() != strings.TrimSpace(line) {
			t.Errorf("%q is the key %q", line, k.Line())
		}
	})
}

// No format shows the secret.
func TestFormatsDoNotShowTheSecret(t *testing.T) {
	k := vectorKey(t)
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q", "%X"} {
		for _, of := range []any{k, *k, struct{ K *Key }{k}, struct{ K Key }{*k}} {
			text := fmt.Sprintf(format, of)
			if strings.Contains(text, "AAEC") || strings.Contains(text, "0001") || strings.Contains(text, "1 2 3") || strings.Contains(text, "0x1,") {
				t.Errorf("%s of %T shows %s", format, of, text)
			}
		}
	}
}

func write(t *testing.T, content string, mode os.FileMode) (name string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "cluster.key")
	if err := os.WriteFile(name, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestReadTakesAFileThatIsItsUsersOnly(t *testing.T) {
	for _, mode := range []os.FileMode{0o600, 0o400} {
		k, err := Read(write(t, vector+"\n", mode))
		if err != nil || *k != *vectorKey(t) {
			t.Errorf("%04o: %v", mode, err)
		}
	}
	for _, mode := range []os.FileMode{0o644, 0o604, 0o620, 0o602, 0o660, 0o610} {
		name := write(t, vector+"\n", mode)
		if _, err := Read(name); err == nil || !strings.Contains(err.Error(), "chmod 600") || !strings.Contains(err.Error(), name) {
			t.Errorf("%04o: %v", mode, err)
		}
	}
}

// Kubernetes mounts secrets that are root's, with a group that may read them.
func TestReadTakesAFileOfRootThatAGroupMayRead(t *testing.T) {
	name := write(t, vector+"\n", 0o440)
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Read(name)
	if isRoot := info.Sys().(*syscall.Stat_t).Uid == 0; isRoot != (err == nil) {
		t.Errorf("the file is root's: %v, and %v", isRoot, err)
	}
}

func TestReadSaysWhatIsWrong(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		filepath.Join(t.TempDir(), "none"): "admin new-key",
		t.TempDir():                        "not a file",
		pipe:                               "not a file",
		write(t, strings.Repeat("x", 1000), 0o600):                  "more than 256 bytes",
		write(t, "", 0o600):                                         "no cluster key",
		write(t, vector[:40], 0o600):                                "not whole",
		write(t, vector[:len(vector)-1]+"o", 0o600):                 "", // a bit of the last letter that has no meaning
		write(t, strings.Replace(vector, "AAEC", "AAEB", 1), 0o600): "mistyped",
	} {
		if _, err := Read(name); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v, not %q", name, err, want)
		}
	}
}
