package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"mbus/bench/bus"
	"mbus/bench/machine"
)

// Names of rows, plain and over TLS.
const (
	wayPlain = "plain"
	wayTLS   = "over TLS"
	rowTLS   = "machine: bytes over TLS by package tls alone"
)

func publishBy(way string) string  { return "publish 100-byte lines, 1 producer, " + way }
func drainBy(way string) string    { return "drain 100-byte lines, " + way }
func kafkaInBy(way string) string  { return "Kafka client, in, " + way }
func kafkaOutBy(way string) string { return "Kafka client without a group, out, " + way }

// hasTLS says whether a broker speaks TLS: older ones are measured, too.
func hasTLS(broker string) bool {
	help, err := exec.Command(broker, "-help").CombinedOutput()
	return err == nil && bytes.Contains(help, []byte("-tls-cert"))
}

// overTLS publishes and drains the same without TLS and over it, each at an empty broker that serves both.
func (r *round) overTLS() error {
	if !hasTLS(r.broker) {
		return nil
	}
	cert, key, config, err := makeCertificate(r.dir)
	if err != nil {
		return err
	}
	if err := r.tlsAlone(cert, key, config); err != nil {
		return err
	}
	for _, way := range []struct {
		name   string
		config *tls.Config // nil without TLS
	}{{wayPlain, nil}, {wayTLS, config}} {
		if err := r.launch("tls", numberEmpty, "-tls-cert", cert, "-tls-key", key); err != nil {
			return err
		}
		err := r.linesBy(way.name, way.config)
		if err == nil {
			err = r.kafkaBy(way.name, way.config)
		}
		r.kill()
		os.RemoveAll(filepath.Join(r.dir, "tls"))
		if err != nil {
			return err
		}
	}
	return nil
}

// tlsAlone sends as many bytes as lines are drained, from one goroutine of this process to another.
func (r *round) tlsAlone(cert, key string, client *tls.Config) error {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return err
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		return err
	}
	defer l.Close()
	p := linesOf(100)
	sent := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			_, err = conn.Read(make([]byte, 1)) // the request: a close with bytes unread would be a reset
		}
		if err == nil {
			err = errors.Join(machine.WriteRepeatedly(conn, p.bytes, max(1, r.lines/p.count)*len(p.bytes)), conn.Close())
		}
		sent <- err
	}()
	begun := time.Now()
	n, err := drainOver(secured(l.Addr().String(), client), "")
	if err != nil {
		return err
	}
	r.add(rowTLS, sample{messages: n / 101, bytes: n, took: time.Since(begun)})
	return <-sent
}

// linesBy publishes lines and drains them, over TLS if there is a config.
func (r *round) linesBy(way string, config *tls.Config) error {
	p, messages := linesOf(100), 0
	err := r.measure(publishBy(way), r.ours(), sample{}, func() (n, _ int, err error) {
		messages, err = publishOver(secured(r.b.Producers(), config), "lines", p, 1, r.lines)
		return messages, messages * p.size, err
	})
	if err != nil {
		return err
	}
	return r.measure(drainBy(way), r.ours(), sample{}, func() (int, int, error) {
		n, err := drainOver(secured(r.b.Consumers(), config), "lines?from=beginning")
		if want := messages * (p.size + 1); err == nil && n != want {
			err = fmt.Errorf("%d bytes came, not %d", n, want)
		}
		return messages, n, err
	})
}

// kafkaBy has a Kafka client publish and consume, over TLS if there is a config.
func (r *round) kafkaBy(way string, config *tls.Config) error {
	open := bus.OpenKafka
	if config != nil {
		open = func(address string) (bus.Bus, error) { return bus.OpenKafkaTLS(address, config) }
	}
	b, err := open(r.b.Kafka())
	if err != nil {
		return err
	}
	defer b.Close()
	if err := b.Topic("bulk"); err != nil {
		return err
	}
	n, _, err := r.produceRow(kafkaInBy(way), r.ours(), sample{}, b)
	if err != nil {
		return err
	}
	_, err = r.fetchRow(kafkaOutBy(way), r.ours(), sample{}, b, "", n)
	return err
}

// secured connects over TLS, if there is a config.
func secured(address string, config *tls.Config) dialer {
	if config == nil {
		return plainly(address)
	}
	return func() (stream, error) { return tls.Dial("tcp", address, config) }
}

// makeCertificate writes a certificate and its key for a broker on this machine, and gives the config of its clients.
func makeCertificate(dir string) (cert, key string, client *tls.Config, err error) {
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &secret.PublicKey, secret)
	if err != nil {
		return "", "", nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return "", "", nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		return "", "", nil, err
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	err = errors.Join(
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600),
	)
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return cert, key, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}, err
}

// tlsFigures compare TLS with plain connections.
func tlsFigures(t *table) []figure {
	var list []figure
	for _, f := range []struct {
		name string
		row  func(way string) string
	}{
		{"publish 100-byte lines", publishBy},
		{"drain 100-byte lines", drainBy},
		{"Kafka client: publish", kafkaInBy},
		{"Kafka client: drain", kafkaOutBy},
	} {
		list = append(list, figure{f.name + " over TLS, to plain", t.rate(f.row(wayTLS)) / t.rate(f.row(wayPlain)), 0.5, false, "times", "", 0})
	}
	return list
}
