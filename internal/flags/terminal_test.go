package flags

import (
	"os"
	"testing"
)

func TestWhatIsNoTerminal(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/f")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	device, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	for _, f := range []*os.File{file, r, w, device} {
		if Terminal(int(f.Fd())) {
			t.Errorf("%s is taken for a terminal", f.Name())
		}
	}
}
