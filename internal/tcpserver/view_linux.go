package tcpserver

import "syscall"

// A View is what the system sees of a connection.
type View struct {
	State  State
	Window uint32 // bytes that the peer's system would take, as its latest segment says
	Scaled bool   // Window is exact: small windows come in steps
}

// A State is that of the connection, of RFC 9293; those that matter after CloseWrite have
// a name.
type State uint8

// LastAck and Closing say that the peer closed before it knew that this side would: its FIN
// came before this side's was sent, or did not acknowledge it.
const (
	LastAck State = 9
	Closing State = 11
)

// optionScaled is TCPI_OPT_WSCALE of linux/tcp.h.
const optionScaled = 4

// Look is what the system sees of conn now.
func Look(conn syscall.Conn) (View, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return View{}, err
	}
	return look(&socket{raw: raw})
}

func look(s *socket) (View, error) {
	info, err := s.info()
	if err != nil {
		return View{}, err
	}
	return View{State(info.State), info.Snd_wnd, info.Options&optionScaled != 0}, nil
}

func (s *socket) view() View {
	v, _ := look(s)
	return v
}

func (s *socket) Observe() { s.maxWindow = max(s.maxWindow, s.view().Window) }

func (s *socket) window() uint32 { return s.maxWindow }
