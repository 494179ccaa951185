package fault

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"hash"
	"io"
	"net"
	"strings"
	"testing"

	"mbus/test/brokertest"
)

// A freeHandshake is the client's side of a handshake of TLS 1.3 (RFC 8446) that costs the client next to nothing: its
// private key is 1, so that its public key is the base point of P-256, and the secret of both sides is the X coordinate of
// the server's public key. It verifies nothing. A server does for it what a handshake takes.
type freeHandshake struct {
	got        []byte    // bytes of records that are not complete
	said       []byte    // messages that are not complete
	transcript hash.Hash // of the messages of both sides
	secret     []byte    // of the handshake; nil before the ServerHello
	server     sealer    // decrypts its messages
	own        [32]byte  // the client's secret of the handshake
	isAsked    bool      // for a certificate
}

const (
	recordChangeCipher = 20 // which means nothing in TLS 1.3
	recordHandshake    = 22
	recordApplication  = 23

	messageServerHello = 2
	messageCertRequest = 13
	messageFinished    = 20
)

// basePoint is that of P-256, without the 4 in front.
var basePoint = func() []byte {
	one := make([]byte, 32)
	one[31] = 1
	key, err := ecdh.P256().NewPrivateKey(one)
	if err != nil {
		panic(err)
	}
	return key.PublicKey().Bytes()[1:]
}()

// freeHello is the ClientHello of each freeHandshake, in its record.
var freeHello = func() []byte {
	extension := func(kind byte, p ...byte) []byte { return append([]byte{0, kind, 0, byte(len(p))}, p...) }
	extensions := bytes.Join([][]byte{
		extension(10, 0, 2, 0, 23),                                             // groups: P-256
		extension(13, 0, 8, 4, 3, 8, 4, 8, 7, 4, 1),                            // signatures: ECDSA with P-256, RSA, Ed25519
		extension(43, 2, 3, 4),                                                 // versions: TLS 1.3
		extension(51, append([]byte{0, 69, 0, 23, 0, 65, 4}, basePoint...)...), // the public key
	}, nil)
	body := append([]byte{3, 3}, make([]byte, 32)...) // version, random bytes
	body = append(body, 0, 0, 2, 0x13, 1, 1, 0)       // no session; AES-128-GCM with SHA-256; no compression
	body = append(binary.BigEndian.AppendUint16(body, uint16(len(extensions))), extensions...)
	return appendRecord(nil, recordHandshake, append([]byte{1, 0, 0, byte(len(body))}, body...))
}()

const recordHead = 5

func appendRecord(to []byte, kind byte, p []byte) []byte {
	return append(binary.BigEndian.AppendUint16(append(to, kind, 3, 3), uint16(len(p))), p...)
}

func newFreeHandshake() *freeHandshake {
	h := &freeHandshake{transcript: sha256.New()}
	h.transcript.Write(freeHello[recordHead:])
	return h
}

var errHandshake = errors.New("the server does not do this handshake")

// read takes bytes of the server. With the last of them it gives the client's answer, and what encrypts all that follows.
func (h *freeHandshake) read(p []byte) (answer []byte, then *sealer, err error) {
	h.got = append(h.got, p...)
	for len(h.got) >= recordHead {
		n := recordHead + int(binary.BigEndian.Uint16(h.got[3:]))
		if len(h.got) < n {
			break
		}
		record := h.got[:n]
		h.got = h.got[n:]
		switch {
		case record[0] == recordHandshake && h.secret == nil:
			h.said = append(h.said, record[recordHead:]...)
		case record[0] == recordApplication && h.secret != nil:
			plain, err := h.server.open(record)
			if err != nil {
				return nil, nil, err
			}
			h.said = append(h.said, plain...)
		case record[0] == recordChangeCipher:
		default:
			return nil, nil, errHandshake
		}
		if isLast, err := h.understand(); isLast || err != nil {
			if err == nil {
				answer, then = h.finish()
			}
			return answer, then, err
		}
	}
	return nil, nil, nil
}

// understand reads the messages that are complete, and reports whether the last one was the server's Finished.
func (h *freeHandshake) understand() (isLast bool, err error) {
	for len(h.said) >= 4 {
		n := 4 + int(binary.BigEndian.Uint32(h.said)&0xffffff)
		if len(h.said) < n {
			return false, nil
		}
		message := h.said[:n]
		h.said = h.said[n:]
		h.transcript.Write(message)
		switch message[0] {
		case messageServerHello:
			at := bytes.Index(message, []byte{0, 51, 0, 69, 0, 23, 0, 65, 4}) // the public key
			if at < 0 || len(message) < at+9+32 {
				return false, errHandshake
			}
			h.agree(message[at+9 : at+9+32])
		case messageCertRequest:
			h.isAsked = true
		case messageFinished:
			return true, nil
		}
	}
	return false, nil
}

