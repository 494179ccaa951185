package tcpserver

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mbus/test/brokertest"
)

// A vault has the files of certificates for a test.
type vault struct {
	*testing.T
	*brokertest.Authority
	files CertificateFiles
	book  brokertest.LogBook
}

func newVault(t *testing.T) *vault {
	dir := t.TempDir()
	v := &vault{T: t, Authority: brokertest.NewAuthority(t)}
	v.files = CertificateFiles{Certificate: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), ClientCA: filepath.Join(dir, "ca.pem")}
	v.WriteAuthority(v.files.ClientCA)
	return v
}

// renew writes a new pair that is valid for a time.
func (v *vault) renew(valid time.Duration) {
	v.WritePair(v.Issue(x509.Certificate{NotBefore: time.Now().Add(-valid - 48*time.Hour), NotAfter: time.Now().Add(valid)}), v.files.Certificate, v.files.Key)
}

// renewFrom writes a new pair that is not valid before a time.
func (v *vault) renewFrom(begin time.Time) {
	v.WritePair(v.Issue(x509.Certificate{NotBefore: begin, NotAfter: begin.Add(month)}), v.files.Certificate, v.files.Key)
}

func (v *vault) load() *Certificates {
	v.Helper()
	c, err := LoadCertificates(slog.New(slog.NewTextHandler(&v.book, nil)), v.files)
	if err != nil {
		v.Fatal(err)
	}
	return c
}

// client is the configuration of a client that trusts the authority.
func (v *vault) client() *tls.Config { return &tls.Config{RootCAs: v.Pool(), ServerName: "127.0.0.1"} }

const month = 30 * 24 * time.Hour

// While clients connect the files are replaced by good pairs and bad ones: each handshake succeeds, a new pair is
// used at once, and a bad one is logged, once, and changes nothing.
func TestCertificatesAreReplacedUnderClientsAndBadOnesAreNot(t *testing.T) {
	v := newVault(t)
	v.renew(month)
	certificates := v.load()
	r := newRigWith(t, certificates.Config(), v.client(), Limits{Connections: 1000, Handshake: bound})
	stop := make(chan struct{})
	var clients sync.WaitGroup
	var connected atomic.Int64
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				conn, err := tls.Dial("tcp", r.address, r.client)
				if err != nil {
					t.Errorf("a handshake fails: %v", err)
					return
				}
				conn.Close()
				(<-r.accepted).Close()
				connected.Add(1)
			}
		})
	}
	use := func(what string) {
		t.Helper()
		n := connected.Load()
		brokertest.Await(t, bound, what, func() bool { return t.Failed() || connected.Load() > n+20 })
	}
	bad := map[string]func(){
		"the key of another": func() {
			v.renew(month)
			v.WritePair(v.Issue(x509.Certificate{}), v.files.Certificate+".other", v.files.Key)
		},
		"no key":        func() { os.Remove(v.files.Key) },
		"half of a key": func() { os.Truncate(v.files.Key, 100) },
		"expired":       func() { v.renew(-time.Hour) },
		"not valid yet": func() { v.renewFrom(time.Now().Add(month)) },
		"no authority":  func() { v.renew(month); os.WriteFile(v.files.ClientCA, []byte("nothing\n"), 0o600) },
	}
	for name, spoil := range bad {
		now := time.Now()
		before := certificates.leaf().SerialNumber
		use("clients connect")
		spoil()
		errorLines := len(v.book.Lines("level=ERROR", "can't be used"))
		for range 5 {
			certificates.check(now)
		}
		if n := len(v.book.Lines("level=ERROR", "can't be used")) - errorLines; n != 1 {
			t.Errorf("%s: %d lines of the log say so", name, n)
		}
		if err := certificates.Reload(); err == nil || certificates.leaf().SerialNumber.Cmp(before) != 0 {
			t.Errorf("%s: %v, and it is in use", name, err)
		}
		use("clients connect with what was before")
		v.WriteAuthority(v.files.ClientCA)
		v.renew(month)
		certificates.check(now) // sees the change
		certificates.check(now)
		if certificates.leaf().SerialNumber.Cmp(before) == 0 {
			t.Errorf("after %s a good pair is not loaded", name)
		}
		if got, _ := tls.Dial("tcp", r.address, r.client); got == nil || got.ConnectionState().PeerCertificates[0].SerialNumber.Cmp(certificates.leaf().SerialNumber) != 0 {
			t.Error("a new connection does not use it")
		} else {
			got.Close()
			(<-r.accepted).Close()
		}
	}
	close(stop)
	clients.Wait()
}

// Files that change again and again are loaded when they rest.
func TestFilesThatAreBeingWrittenAreNotLoaded(t *testing.T) {
	v := newVault(t)
	v.renew(month)
	c := v.load()
	first := c.leaf().SerialNumber
	for range 3 {
		v.renew(month)
		c.check(time.Now())
	}
	if c.leaf().SerialNumber.Cmp(first) != 0 {
		t.Error("they are loaded while they change")
	}
	if c.check(time.Now()); c.leaf().SerialNumber.Cmp(first) == 0 {
		t.Error("they are not loaded")
	}
}

