package machine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// slowDiskBytes is the size of a slow disk.
const slowDiskBytes = 1 << 30

// blkio is where the kernel limits what groups of processes may do to disks.
const blkio = "/sys/fs/cgroup/blkio"

// A SlowDisk is a file system on a disk that takes so many writes a second, one
// after the other, from the processes of a group: a file as a loop device, and
// the group's limit of it.
type SlowDisk struct {
	Dir           string // where it is mounted
	image, device string
	group         string
}

// NewSlowDisk makes one under dir. It needs root, loop devices, mkfs.ext4 and
// version 1 of the kernel's control groups.
func NewSlowDisk(dir string, writesPerSecond int) (*SlowDisk, error) {
	d := &SlowDisk{
		Dir: filepath.Join(dir, "slow"), image: filepath.Join(dir, "slow.img"),
		group: filepath.Join(blkio, fmt.Sprintf("mbus-bench-%d", os.Getpid())),
	}
	if err := d.mount(); err != nil {
		d.Close()
		return nil, err
	}
	if err := d.limit(writesPerSecond); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// mount gives the loop device back to the kernel as soon as nothing is mounted from
// it, so that one that is only unmounted leaves no device.
func (d *SlowDisk) mount() error {
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(d.image, slowDiskBytes); err != nil {
		return err
	}
	if _, err := tell("mkfs.ext4", "-q", "-F", d.image); err != nil {
		return err
	}
	device, err := tell("losetup", "-f", "--show", "--direct-io=on", d.image)
	if err != nil {
		return err
	}
	d.device = device
	if err := os.Mkdir(d.Dir, 0o700); err != nil {
		return err
	}
	mounted := os.NewSyscallError("mount", syscall.Mount(d.device, d.Dir, "ext4", 0, ""))
	_, err = tell("losetup", "-d", d.device)
	return errors.Join(mounted, err)
}

func (d *SlowDisk) limit(writesPerSecond int) error {
	number, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(d.device), "dev"))
	if err != nil {
		return err
	}
	if err := os.Mkdir(d.group, 0o700); err != nil {
		return err
	}
	limit := fmt.Sprintf("%s %d", strings.TrimSpace(string(number)), writesPerSecond)
	return os.WriteFile(filepath.Join(d.group, "blkio.throttle.write_iops_device"), []byte(limit), 0o600)
}

// Command runs the command behind it as a member of the group.
func (d *SlowDisk) Command() []string {
	return []string{"sh", "-c", `echo $$ > "$0" && exec "$@"`, filepath.Join(d.group, "cgroup.procs")}
}

// Close removes the disk. No process of the group may be left.
func (d *SlowDisk) Close() error {
	var errs []error
	if err := syscall.Unmount(d.Dir, 0); err != nil && err != syscall.EINVAL && err != syscall.ENOENT { // it may not be mounted
		errs = append(errs, os.NewSyscallError("umount", err))
	}
	for _, name := range []string{d.group, d.Dir, d.image} {
		if err := os.Remove(name); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// UnmountBelow unmounts the slow disks under dir, also from processes that use them.
func UnmountBelow(dir string) {
	mounts, _ := filepath.Glob(filepath.Join(dir, "*", "slow"))
	for _, m := range mounts {
		_ = syscall.Unmount(m, syscall.MNT_DETACH) // it may not be mounted
	}
}

// tell runs a program and gives the line that it says.
func tell(program string, args ...string) (string, error) {
	out, err := exec.Command(program, args...).CombinedOutput()
	line := strings.TrimSpace(string(out))
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", program, err, line)
	}
	return line, nil
}
