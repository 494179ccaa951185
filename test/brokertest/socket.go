package brokertest

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// Unacknowledged is the number of bytes written to conn that the other side's system has not
// acknowledged.
func Unacknowledged(conn syscall.Conn) (n int, err error) {
	err = socket(conn, func(fd int) (err error) {
		n, err = unix.IoctlGetInt(fd, unix.SIOCOUTQ)
		return err
	})
	return n, err
}

// Unread is the number of bytes that have come on conn and were not read.
func Unread(conn syscall.Conn) (n int, err error) {
	err = socket(conn, func(fd int) (err error) {
		n, err = unix.IoctlGetInt(fd, unix.SIOCINQ)
		return err
	})
	return n, err
}

// HasEnd says whether the other side's FIN has come; nothing needs to be read for that.
func HasEnd(conn syscall.Conn) (has bool, err error) {
	const closeWait = 8 // the state of RFC 9293, as Linux numbers it
	err = socket(conn, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			has = info.State == closeWait
		}
		return err
	})
	return has, err
}

func socket(conn syscall.Conn, f func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	e := raw.Control(func(fd uintptr) { err = f(int(fd)) })
	return errors.Join(e, err)
}