func TestTheEndOfACertificateIsAnnouncedOnceADay(t *testing.T) {
	v := newVault(t)
	v.renew(20 * 24 * time.Hour)
	c := v.load()
	const soon, over = "expires soon", "has expired"
	count := func(text string) int { return len(v.book.Lines(text)) }
	now := time.Now()
	for day := range 25 {
		for hour := range 24 {
			c.check(now.Add(time.Duration(24*day+hour) * time.Hour))
		}
	}
	if s, o := count(soon), count(over); s != 14 || o != 5 {
		t.Errorf("%d and %d lines of the log say so", s, o)
	}
	v.renew(month)
	if err := c.Reload(); err != nil || time.Until(c.NotAfter()) < month-time.Hour {
		t.Errorf("%v, it ends at %s", err, c.NotAfter())
	}
}

// A pair that is not valid yet is refused once, and loaded when it is valid. One with which the broker starts is announced.
func TestACertificateThatIsNotValidYetIsLoadedLater(t *testing.T) {
	v := newVault(t)
	v.renew(month)
	c := v.load()
	first, now := c.leaf().SerialNumber, time.Now()
	v.renewFrom(now.Add(time.Hour))
	for minute := range 59 {
		c.check(now.Add(time.Duration(minute) * time.Minute))
	}
	if n := len(v.book.Lines("can't be used", "is valid from")); n != 1 || c.leaf().SerialNumber.Cmp(first) != 0 {
		t.Errorf("%d lines of the log say so, and the serial is %v", n, c.leaf().SerialNumber)
	}
	if c.check(now.Add(61 * time.Minute)); c.leaf().SerialNumber.Cmp(first) == 0 {
		t.Error("it is not loaded when it is valid")
	}
	v.load()
	if n := len(v.book.Lines("level=ERROR", "is not valid yet, clients refuse it")); n != 1 {
		t.Errorf("at a start %d lines of the log say so", n)
	}
}

func TestFilesThatCanNotBeLoadedAreNamed(t *testing.T) {
	v := newVault(t)
	v.renew(month)
	for name, files := range map[string]CertificateFiles{
		v.files.Certificate + ".no": {v.files.Certificate + ".no", v.files.Key, ""},
		v.files.Key + ".no":         {v.files.Certificate, v.files.Key + ".no", ""},
		v.files.Certificate:         {v.files.Key, v.files.Certificate, ""},
		v.files.Key:                 {v.files.Certificate, v.files.Key, v.files.Key},
	} {
		if _, err := LoadCertificates(slog.Default(), files); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not name %q", err, name)
		}
	}
}

// The name is that of a certificate that the authority has signed, over TLS 1.2 and 1.3, at the first connection and
// when a session is resumed. After the authority has changed nobody resumes as its client.
func TestTheNameInAClientsCertificate(t *testing.T) {
	mail := x509.Certificate{EmailAddresses: []string{"alice@bus.example"}}
	uri := x509.Certificate{URIs: []*url.URL{{Scheme: "spiffe", Host: "bus.example", Path: "/alice"}}}
	dns := x509.Certificate{DNSNames: []string{"alice.bus.example", "other"}}
	for want, template := range map[string]x509.Certificate{
		"alice": {Subject: pkix.Name{CommonName: "alice"}, DNSNames: []string{"alice.bus.example"}}, "alice@bus.example": mail,
		"alice.bus.example": dns, "spiffe://bus.example/alice": uri,
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(want+" "+tls.VersionName(version), func(t *testing.T) {
				v := newVault(t)
				v.renew(month)
				certificates := v.load()
				client := v.client()
				client.MaxVersion, client.ClientSessionCache = version, tls.NewLRUClientSessionCache(1)
				r := newRigWith(t, certificates.Config(), client, Limits{Connections: 10, Handshake: bound})
				if name, _ := r.name(); name != "" {
					t.Errorf("without a certificate: %q", name)
				}
				client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				client.Certificates = []tls.Certificate{v.Issue(template)}
				for _, resumes := range []bool{false, true} {
					if name, resumed := r.name(); name != want || resumed != resumes {
						t.Errorf("%q, resumed: %v", name, resumed)
					}
				}
				v.renew(month)
				certificates.Reload()
				if name, resumed := r.name(); name != want || !resumed {
					t.Errorf("after a renewal: %q, resumed: %v", name, resumed)
				}
				brokertest.NewAuthority(t).WriteAuthority(v.files.ClientCA)
				if err := certificates.Reload(); err != nil {
					t.Fatal(err)
				}
				if conn, err := tls.Dial("tcp", r.address, client); err == nil {
					if _, err = conn.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
						t.Errorf("a client of the former authority is served: %v", err)
					}
				}
			})
		}
	}
}

// name is that of a new connection's certificate, and whether it has resumed a session.
func (r *rig) name() (string, bool) {
	r.Helper()
	c, p := r.connect()
	r.write(c, stream)
	r.mustRead(p, stream) // the ticket, too
	defer c.Close()
	defer p.Close()
	if !c.IsPrivate() {
		r.Error("it is not private")
	}
	return c.CertificateName(), p.Conn.(*tls.Conn).ConnectionState().DidResume
}

func FuzzCertificateName(f *testing.F) {
	pair := brokertest.NewAuthority(f).Issue(x509.Certificate{Subject: pkix.Name{CommonName: "alice"}, DNSNames: []string{"a"}, EmailAddresses: []string{"a@b"}})
	f.Add(pair.Certificate[0])
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		if name := nameIn(c); name == "" && c.Subject.CommonName+strings.Join(c.DNSNames, "") != "" {
			t.Error("no name")
		}
	})
}
