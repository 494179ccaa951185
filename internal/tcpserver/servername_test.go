package tcpserver

import (
	"crypto/tls"
	"crypto/x509"
	"testing"

	"mbus/test/brokertest"
)

// A name counts if the certificate is for it: others a client can make up.
func TestServerNameIsOneOfTheCertificate(t *testing.T) {
	authority := brokertest.NewAuthority(t)
	pair := authority.Issue(x509.Certificate{DNSNames: []string{"bus.example", "*.plants.example"}})
	config := &tls.Config{Certificates: []tls.Certificate{pair}}
	for _, server := range []*tls.Config{config, {GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return config, nil }}} {
		for said, want := range map[string]string{
			"bus.example": "bus.example", "a.plants.example": "a.plants.example",
			"attacker.example": "", "x.bus.example": "", "": "", "127.0.0.1": "",
		} {
			r := newRigWith(t, server, &tls.Config{ServerName: said, InsecureSkipVerify: true}, Limits{Connections: 10, Handshake: bound})
			c, _ := r.connect()
			if got, isTLS := c.ServerName(); got != want || !isTLS {
				t.Errorf("%q: %q, %v", said, got, isTLS)
			}
		}
	}
}
