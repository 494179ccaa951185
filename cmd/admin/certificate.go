package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mbus/internal/flags"
	"mbus/internal/units"
)

// certificateAge is how long a certificate is valid: no browser takes an older one.
const certificateAge = 365 * 24 * time.Hour

// certificateFiles are what a certificate is written to: the authority for clients, and the broker's two files. Only the
// key is secret.
var (
	certificateFiles = [...]string{"ca.pem", "cert.pem", "key.pem"}
	certificateModes = [...]os.FileMode{0o644, 0o644, 0o600}
)

// makeCertificate is the command cert.
func (c *call) makeCertificate() error {
	if !c.selfSigned {
		return &usageError{"-self-signed is missing: the command makes certificates for development only"}
	}
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	for _, host := range c.hosts {
		if !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	for _, name := range certificateFiles {
		if _, err := os.Lstat(filepath.Join(c.dir, name)); err == nil {
			return fmt.Errorf("%q exists, and is not overwritten: -out names another directory", filepath.Join(c.dir, name))
		}
	}
	contents, err := newCertificate(hosts, time.Now())
	if err != nil {
		return err
	}
	for i, name := range certificateFiles {
		if err := writeNew(filepath.Join(c.dir, name), contents[i], certificateModes[i]); err != nil {
			return err
		}
	}
	c.sayCertificate(hosts)
	return nil
}

// sayCertificate tells people what was made, and how to go on.
func (c *call) sayCertificate(hosts []string) {
	at := func(name string) string { return units.Quoted(filepath.Join(c.dir, name)) }
	fmt.Fprintf(c.out, "%s -tls-cert %s -tls-key %s\n", flags.Sibling("broker"), at("cert.pem"), at("key.pem"))
	fmt.Fprintf(c.notes, "admin: the certificate is for %s, until %s\n", strings.Join(hosts, ", "), time.Now().Add(certificateAge).Format(time.DateOnly))
	fmt.Fprintf(c.notes, "admin: clients know it with -tls-ca %s; nobody can sign others with that, because its key is thrown away\n", at("ca.pem"))
}

// setHosts is the flag -hosts.
func (c *call) setHosts(text string) error {
	for host := range strings.SplitSeq(text, ",") {
		if _, err := netip.ParseAddr(host); err != nil && !isHostName(host) {
			return fmt.Errorf("%q is neither a host name nor an address: it takes several with commas between, such as bus.example,192.0.2.1", host)
		}
		c.hosts = append(c.hosts, host)
	}
	return nil
}

// isHostName says whether a certificate may have the name (RFC 1123); also that of many, with "*." before it.
func isHostName(name string) bool {
	name = strings.TrimPrefix(name, "*.")
	for label := range strings.SplitSeq(name, ".") {
		ok := label != "" && len(label) <= 63 && label[0] != '-' && label[len(label)-1] != '-'
		for _, r := range label {
			ok = ok && (r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
		}
		if !ok {
			return false
		}
	}
	return len(name) <= 253
}

// newCertificate makes an authority, and a certificate for hosts that it has signed: the contents of certificateFiles.
func newCertificate(hosts []string, now time.Time) (contents [len(certificateFiles)][]byte, err error) {
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return contents, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return contents, err
	}
	authority := &x509.Certificate{
		SerialNumber: newSerial(), Subject: pkix.Name{CommonName: "mbus development authority"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certificateAge),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	certificate := &x509.Certificate{
		SerialNumber: newSerial(), Subject: pkix.Name{CommonName: "mbus broker"},
		NotBefore: authority.NotBefore, NotAfter: authority.NotAfter, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			certificate.IPAddresses = append(certificate.IPAddresses, ip)
		} else {
			certificate.DNSNames = append(certificate.DNSNames, host)
		}
	}
	signed, err := x509.CreateCertificate(rand.Reader, authority, authority, &authorityKey.PublicKey, authorityKey)
	if err != nil {
		return contents, err
	}
	if authority, err = x509.ParseCertificate(signed); err != nil { // with the id of its key
		return contents, err
	}
	own, err := x509.CreateCertificate(rand.Reader, certificate, authority, &key.PublicKey, authorityKey)
	if err != nil {
		return contents, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return contents, err
	}
	return [...][]byte{inPEM("CERTIFICATE", signed), inPEM("CERTIFICATE", own), inPEM("PRIVATE KEY", private)}, nil
}

func inPEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// newSerial has 128 bits at most, as RFC 5280 has it, and is above 0.
func newSerial() *big.Int {
	bytes := make([]byte, 15)
	rand.Read(bytes)
	return new(big.Int).SetBytes(append([]byte{1}, bytes...))
}

// writeNew writes a file that does not exist.
func writeNew(name string, content []byte, mode os.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}
