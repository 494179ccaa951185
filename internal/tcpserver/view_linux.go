package tcpserver

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// A view is what the system sees of a connection.
type view struct {
	state  state
	window uint32 // bytes that the peer's system would take, as its latest segment says
	scaled bool   // window is exact: small windows come in steps
}

// A state is that of the connection, of RFC 9293; those that matter after CloseWrite have
// a name.
type state uint8

// lastAck and closing say that the peer closed before it knew that this side would: its FIN
// came before this side's was sent, or did not acknowledge it.
const (
	established state = 1
	closed      state = 7 // after a reset, or the ends of both sides

	lastAck state = 9
	closing state = 11
)

// optionScaled is TCPI_OPT_WSCALE of linux/tcp.h.
const optionScaled = 4

func (s *socket) view() view {
	info, err := s.info()
	if err != nil {
		return view{}
	}
	return view{state(info.State), info.Snd_wnd, info.Options&optionScaled != 0}
}

func (s *socket) HasLeft() (has bool) {
	_ = control(s.raw, func(fd int) error {
		has = hasLeft(fd)
		return nil
	})
	return has
}

// hasLeft asks for the state alone, the first byte of tcp_info.
func hasLeft(fd int) bool {
	begin, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	now := state(binary.NativeEndian.AppendUint32(nil, uint32(begin))[0])
	return err == nil && now != established
}

func (s *socket) Observe() { s.maxWindow = max(s.maxWindow, s.view().window) }

func (s *socket) window() uint32 { return s.maxWindow }
