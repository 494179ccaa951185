package flags

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// newTerminal makes a terminal, and the side on which a person types.
func newTerminal(t *testing.T) (types, terminal *os.File) {
	t.Helper()
	types, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatalf("a test needs a pseudo terminal: %v", err)
	}
	t.Cleanup(func() { types.Close() })
	if err := unix.IoctlSetPointerInt(int(types.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(types.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return types, terminal
}

// What is typed is read, is not shown, and the terminal shows again what comes after it.
func TestSecretIsNotShown(t *testing.T) {
	types, terminal := newTerminal(t)
	shown := bufio.NewReader(types)
	read := make(chan string, 1)
	go func() {
		secret, err := ReadSecret(terminal, terminal, "Password: ")
		read <- fmt.Sprint(secret, " ", err)
	}()
	if prompt, err := shown.ReadString(' '); err != nil || prompt != "Password: " {
		t.Fatalf("%q, %v", prompt, err)
	}
	if _, err := types.WriteString("secret\r"); err != nil {
		t.Fatal(err)
	}
	if got := <-read; got != "secret <nil>" {
		t.Errorf("read %q", got)
	}
	if _, err := types.WriteString("visible\r"); err != nil {
		t.Fatal(err)
	}
	var all string
	for !strings.Contains(all, "visible") {
		line, err := shown.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		all += line
	}
	if strings.Contains(all, "secret") {
		t.Errorf("shown: %q", all)
	}
}

func TestSecretOfWhatIsNoTerminal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if _, err := ReadSecret(r, w, ""); err == nil {
		t.Error("a pipe is taken for a terminal")
	}
}

func TestLineOfASecretIsBounded(t *testing.T) {
	for text, want := range map[string]string{
		"a b\nrest": "a b <nil>", "\n": " <nil>", "a": " the input has ended before the line",
		strings.Repeat("x", maxSecret+1): " the line has more than 4096 bytes",
	} {
		line, err := readLine(strings.NewReader(text))
		if got := fmt.Sprint(line, " ", err); got != want {
			t.Errorf("%.10q: %q", text, got)
		}
	}
}
