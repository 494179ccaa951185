package fault

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"mbus/test/brokertest"
)

// EXT4_IOC_SHUTDOWN of linux/fs/ext4/ext4.h: the file system stops at once, as in
// a power cut, without writing anything out, its journal neither.
const (
	ext4Shutdown           = 0x8004587d
	ext4ShutdownNoLogFlush = 2
)

// A loopDisk is an ext4 file system of its own, whose power can be cut: what
// was synced stays, what was not is gone.
type loopDisk struct {
	dir    string // where it is mounted
	device string
}

// newLoopDisk makes a disk and mounts it, and takes it away with the test.
func newLoopDisk(t *testing.T, bytes int64) *loopDisk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: a power cut is tried on a file system of its own, on a loop device")
	}
	brokertest.NeedTools(t, "losetup", "mkfs.ext4")
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, bytes); err != nil {
		t.Fatal(err)
	}
	command(t, "mkfs.ext4", "-q", "-F", image)
	d := &loopDisk{dir: filepath.Join(dir, "mounted")}
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	device, err := exec.Command("losetup", "--find", "--show", image).Output()
	if err != nil {
		t.Skipf("needs a loop device: a power cut is tried on a file system of its own: %v", err)
	}
	d.device = strings.TrimSpace(string(device))
	t.Cleanup(func() { command(t, "losetup", "--detach", d.device) })
	d.mount(t)
	t.Cleanup(func() { unmount(t, d.dir) })
	return d
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

func (d *loopDisk) mount(t *testing.T) {
	t.Helper()
	// It must not sync by itself, as it does each five seconds, what nobody has synced.
	if err := syscall.Mount(d.device, d.dir, "ext4", 0, "commit=3600"); err != nil {
		t.Fatalf("mounting %s: %v", d.device, err)
	}
}

// unmount waits for the end of those who have been killed and still have files open.
func unmount(t *testing.T, dir string) {
	t.Helper()
	await(t, "nobody has files open in "+dir, func() bool {
		err := syscall.Unmount(dir, 0)
		if err != nil && err != syscall.EBUSY {
			t.Fatalf("unmounting %s: %v", dir, err)
		}
		return err == nil
	})
}

// powerCut cuts the power, and brings it back when the broker is gone. Nothing that
// it would answer after the cut is read: it is stopped before, though syncs that
// are under way go on. A kernel that loses its disk within fdatasync may return 0,
// as Linux 6.18 does now and then, and no program of a machine without power goes on.
func (d *loopDisk) powerCut(t *testing.T, b *brokertest.Broker) {
	t.Helper()
	if err := b.Freeze(); err != nil {
		t.Error(err)
	}
	d.cut(t)
	b.Kill()
	d.restore(t)
}

// cut cuts the power. Whatever is called on the disk from now on fails.
func (d *loopDisk) cut(t *testing.T) {
	t.Helper()
	f, err := os.Open(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	how := uint32(ext4ShutdownNoLogFlush)
	_, _, failed := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), ext4Shutdown, uintptr(unsafe.Pointer(&how)))
	if failed != 0 {
		t.Fatalf("cutting the power: %v", failed)
	}
}

// restore brings the power back. Nobody may use the disk.
func (d *loopDisk) restore(t *testing.T) {
	t.Helper()
	unmount(t, d.dir)
	d.mount(t)
}
