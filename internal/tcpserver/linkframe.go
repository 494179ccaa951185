package tcpserver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"syscall"
)

// A link is a TCP connection between two nodes that carries one client's connection: the carrying node has the
// client, the owner serves it. Both send frames:
//
//	0  1 kind
//	1  3 length of the body in bytes
//	4    body
//
// The first frame is a hello, and says nothing that the owner may not believe: only nodes reach the port of links.
// Numbers are big-endian, and counts are those of the link from its beginning, so that each says all there is to know.
//
//	hello      to the owner     Hello
//	welcome    to the carrier   the owner serves the client
//	elsewhere  to the carrier   it does not: the client is as it was
//	data       both ways        bytes from the client, or for it
//	grant      both ways        8: how many bytes of data the other side may have sent
//	end        both ways        the client, or the owner, has closed its sending side in good order
//	failed     to the owner     4: the system's error of the client's connection, which takes no more bytes
//	reset      to the owner     4: likewise; all that the client has sent before has been read
//	ask        to the carrier   for a state
//	state      to the owner     8: bytes for the client that its system has; 8: a count that grows with each that it takes
//	observe    to the carrier   Conn.Observe
//	confirm    to the carrier   how to find out that the client has read everything
//	confirmed  to the owner     1: a verdict, and the text of the error
//	admitted   to the carrier   the client has logged in
//	close      to the carrier   close in good order: the last frame
//	beat       both ways        where nothing else is sent
//
// A link that ends without a close is a reset to the client. Nothing else tells the owner that a client has ended in
// good order than end.
type kind uint8

const (
	frameHello kind = iota + 1
	frameWelcome
	frameElsewhere
	frameData
	frameGrant
	frameEnd
	frameFailed
	frameReset
	frameAsk
	frameState
	frameObserve
	frameConfirm
	frameConfirmed
	frameAdmitted
	frameClose
	frameBeat
)

// Sizes of frames, in bytes.
const (
	frameHeader = 4
	maxData     = fullGrant // of data
	maxHello    = 4 << 10
	maxText     = 1 << 10 // of an error
	confirmSize = 1 + 4*8
)

// bodies are the least and the most bytes of each kind's body.
var bodies = [...]struct{ least, most int }{
	frameHello: {len(greeting), maxHello}, frameData: {1, maxData}, frameGrant: {8, 8}, frameFailed: {4, 4}, frameReset: {4, 4}, frameState: {16, 16},
	frameConfirm: {confirmSize, confirmSize + maxData}, frameConfirmed: {1, 1 + maxText}, frameBeat: {0, 0},
}

// errFrame is for what no node sends.
var errFrame = errors.New("this is not a link between nodes")

// parseHeader gives the kind of a frame, and the length of its body, which is not larger than one may be.
func parseHeader(p []byte) (kind, int, error) {
	k, n := kind(p[0]), int(p[1])<<16|int(p[2])<<8|int(p[3])
	if k == 0 || int(k) >= len(bodies) || n < bodies[k].least || n > bodies[k].most {
		return 0, 0, fmt.Errorf("%w: kind %d, %d bytes", errFrame, k, n)
	}
	return k, n, nil
}

func putHeader(p []byte, k kind, n int) { binary.BigEndian.PutUint32(p, uint32(k)<<24|uint32(n)) }

// appendErrno appends the body of failed or reset: the number of an error of the system; 0 for another.
func appendErrno(p []byte, err error) []byte {
	var number syscall.Errno
	errors.As(err, &number)
	return binary.BigEndian.AppendUint32(p, uint32(number))
}

func parseErrno(p []byte) error {
	if number := syscall.Errno(binary.BigEndian.Uint32(p)); number != 0 {
		return number
	}
	return io.ErrUnexpectedEOF
}

// A Hello is what a carrier tells the owner of its client.
type Hello struct {
	Port                    string         // a name of the port, which the nodes have agreed upon
	Remote, Local           netip.AddrPort // the client's address, and that which it has connected to
	Private, TLS            bool           // Conn.IsPrivate, and whether it speaks TLS
	Certificate, ServerName string         // Conn.CertificateName and Conn.ServerName
}

// HelloOf describes a client of a port.
func HelloOf(port string, c Conn) Hello {
	h := Hello{Port: port, Remote: c.RemoteAddrPort(), Local: c.LocalAddrPort(), Private: c.IsPrivate(), Certificate: c.CertificateName()}
	h.ServerName, h.TLS = c.ServerName()
	return h
}

// greeting begins a hello. Fields that later versions add stand behind those of this one.
const greeting = "mbus link 1\n"

const (
	helloPrivate = 1 << iota
	helloTLS
)

// append appends the body of a hello.
func (h *Hello) append(p []byte) ([]byte, error) {
	var flags byte
	if h.Private {
		flags |= helloPrivate
	}
	if h.TLS {
		flags |= helloTLS
	}
	remote, _ := h.Remote.MarshalBinary() // which never fails
	local, _ := h.Local.MarshalBinary()
	begin := len(p)
	p = append(append(p, greeting...), flags)
	for _, field := range []string{string(remote), string(local), h.Port, h.Certificate, h.ServerName} {
		if len(field) > maxHello {
			return nil, fmt.Errorf("a name of %d bytes of a client is too long for a link", len(field))
		}
		p = append(binary.BigEndian.AppendUint16(p, uint16(len(field))), field...)
	}
	if n := len(p) - begin; n > maxHello {
		return nil, fmt.Errorf("the names of a client, of %d bytes, are too long for a link", n)
	}
	return p, nil
}

// parseHello parses the body of a hello.
func parseHello(p []byte) (h Hello, err error) {
	if len(p) <= len(greeting) || string(p[:len(greeting)]) != greeting {
		return h, errFrame
	}
	flags, p := p[len(greeting)], p[len(greeting)+1:]
	h.Private, h.TLS = flags&helloPrivate != 0, flags&helloTLS != 0
	var fields [5][]byte
	for i := range fields {
		if len(p) < 2 {
			return h, errFrame
		}
		n := int(binary.BigEndian.Uint16(p))
		if p = p[2:]; len(p) < n {
			return h, errFrame
		}
		fields[i], p = p[:n], p[n:]
	}
	if h.Remote.UnmarshalBinary(fields[0]) != nil || h.Local.UnmarshalBinary(fields[1]) != nil || !h.Remote.IsValid() || !h.Local.IsValid() {
		return h, errFrame
	}
	h.Port, h.Certificate, h.ServerName = string(fields[2]), string(fields[3]), string(fields[4])
	return h, nil
}
