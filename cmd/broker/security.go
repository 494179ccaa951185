package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"mbus/internal/auth"
	"mbus/internal/broker"
	"mbus/internal/flags"
	"mbus/internal/tcpserver"
	"mbus/internal/units"
)

// securityOptions are the files of TLS, and whether the broker may be open to a network.
type securityOptions struct {
	files    tcpserver.CertificateFiles
	insecure bool
}

func (o *securityOptions) define(s *flags.Set) {
	s.StringVar(&o.files.Certificate, "tls-cert", "", "`FILE`: the certificate of all ports, in PEM, with intermediate ones behind it: clients may then use TLS, and those of other machines must")
	s.StringVar(&o.files.Key, "tls-key", "", "`FILE`: its private key, in PEM")
	s.StringVar(&o.files.ClientCA, "tls-client-ca", "", "`FILE`: the authorities of clients' certificates, in PEM: the name in such a certificate is the user")
	s.BoolVar(&o.insecure, "insecure", false, "listen on addresses that are not loopback without TLS or without users, too: everybody that reaches them can do everything")
}

func (o *securityOptions) check() error {
	switch {
	case o.files.Certificate != "" && o.files.Key == "":
		return errors.New("-tls-cert needs -tls-key, the file of its private key")
	case o.files.Key != "" && o.files.Certificate == "":
		return errors.New("-tls-key needs -tls-cert, the file of its certificate")
	case o.files.ClientCA != "" && o.files.Certificate == "":
		return errors.New("-tls-client-ca needs -tls-cert and -tls-key: clients show certificates over TLS only")
	}
	return nil
}

// protect has the listeners speak TLS if there is a certificate. Without one, all of them must be on
// loopback addresses, or -insecure be set. The certificates are nil without TLS.
func (o *options) protect(l *listeners, log *slog.Logger) (*tcpserver.Certificates, error) {
	if o.security.files.Certificate == "" {
		if at := o.exposed(l); at != nil && !o.security.insecure {
			return nil, o.withoutTLS(at)
		}
		return nil, nil
	}
	c, err := tcpserver.LoadCertificates(log, o.security.files)
	if err != nil {
		return nil, err
	}
	for _, to := range l.all() {
		if *to, err = tcpserver.WithTLS(*to, c.Config()); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// checkUsers refuses a start without users if others reach the broker.
func (o *options) checkUsers(l *listeners, b *broker.Broker) error {
	if b.Users().Any() {
		return nil
	}
	return o.checkExposed(l)
}

// checkExposed refuses to be reached by others, unless -insecure is set.
func (o *options) checkExposed(l *listeners) error {
	if at := o.exposed(l); at != nil && !o.security.insecure {
		return o.withoutUsers(at)
	}
	return nil
}

// exposed is the first endpoint that is not on a loopback address; nil if there is none.
func (o *options) exposed(l *listeners) *endpoint {
	for i, to := range l.all() {
		if !(*to).Addr().(*net.TCPAddr).IP.IsLoopback() {
			return o.listen.endpoints()[i]
		}
	}
	return nil
}

// onLoopback are the flags that have the broker listen on loopback addresses.
func (o *options) onLoopback() (args []string) {
	for _, e := range o.listen.endpoints() {
		if e.host != loopback {
			args = append(args, "-"+e.hostFlag, loopback)
		}
	}
	return args
}

// adminFlags are those with which admin finds this broker, with a space before each.
func (o *options) adminFlags() (args string) {
	if o.data != defaultData {
		args += " -data " + units.Quoted(o.data)
	}
	if o.listen.http.port != defaultHTTPPort {
		args += fmt.Sprintf(" -hport %d", o.listen.http.port)
	}
	return args
}

// name is that by which clients may reach the endpoint.
func (e *endpoint) name() string {
	if ip, err := netip.ParseAddr(strings.Trim(e.host, "[]")); err != nil || !ip.Unmap().IsUnspecified() {
		return e.host
	}
	if name, err := os.Hostname(); err == nil && name != "" {
		return name
	}
	return "NAME"
}

// secured adds what the broker is to know of its listeners. The certificates are nil without TLS.
func (o *options) secured(b broker.Options, l *listeners, c *tcpserver.Certificates) broker.Options {
	b.Exposed, b.Insecure = o.exposed(l) != nil, o.security.insecure
	if c != nil {
		b.CertificateEnd = c.NotAfter
	}
	return b
}

// A guard is at work while the broker serves: it ends connections whose users are not valid any more, and says when
// everything is open.
type guard struct {
	fronts   []front
	users    *auth.Users
	exposure func() string // as broker.Broker has it
	log      *slog.Logger
	open     string // what was said last
}

// A front is the server of a protocol. EndInvalid resets each connection whose user, or whose lack of one, is
// not valid any more.
type front interface{ EndInvalid() }

// checkUsersEvery is the time after which connections are ended whose tokens have expired.
const checkUsersEvery = time.Second

// run works until stop is closed. Without users it wakes for changes only.
func (g *guard) run(stop <-chan struct{}) {
	for {
		g.sayOpen()
		var expired <-chan time.Time
		if g.users.Any() {
			expired = time.After(checkUsersEvery)
		}
		select {
		case <-stop:
			return
		case <-g.users.Changed():
		case <-expired:
		}
		for _, f := range g.fronts {
			f.EndInvalid()
		}
	}
}

// sayOpen warns when it begins to be true that others reach the broker unprotected.
func (g *guard) sayOpen() {
	open := g.exposure()
	if open != "" && open != g.open {
		g.log.Warn("others reach this broker unprotected, because -insecure is set: everybody that reaches its addresses can read or change what it has", "lacks", open)
	}
	g.open = open
}

// reloadOn loads the certificates at each signal.
func reloadOn(signals <-chan os.Signal, c *tcpserver.Certificates) {
	for range signals {
		_ = c.Reload() // which logs its error
	}
}
