package tcpserver

import "syscall"

// Acknowledged is the number of bytes that the other side's system has acknowledged so far.
func Acknowledged(conn syscall.Conn) (uint64, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	info, err := (&socket{raw: raw}).info()
	if err != nil {
		return 0, err
	}
	return info.Bytes_acked, nil
}
