package clusterkey

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The labels of HKDF. Another label is another authority: a change needs a new prefix of the key's line.
const labelAuthority = "mbus cluster certificate authority 1"

// A Use is what a connection between nodes is for. Both ends demand the same, so that nobody in between
// can lead a connection to another port.
type Use string

const (
	Routes Use = "mbus-routes" // between the embedded servers
	Links  Use = "mbus-links"  // that carry clients' connections
)

// serverName is the name in each node's certificate: which host it has does not matter.
const serverName = "node.cluster.mbus.internal"

// Certificates are valid at all times: a clock that is wrong may not end a cluster, and a process with the key
// can make others. The end is the one that RFC 5280 has for none.
var (
	notBefore = time.Unix(0, 0).UTC()
	notAfter  = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
)

// authority derives the private key of the certificate authority.
func (k *Key) authority() ed25519.PrivateKey {
	seed, err := hkdf.Key(sha256.New, k.secret[:], nil, labelAuthority, ed25519.SeedSize)
	if err != nil {
		panic(err) // for lengths of a constant only
	}
	return ed25519.NewKeyFromSeed(seed)
}

// ID tells keys from each other, and may be shown: it is of the authority's public key.
func (k *Key) ID() string {
	sum := sha256.Sum256(k.authority().Public().(ed25519.PublicKey))
	return hex.EncodeToString(sum[:4])
}

// certificate makes the authority's own, the same on each node.
func (k *Key) certificate() (*x509.Certificate, error) {
	key := k.authority()
	public := key.Public().(ed25519.PublicKey)
	id := sha256.Sum256(public)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mbus cluster " + k.ID()}, SubjectKeyId: id[:20],
		NotBefore: notBefore, NotAfter: notAfter, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(nil, template, template, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// Config makes the node a certificate, with a private key that ends with the process, and the
// configuration of its side of connections: of those that it makes and of those that it accepts. It is
// TLS 1.3, and both sides show certificates of this key.
func (k *Key) Config(node int32, use Use) (*tls.Config, error) {
	authority, err := k.certificate()
	if err != nil {
		return nil, err
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	serial := make([]byte, 16)
	rand.Read(serial[1:]) // above 0: 120 random bits
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial), Subject: pkix.Name{CommonName: strconv.Itoa(int(node))}, DNSNames: []string{serverName},
		NotBefore: notBefore, NotAfter: notAfter, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, authority, public, k.authority())
	if err != nil {
		return nil, err
	}
	nodes := x509.NewCertPool()
	nodes.AddCert(authority)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}},
		RootCAs:      nodes, ServerName: serverName,
		ClientCAs: nodes, ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion: tls.VersionTLS13, NextProtos: []string{string(use)},
		SessionTicketsDisabled: true, // each connection proves the key
		VerifyConnection:       use.check,
	}, nil
}

// check refuses a connection that its other end means for something else.
func (u Use) check(state tls.ConnectionState) error {
	if state.NegotiatedProtocol != string(u) {
		return fmt.Errorf("the connection is for %q, and not for %q", state.NegotiatedProtocol, u)
	}
	return nil
}

// Node is the number that the other end of a connection says it has. A process with the key can say any number.
func Node(state tls.ConnectionState) (node int32, ok bool) {
	if len(state.PeerCertificates) == 0 {
		return 0, false
	}
	n, err := strconv.ParseInt(state.PeerCertificates[0].Subject.CommonName, 10, 32)
	return int32(n), err == nil && n >= 0
}

// ErrOtherKey says that two nodes have different keys, or one of them none.
var ErrOtherKey = errors.New("the other node has another cluster key: -cluster-key takes a copy of the same file on each node")

// Explain names the cause of an error of a handshake, or of the first read behind one, if that is the key: a client of
// TLS 1.3 has shaken hands before the server has looked at its certificate.
func Explain(err error) error {
	var noTLS tls.RecordHeaderError
	switch {
	case err == nil || errors.Is(err, ErrOtherKey):
		return err
	case IsOtherKey(err.Error()):
		return fmt.Errorf("%w (%w)", ErrOtherKey, err)
	case errors.As(err, &noTLS):
		return fmt.Errorf("the other end does not speak TLS: it is a node without -cluster-key, or another program (%w)", err)
	}
	return err
}

// otherKey are parts of the texts of package tls on both sides of a connection of which one refuses the certificate.
var otherKey = []string{
	"certificate signed by unknown authority", "tls: bad certificate", "tls: unknown certificate authority",
	"didn't provide a certificate", "tls: certificate required",
}

// IsOtherKey reports whether an error, such as the embedded server logs, says that another node has another key.
func IsOtherKey(text string) bool {
	return slices.ContainsFunc(otherKey, func(part string) bool { return strings.Contains(text, part) })
}
