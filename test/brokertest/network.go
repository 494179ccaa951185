package brokertest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// Foreign is an address of this machine in a network of OwnNetwork. It is not loopback.
const Foreign = "192.0.2.1"

// Variables of a test that runs in a network of its own: its name, and the directory of the programs.
const (
	networkVariable  = "MBUSTEST_NETWORK"
	programsVariable = "MBUSTEST_PROGRAMS"
)

// OwnNetwork runs a test once more, in a network of its own that no other machine reaches, and in which Foreign is an
// address of this one. It returns true there, and false to the test that has to return. Where the system does not allow that
// the test is skipped.
func OwnNetwork(t *testing.T) bool {
	t.Helper()
	if os.Getenv(networkVariable) == t.Name() {
		if err := addForeign(); err != nil {
			t.Fatal(err)
		}
		return true
	}
	NeedTools(t, "unshare")
	how, err := unshared()
	if err != nil {
		t.Skipf("needs a system that gives it a network of its own: %v", err)
	}
	if err := buildOnce(); err != nil {
		t.Fatal(err)
	}
	again := exec.Command("unshare", how, os.Args[0], "-test.v", "-test.run", "^"+t.Name()+"$")
	again.Env = append(os.Environ(), networkVariable+"="+t.Name(), programsVariable+"="+built)
	out, err := again.CombinedOutput()
	t.Logf("in a network of its own:\n%s", out)
	if err != nil {
		t.Error(err)
	}
	return false
}

// unshared gives the options of unshare for a network of its own: with users of its own, too, or as root without them,
// because some systems forbid those alone.
func unshared() (how string, err error) {
	var all []error
	for _, how := range []string{"-Urn", "-n"} {
		out, err := exec.Command("unshare", how, "true").CombinedOutput()
		if err == nil {
			return how, nil
		}
		all = append(all, fmt.Errorf("unshare %s: %w: %s", how, err, out))
	}
	return "", errors.Join(all...)
}

// addForeign gives the loopback interface, which begins without any, its addresses.
func addForeign() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	up, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	up.SetUint16(unix.IFF_UP)
	more, err := unix.NewIfreq("lo:1")
	if err != nil {
		return err
	}
	return errors.Join(
		unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, up), // which also adds 127.0.0.1
		more.SetInet4Addr([]byte{192, 0, 2, 1}),
		unix.IoctlIfreq(fd, unix.SIOCSIFADDR, more))
}