// noSecret is the secret from which those of a handshake without a key of before come.
var noSecret = derive(extract(make([]byte, 32), nil), "derived", emptyHash)

var emptyHash = sha256.New().Sum(nil)

// agree makes the secrets of the handshake.
func (h *freeHandshake) agree(shared []byte) {
	so := h.transcript.Sum(nil)
	h.secret = extract(shared, noSecret)
	h.server = newSealer(derive(h.secret, "s hs traffic", so))
	copy(h.own[:], derive(h.secret, "c hs traffic", so))
}

// finish makes the last messages of the client: a certificate of nobody, if it is asked for one, and its Finished.
func (h *freeHandshake) finish() (answer []byte, then *sealer) {
	master := extract(make([]byte, 32), derive(h.secret, "derived", emptyHash))
	application := newSealer(derive(master, "c ap traffic", h.transcript.Sum(nil)))
	var messages []byte
	if h.isAsked {
		messages = []byte{11, 0, 0, 4, 0, 0, 0, 0}
		h.transcript.Write(messages)
	}
	proof := hmac.New(sha256.New, expand(h.own[:], "finished", nil, 32))
	proof.Write(h.transcript.Sum(nil))
	messages = append(append(messages, messageFinished, 0, 0, 32), proof.Sum(nil)...)
	own := newSealer(h.own[:])
	return own.seal(recordHandshake, messages), &application
}

func extract(secret, salt []byte) []byte {
	key, err := hkdf.Extract(sha256.New, secret, salt)
	if err != nil {
		panic(err)
	}
	return key
}

// expand is HKDF-Expand-Label of RFC 8446, section 7.1.
func expand(secret []byte, label string, context []byte, n int) []byte {
	label = "tls13 " + label
	info := string([]byte{0, byte(n), byte(len(label))}) + label + string([]byte{byte(len(context))}) + string(context)
	key, err := hkdf.Expand(sha256.New, secret, info, n)
	if err != nil {
		panic(err)
	}
	return key
}

func derive(secret []byte, label string, transcript []byte) []byte {
	return expand(secret, label, transcript, 32)
}

// A sealer encrypts or decrypts the records of one side.
type sealer struct {
	aead   cipher.AEAD
	iv     []byte
	number uint64 // of the next record
}

func newSealer(secret []byte) sealer {
	block, err := aes.NewCipher(expand(secret, "key", nil, 16))
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return sealer{aead: aead, iv: expand(secret, "iv", nil, 12)}
}

func (s *sealer) nonce() []byte {
	nonce := bytes.Clone(s.iv)
	binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])^s.number)
	s.number++
	return nonce
}

// seal makes a record of p.
func (s *sealer) seal(kind byte, p []byte) []byte {
	p = append(bytes.Clone(p), kind)
	record := appendRecord(nil, recordApplication, append(p, make([]byte, s.aead.Overhead())...))
	return s.aead.Seal(record[:recordHead], s.nonce(), p, record[:recordHead])
}

// open gives what is in a record, without its kind.
func (s *sealer) open(record []byte) ([]byte, error) {
	plain, err := s.aead.Open(nil, s.nonce(), record[recordHead:], record[:recordHead])
	if err != nil {
		return nil, err
	}
	plain = bytes.TrimRight(plain, "\x00") // the padding
	return plain[:max(0, len(plain)-1)], nil
}

// The handshake that costs nothing is one for a server of package tls: what the client says then is understood.
func TestFreeHandshakeIsOne(t *testing.T) {
	server, _ := brokertest.TLS(t)
	for _, auth := range []tls.ClientAuthType{tls.NoClientCert, tls.VerifyClientCertIfGiven} {
		server = server.Clone()
		server.ClientAuth = auth
		ours, theirs := net.Pipe()
		conn := tls.Server(theirs, server)
		read := make(chan string, 1)
		go func() {
			p, err := io.ReadAll(conn)
			if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
				p = []byte(err.Error())
			}
			read <- string(p)
		}()
		ours.Write(freeHello)
		h := newFreeHandshake()
		for p := make([]byte, 1000); ; {
			n, err := ours.Read(p)
			if err != nil {
				t.Fatal(err, <-read)
			}
			answer, then, err := h.read(p[:n])
			if err != nil {
				t.Fatal(err)
			}
			if then != nil {
				ours.Write(answer)
				ours.Write(then.seal(recordApplication, []byte("first")))
				ours.Write(then.seal(recordApplication, []byte(" second")))
				ours.Close()
				break
			}
		}
		if got := <-read; !strings.HasPrefix(got, "first second") {
			t.Errorf("%v: the server has read %q", auth, got)
		}
	}
}
