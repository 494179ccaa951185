package tcpserver

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// CertificateFiles are in PEM. Certificate may have intermediate ones behind the server's; ClientCA is "" where
// clients are not asked for certificates.
type CertificateFiles struct{ Certificate, Key, ClientCA string }

// names are the files that there are.
func (f CertificateFiles) names() []string {
	if f.ClientCA == "" {
		return []string{f.Certificate, f.Key}
	}
	return []string{f.Certificate, f.Key, f.ClientCA}
}

// Certificates are those of a server, loaded again when their files change. Any goroutine may call its methods.
type Certificates struct {
	log     *slog.Logger
	files   CertificateFiles
	base    *tls.Config                // whose keys for session tickets all others use
	current atomic.Pointer[tls.Config] // what is loaded

	mu     sync.Mutex // guards what follows
	loaded []stamp    // of the files, when they were loaded, or were refused
	seen   []stamp    // the last time that they were looked at
	due    time.Time  // when those that were refused are valid; zero for none
	warned time.Time  // of an expiry that is near
}

const (
	// watchEvery is the time between two looks at the files.
	watchEvery = 2 * time.Second
	// expiryNear is how long before its end a certificate is worth a warning, each day.
	expiryNear = 14 * 24 * time.Hour
)

// LoadCertificates loads the files for the first time. The error says which file is wrong, and why.
func LoadCertificates(log *slog.Logger, files CertificateFiles) (*Certificates, error) {
	c := &Certificates{log: log, files: files}
	c.base = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current.Load(), nil }}
	c.loaded = c.look()
	config, err := files.load()
	if err != nil {
		return nil, err
	}
	c.seen = c.loaded
	c.current.Store(config)
	c.warn(time.Now())
	return c, nil
}

// Config is for WithTLS, once. Each handshake is done with what is loaded then.
func (c *Certificates) Config() *tls.Config { return c.base }

// NotAfter is the end of the server's certificate.
func (c *Certificates) NotAfter() time.Time { return c.leaf().NotAfter }

func (c *Certificates) leaf() *x509.Certificate { return c.current.Load().Certificates[0].Leaf }

// Watch loads the files when they have changed, and warns before a certificate ends, until stop is closed.
func (c *Certificates) Watch(stop <-chan struct{}) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			c.check(now)
		case <-stop:
			return
		}
	}
}

// check loads files that have changed, and not again since the last time: a program that writes both needs a
// moment.
func (c *Certificates) check(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	stamps := c.look()
	settled := slices.Equal(stamps, c.seen)
	isDue := !c.due.IsZero() && !now.Before(c.due)
	if c.seen = stamps; settled && (isDue || !slices.Equal(stamps, c.loaded)) {
		_ = c.reload(stamps, now) // which logs it
	}
	c.warn(now)
}

// Reload loads the files at once. After an error, which is logged, too, what was loaded before goes on.
func (c *Certificates) Reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = c.look()
	return c.reload(c.seen, time.Now())
}

// reload is Reload for files that have those stamps. The caller holds mu.
func (c *Certificates) reload(stamps []stamp, now time.Time) error {
	c.loaded, c.due = stamps, time.Time{}
	config, err := c.files.load()
	if err == nil && isCurrent(c.leaf(), now) && !isCurrent(config.Certificates[0].Leaf, now) {
		begin, end := config.Certificates[0].Leaf.NotBefore, config.Certificates[0].Leaf.NotAfter
		err = fmt.Errorf("the certificate in %q is valid from %s to %s only", c.files.Certificate, begin, end)
		if now.Before(begin) {
			c.due = begin
		}
	}
	if err != nil {
		c.log.Error("the new TLS certificate can't be used, the one before goes on: mend the files",
			"reason", err, "expires", c.NotAfter())
		return err
	}
	c.current.Store(config)
	c.warned = time.Time{}
	c.log.Info("the TLS certificate is loaded", "file", c.files.Certificate, "expires", c.NotAfter(), "serial", c.leaf().SerialNumber)
	return nil
}

// isCurrent reports whether a certificate is valid now.
func isCurrent(leaf *x509.Certificate, now time.Time) bool {
	return !now.Before(leaf.NotBefore) && !now.After(leaf.NotAfter)
}

// warn logs, once a day, that the certificate ends soon, or is not valid. The caller holds mu, or has c alone.
func (c *Certificates) warn(now time.Time) {
	leaf := c.leaf()
	if isCurrent(leaf, now) && leaf.NotAfter.Sub(now) > expiryNear || now.Sub(c.warned).Abs() < 24*time.Hour {
		return
	}
	c.warned = now
	switch file, end := c.files.Certificate, leaf.NotAfter; {
	case now.After(end):
		c.log.Error("the TLS certificate has expired, clients refuse it: replace it", "file", file, "expires", end)
	case now.Before(leaf.NotBefore):
		c.log.Error("the TLS certificate is not valid yet, clients refuse it: replace it, or mend the clock", "file", file, "begins", leaf.NotBefore)
	default:
		c.log.Warn("the TLS certificate expires soon: replace it", "file", file, "expires", end)
	}
}

// load makes a configuration of the files.
func (f CertificateFiles) load() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(f.Certificate, f.Key)
	switch {
	case err == nil:
	case isPath(err):
		return nil, err
	default:
		return nil, fmt.Errorf("certificate %q and key %q: %w", f.Certificate, f.Key, err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, DynamicRecordSizingDisabled: true}
	if f.ClientCA == "" {
		return config, nil
	}
	config.ClientAuth = tls.VerifyClientCertIfGiven
	config.ClientCAs, err = loadAuthorities(f.ClientCA)
	return config, err
}

// isPath reports whether an error names a file.
func isPath(err error) bool {
	var path *os.PathError
	return errors.As(err, &path)
}

// loadAuthorities reads certificates of authorities, one or more.
func loadAuthorities(name string) (*x509.CertPool, error) {
	p, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(p) {
		return nil, fmt.Errorf("%q has no certificate in PEM", name)
	}
	return pool, nil
}
