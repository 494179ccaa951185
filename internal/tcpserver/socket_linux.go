package tcpserver

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// Unacknowledged is the number of bytes written to conn that the other side's
// system has not acknowledged, by ioctl SIOCOUTQ of tcp(7). The error is the
// connection's where it has one, such as a reset.
func Unacknowledged(conn syscall.Conn) (n int, err error) {
	err = control(conn, func(fd int) error {
		if err := SocketError(fd); err != nil {
			return err
		}
		n, err = unix.IoctlGetInt(fd, unix.SIOCOUTQ)
		return err
	})
	return n, err
}

// Acknowledged is the number of bytes that the other side's system has acknowledged
// so far, of tcp_info (linux/tcp.h, since Linux 4.1).
func Acknowledged(conn syscall.Conn) (n uint64, err error) {
	err = control(conn, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			n = info.Bytes_acked
		}
		return err
	})
	return n, err
}

func control(conn syscall.Conn, f func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		return e
	}
	if err != nil {
		return fmt.Errorf("asking the system for a connection: %w", err)
	}
	return nil
}

// SocketError is what has become of a connection, nil if it is well. After the
// other side's FIN it is all that tells of a reset: reading then finds the end for
// ever. It is told once.
func SocketError(fd int) error {
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = syscall.Errno(code)
	}
	return err
}

// A View is what the system sees of a connection.
type View struct {
	State  State
	Window uint32 // bytes that the other side's system would take, as it has said with its latest segment
	Scaled bool   // Window is exact: small buffers are told in steps
}

// A State is that of the connection, of RFC 9293; those that matter after CloseWrite have
// a name.
type State uint8

// LastAck and Closing say that the other side had closed before it knew that this side
// would: its FIN has come before this side's was sent, or did not acknowledge it.
const (
	LastAck State = 9
	Closing State = 11
)

// Look is what the system sees now.
func Look(conn syscall.Conn) (v View, err error) {
	err = control(conn, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			v = View{State(info.State), info.Snd_wnd, info.Options&optionScaled != 0}
		}
		return err
	})
	return v, err
}

// optionScaled is TCPI_OPT_WSCALE of linux/tcp.h.
const optionScaled = 4
